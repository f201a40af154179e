// What `sync-server check` says of each thing that may be wrong, and of a database where things are wrong.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct CheckTests {
    @Test func words_sayWhatIsWrong_andWhatToDo() {
        let bad: [(CheckFinding?, String)] = [
            (.version(13), "Postgres 13 is too old; 14 or newer is needed"),
            (.migrated(false), "not at this build's schema; run sync-server migrate"),
            (.pgcrypto(isThere: false), "missing; CREATE EXTENSION pgcrypto"),
            (
                .rowLevelSecurity(notForcedOn: ["public.client", "tideline.feed"]),
                "not forced on public.client, tideline.feed; run sync-server migrate"
            ),
            (.runtimeRole(isBound: false), "or bypasses row level security (ALTER ROLE"),
            (.clock(milliseconds: 61_500), "61 s away from the database's; use NTP"),
            (.clock(milliseconds: -61_500), "61 s away from the database's; use NTP"),
            (.disk(share: 0.042, of: "/data"), "4 % free; Postgres stops when it is full"),
            (.disk(share: nil, of: "/data"), "/data cannot be looked at"),
            (Self.storage(90), "has stored 90 % of what it may; allow more with sync-server serve --tenant-quota-gb"),
            (Self.storage(100), "has stored all it may; nothing more is taken from its members; allow more with"),
            (Self.storage(250), "has stored all it may"),
            (Self.consumer(status: "disabled"), "disabled, because its endpoint said it is gone"),
            (Self.consumer(failures: 1), "its endpoint failed 1 time in a row"), (Self.consumer(failures: 7), "failed 7 times in a row"),
            (Self.consumer(lag: 120, minutes: 15), "120 entries and 15 minutes behind"), (Self.consumer(dead: 1), "1 dead letter;"),
            (Self.consumer(dead: 2), "2 dead letters;"),
            (Self.consumer(status: "paused", lag: 9, minutes: 600), "paused, 9 entries and 600 minutes behind"),
        ]
        for (finding, words) in bad {
            #expect(finding?.isGood == false && finding?.words.contains(words) == true, "\(String(describing: finding)): \(words)")
        }
        let good: [CheckFinding] = [
            .version(14), .version(17), .migrated(true), .pgcrypto(isThere: true), .rowLevelSecurity(notForcedOn: []),
            .runtimeRole(isBound: true), .clock(milliseconds: 4_999), .clock(milliseconds: -4_999), .disk(share: 0.1, of: "/data"),
            .storageSuffices, .consumersKeepUp(0), .consumersKeepUp(3),
        ]
        for finding in good { #expect(finding.isGood, "\(finding)") }
        #expect(Self.storage(89) == nil)
        #expect(Self.consumer() == nil && Self.consumer(lag: 500, minutes: 14) == nil && Self.consumer(status: "paused") == nil)
    }

    private static func storage(_ percent: Int64) -> CheckFinding? { .storage(of: "t", stored: percent << 30, of: 100 << 30) }

    private static func consumer(
        status: String = "active", lag: Int64 = 0, minutes: Int64 = 0, dead: Int64 = 0, failures: Int64 = 0
    ) -> CheckFinding? {
        .consumer("hook", of: "t", status: status, lag: lag, minutesBehind: minutes, dead: dead, failures: failures)
    }

    @Test func command_finds_whatIsWrongWithADatabase() async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            func check() throws -> (status: Int32, output: String) {
                let result = try ServerProcess.run(["check", "--database-url", url])
                return (result.status, result.output)
            }
            let good = try check()
            #expect(good.status == 0 && !good.output.contains("BAD"), "\(good.output)")
            let connection = try PostgresConnection(PostgresConfiguration(url: url))
            for (breaking, mending, words) in [
                (
                    "ALTER TABLE public.client NO FORCE ROW LEVEL SECURITY", "ALTER TABLE public.client FORCE ROW LEVEL SECURITY",
                    "BAD  row level security: not forced on public.client"
                ),
                (
                    "ALTER TABLE tideline.feed DISABLE ROW LEVEL SECURITY", "ALTER TABLE tideline.feed ENABLE ROW LEVEL SECURITY",
                    "BAD  row level security: not forced on tideline.feed"
                ),
            ] {
                try connection.script(breaking)
                let bad = try check()
                #expect(bad.status == 1 && bad.output.contains(words), "\(bad.output)")
                try connection.script(mending)
            }
            #expect(try check().status == 0)
            let tenant = Identifier(high: 1, low: 2)
            for (gigabytes, words) in [(Int64(91), "has stored 91 % of what it may"), (100, "has stored all it may")] {
                try connection.script(
                    """
                    INSERT INTO tideline.tenant_head (tenant, epoch, position, changed_at, stored_bytes) \
                    VALUES ('\(tenant.text)', 0, 0, 0, \(gigabytes << 30)) ON CONFLICT (tenant) DO UPDATE SET stored_bytes = excluded.stored_bytes
                    """)
                let full = try check()
                #expect(full.status == 1 && full.output.contains("BAD  storage of \(tenant.text): \(words)"), "\(full.output)")
            }
            let enough = try ServerProcess.run(["check", "--database-url", url, "--tenant-quota-gb", "112"])
            #expect(enough.status == 0 && enough.output.contains("ok   storage: every tenant has room"), "\(enough.output)")
        }
    }
}
