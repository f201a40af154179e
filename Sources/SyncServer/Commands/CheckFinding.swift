// One line of `check`: what was looked at, whether it is as it should be, and if not what to do. Looking is CheckCommand's part.

import SyncProtocol

struct CheckFinding: Sendable, Equatable {
    let name: String
    let isGood: Bool
    let words: String

    /// Older ones get no corrections from their makers any more.
    static let versionMin = 14

    static func version(_ version: Int) -> CheckFinding {
        let isGood = version >= versionMin
        return CheckFinding(
            name: "version", isGood: isGood,
            words: isGood ? "Postgres \(version)" : "Postgres \(version) is too old; \(versionMin) or newer is needed")
    }

    static func migrated(_ isMigrated: Bool) -> CheckFinding {
        CheckFinding(
            name: "migrated", isGood: isMigrated,
            words: isMigrated ? "at schema \(Schema.currentVersion)" : "not at this build's schema; run sync-server migrate")
    }

    static func pgcrypto(isThere: Bool) -> CheckFinding {
        CheckFinding(name: "pgcrypto", isGood: isThere, words: isThere ? "installed" : "missing; CREATE EXTENSION pgcrypto")
    }

    static func rowLevelSecurity(notForcedOn tables: [String]) -> CheckFinding {
        CheckFinding(
            name: "row level security", isGood: tables.isEmpty,
            words: tables.isEmpty ? "forced on every table" : "not forced on \(tables.joined(separator: ", ")); run sync-server migrate")
    }

    static func runtimeRole(isBound: Bool) -> CheckFinding {
        CheckFinding(
            name: "runtime role", isGood: isBound,
            words: isBound
                ? "bound by row level security"
                : "\(TenantSession.runtimeRole) is missing (run sync-server migrate) or bypasses row level security (ALTER ROLE … NOSUPERUSER NOBYPASSRLS)"
        )
    }

    static func clock(milliseconds: Int64) -> CheckFinding {
        let seconds = abs(milliseconds) / 1_000
        return CheckFinding(
            name: "clock", isGood: seconds < 5,
            words: seconds < 5 ? "agrees with the database's" : "\(seconds) s away from the database's; use NTP")
    }

    /// Below this share of the data directory's file system Postgres is about to stop.
    static let diskShareMin = 0.1

    /// - Parameter share: Of the file system that is free; nil: it cannot be looked at.
    static func disk(share: Double?, of directory: String) -> CheckFinding {
        guard let share else { return CheckFinding(name: "disk", isGood: false, words: "\(directory) cannot be looked at") }
        return CheckFinding(
            name: "disk", isGood: share >= diskShareMin,
            words: "\(Int(share * 100)) % free\(share >= diskShareMin ? "" : "; Postgres stops when it is full")")
    }

    // MARK: Storage

    /// Of what a tenant may store, in percent: from here on there is time to do something about it.
    static let storageShareMax: Int64 = 90

    /// nil for a tenant with enough room.
    static func storage(of tenant: String, stored: Int64, of most: Int64) -> CheckFinding? {
        let share = Int64(Double(stored) / Double(most) * 100)
        guard share >= storageShareMax else { return nil }
        let words =
            share >= 100
            ? "has stored all it may; nothing more is taken from its members" : "has stored \(share) % of what it may"
        return CheckFinding(
            name: "storage of \(tenant)", isGood: false, words: "\(words); allow more with sync-server serve --tenant-quota-gb")
    }

    static let storageSuffices = CheckFinding(name: "storage", isGood: true, words: "every tenant has room")

    // MARK: Consumers

    /// Minutes behind after which a consumer is worth a look.
    static let lagMinutesMax: Int64 = 15

    /// nil for one that has nothing wrong. A pause is somebody's wish; how far it has fallen behind meanwhile is worth saying.
    static func consumer(
        _ name: String, of tenant: String, status: String, lag: Int64, minutesBehind: Int64, dead: Int64, failures: Int64
    ) -> CheckFinding? {
        var words: [String] = []
        if status == "disabled" { words.append("disabled, because its endpoint said it is gone") }
        if failures > 0 { words.append("its endpoint failed \(failures) \(failures == 1 ? "time" : "times") in a row") }
        if minutesBehind >= lagMinutesMax { words.append("\(lag) entries and \(minutesBehind) minutes behind") }
        if dead > 0 { words.append("\(dead) dead \(dead == 1 ? "letter" : "letters")") }
        guard !words.isEmpty else { return nil }
        if status == "paused" { words.insert("paused", at: 0) }
        return CheckFinding(
            name: "consumer \(name) of \(tenant)", isGood: false,
            words: words.joined(separator: ", ") + "; see sync-server consumer show")
    }

    static func consumersKeepUp(_ count: Int) -> CheckFinding {
        CheckFinding(name: "consumers", isGood: true, words: count == 0 ? "none" : "all \(count) keep up")
    }
}
