// What an operator may set: flags first, then the environment, then defaults.

import Foundation
import SyncProtocol

struct Configuration: Sendable {
    /// libpq URL of the runtime; nil: a private cluster in `dataDirectory`.
    var databaseURL: String?
    /// Of the role that owns the tables, for migrations; nil: the same as the runtime.
    var ownerDatabaseURL: String?
    /// For LISTEN, past a transaction pooler; nil: the same as the runtime.
    var listenDatabaseURL: String?
    var dataDirectory: String
    var listen: String
    /// Off for transaction poolers that cannot keep them.
    var usesPreparedStatements: Bool
    /// Worker threads, each with a connection.
    var workers: Int
    /// Bytes of requests and responses held at a time.
    var requestMemoryBytes = HTTPServerConfiguration().memoryBytes
    /// What one tenant may store.
    var storageQuota = StorageQuota()
    /// Origins of web pages that may use the API; nil: only the server's own.
    var crossOrigin: CrossOrigin?
    /// Webhooks.
    var outbox = OutboxSettings()
    /// Where a test ends this process; see ``StepKill``.
    var outboxKill: String?
    var pushKill: String?
    var stepKill: String?
    /// How often tombstones and old answers are looked for.
    var maintenanceSeconds = 3600.0
    /// How long a stop waits for requests under way.
    var drainSeconds: Double
    /// Only for tests of the embedded cluster: it then does not survive a crash of the machine.
    var isDurable: Bool

    static let version = "0.1.0"

    /// Environment variables by name, as `help` lists them.
    static let environment: [(name: String, meaning: String)] = [
        ("DATABASE_URL", "same as --database-url"),
        ("TIDELINE_OWNER_DATABASE_URL", "URL of the role that owns the tables, for migrations"),
        ("TIDELINE_LISTEN_DATABASE_URL", "URL for LISTEN, past a transaction pooler"),
        ("TIDELINE_DATA_DIR", "same as --data-dir"),
        ("TIDELINE_LISTEN", "same as --listen"),
        ("TIDELINE_WORKERS", "same as --workers"),
        ("TIDELINE_REQUEST_MEMORY_MB", "most memory for requests and responses under way, default 256"),
        ("TIDELINE_TENANT_QUOTA_GB", "same as --tenant-quota-gb"),
        ("TIDELINE_CORS_ORIGINS", "same as --cors-origin, separated by commas"),
        ("TIDELINE_WEBHOOK_THREADS", "same as --webhook-threads"),
        ("TIDELINE_WEBHOOK_ALLOW", "same as --webhook-allow, separated by commas"),
        ("TIDELINE_WEBHOOK_RETRY_SECONDS", "wait before the second attempt at a webhook, default 5"),
        ("TIDELINE_PREPARED_STATEMENTS", "off: for transaction poolers that cannot keep prepared statements"),
    ]

    /// Throws ``UsageError`` when a value cannot be understood.
    init(_ arguments: inout Arguments, environment: [String: String]) throws {
        func setting(_ flag: String, _ variable: String) throws -> String? {
            try arguments.value(flag) ?? environment[variable].flatMap { $0.isEmpty ? nil : $0 }
        }
        databaseURL = try setting("--database-url", "DATABASE_URL")
        ownerDatabaseURL = environment["TIDELINE_OWNER_DATABASE_URL"]
        listenDatabaseURL = environment["TIDELINE_LISTEN_DATABASE_URL"]
        dataDirectory = try setting("--data-dir", "TIDELINE_DATA_DIR") ?? Configuration.defaultDataDirectory(environment)
        listen = try setting("--listen", "TIDELINE_LISTEN") ?? "127.0.0.1:8080"
        usesPreparedStatements = environment["TIDELINE_PREPARED_STATEMENTS"] != "off"
        let workersText = try setting("--workers", "TIDELINE_WORKERS") ?? "4"
        guard let workers = Int(workersText), (1...256).contains(workers) else {
            throw UsageError("--workers is a number from 1 to 256")
        }
        self.workers = workers
        if let text = environment["TIDELINE_REQUEST_MEMORY_MB"] {
            guard let megabytes = Int(text), (16...1_000_000).contains(megabytes) else {
                throw UsageError("TIDELINE_REQUEST_MEMORY_MB is a number from 16 to 1000000")
            }
            requestMemoryBytes = megabytes << 20
        }
        if let text = try setting("--tenant-quota-gb", "TIDELINE_TENANT_QUOTA_GB") {
            guard let gigabytes = Int64(text), (0...1_000_000).contains(gigabytes) else {
                throw UsageError("--tenant-quota-gb is a number from 0 (no limit) to 1000000")
            }
            storageQuota.bytesMax = gigabytes == 0 ? nil : gigabytes << 30
        }
        var origins = (environment["TIDELINE_CORS_ORIGINS"] ?? "").split(separator: ",").map(String.init)
        while let origin = try arguments.value("--cors-origin") { origins += origin.split(separator: ",").map(String.init) }
        origins = origins.map { $0.trimmingCharacters(in: .whitespaces) }
        if !origins.isEmpty {
            guard let allowed = CrossOrigin(origins) else {
                throw UsageError(
                    "--cors-origin is an origin such as https://app.example, without a path, or *; not \(origins.joined(separator: ","))")
            }
            crossOrigin = allowed
        }
        let threadsText = try setting("--webhook-threads", "TIDELINE_WEBHOOK_THREADS") ?? String(outbox.threads)
        guard let threads = Int(threadsText), OutboxSettings.threadsRange.contains(threads) else {
            throw UsageError("--webhook-threads is a number from 0 to \(OutboxSettings.threadsRange.upperBound)")
        }
        outbox.threads = threads
        var ranges = (environment["TIDELINE_WEBHOOK_ALLOW"] ?? "").split(separator: ",").map(String.init)
        while let range = try arguments.value("--webhook-allow") { ranges += range.split(separator: ",").map(String.init) }
        outbox.addressGuard.allowed = try ranges.map { text in
            guard let range = NetworkRange(text) else {
                throw UsageError("--webhook-allow is an address or a range such as 10.1.0.0/16, not \(text)")
            }
            return range
        }
        if let text = environment["TIDELINE_WEBHOOK_RETRY_SECONDS"] {
            guard let seconds = Double(text), (0.001...3600).contains(seconds) else {
                throw UsageError("TIDELINE_WEBHOOK_RETRY_SECONDS is a number from 0.001 to 3600")
            }
            outbox.schedule.firstMilliseconds = Int64((seconds * 1000).rounded(.up))
        }
        outboxKill = environment["TIDELINE_TEST_OUTBOX_KILL"]
        pushKill = environment["TIDELINE_TEST_PUSH_KILL"]
        stepKill = environment["TIDELINE_TEST_STEP_KILL"]
        if let seconds = environment["TIDELINE_TEST_MAINTENANCE_SECONDS"].flatMap(Double.init) { maintenanceSeconds = seconds }
        drainSeconds = 25
        isDurable = environment["TIDELINE_UNSAFE_NO_FSYNC"] != "1"
    }

    private static func defaultDataDirectory(_ environment: [String: String]) -> String {
        if geteuid() == 0 { return "/var/lib/tideline" }
        if let data = environment["XDG_DATA_HOME"], data.hasPrefix("/") { return data + "/tideline-server" }
        return (environment["HOME"] ?? ".") + "/.local/share/tideline-server"
    }

    func postgres(_ url: String, name: String) -> PostgresConfiguration {
        PostgresConfiguration(url: url, applicationName: name, usesPreparedStatements: usesPreparedStatements)
    }
}
