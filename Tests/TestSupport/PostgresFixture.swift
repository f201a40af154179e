// One private Postgres per test process, for every test that needs a real database; a fresh database per test costs some 50 ms.
// Knows nothing of the server's own way to run Postgres, so that the tests of that way are not judged by itself.

import Foundation

/// @unchecked Sendable: the only mutable state is a counter behind a lock; the child process is started once and ended at exit.
public final class PostgresFixture: @unchecked Sendable {
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    /// The superuser of the cluster.
    public static let owner = "tideline"

    private static let started = Result { try PostgresFixture() }

    /// Starts the cluster on first use (about a second). It ends with this process, however that ends.
    public static func shared() throws -> PostgresFixture { try started.get() }

    private let root: String
    private let binaries: String
    private let user: (id: uid_t, group: gid_t)?
    private var socketDirectory: String { root + "/socket" }
    private var data: String { root + "/data" }
    private var process: Process?
    private let lock = NSLock()
    private var databasesMade = 0

    /// Of the database `postgres`, which all tests of the process share: temporary tables and unique names only.
    public var url: String { url(database: "postgres") }

    public func url(database: String) -> String {
        "postgresql://\(PostgresFixture.owner)@/\(database)?host=\(socketDirectory)&port=5432"
    }

    /// The URL of a new, empty database.
    public func freshDatabase() throws -> String {
        let name = "fresh_\(nextNumber())"
        let command = ["\(binaries)/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", "CREATE DATABASE \(name)", url]
        let outcome = try PostgresFixture.run(command)
        guard outcome.status == 0 else { throw Failure(description: "psql: \(outcome.output)") }
        return url(database: name)
    }

    private func nextNumber() -> Int {
        lock.lock()
        defer { lock.unlock() }
        databasesMade += 1
        return databasesMade
    }

    // MARK: Starting

    private init() throws {
        binaries = try PostgresFixture.findBinaries()
        user = PostgresFixture.clusterUser()
        PostgresFixture.removeLeftovers()
        root = "/tmp/\(PostgresFixture.prefix)\(getpid())"
        try FileManager.default.createDirectory(
            atPath: root, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o711])
        for folder in [data, socketDirectory] {
            mkdir(folder, 0o700)
            if let user { chown(folder, user.id, user.group) }
        }
        let initdb = try PostgresFixture.run(
            tie + [
                "\(binaries)/initdb", "-D", data, "-U", PostgresFixture.owner, "--auth-local=trust", "--auth-host=reject",
                "--encoding=UTF8", "--locale=C", "--no-sync",
            ])
        guard initdb.status == 0 else { throw Failure(description: "initdb: \(initdb.output)") }
        try launch()
        try waitUntilReady()
        atexit {
            if case .success(let fixture) = PostgresFixture.started { fixture.shutDown() }
        }
    }

    /// In front of a program: not as root, and ended by the kernel when the thread that started it ends.
    private var tie: [String] {
        let setpriv = ["/usr/bin/setpriv", "--pdeathsig=INT"]
        guard let user else { return setpriv }
        return setpriv + ["--reuid=\(user.id)", "--regid=\(user.group)", "--clear-groups"]
    }

    private func launch() throws {
        let settings = [
            "listen_addresses=", "unix_socket_directories=\(socketDirectory)", "unix_socket_permissions=0700", "port=5432",
            "fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200", "shared_buffers=64MB",
        ]
        let command = tie + ["\(binaries)/postgres", "-D", data] + settings.flatMap { ["-c", $0] }
        let process = PostgresFixture.process(command)
        let log = root + "/log"
        try Data().write(to: URL(fileURLWithPath: log))
        let output = try FileHandle(forWritingTo: URL(fileURLWithPath: log))
        process.standardOutput = output
        process.standardError = output
        self.process = process
        let started = DispatchSemaphore(value: 0)
        let box = LaunchBox(process)
        // A thread that never ends, because the cluster ends with it.
        let thread = Thread {
            box.run()
            started.signal()
            while true { pause() }
        }
        thread.name = "test.postgres"
        thread.start()
        started.wait()
        if let failure = box.failure { throw failure }
    }

    private func waitUntilReady() throws {
        let limit = Date(timeIntervalSinceNow: 30)
        while Date() < limit {
            if let bytes = FileManager.default.contents(atPath: data + "/postmaster.pid") {
                let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
                if lines.count > 7, lines[7].hasPrefix("ready") { return }
            }
            guard process?.isRunning == true else { break }
            usleep(5_000)
        }
        let log = FileManager.default.contents(atPath: root + "/log") ?? Data()
        throw Failure(description: "postgres did not start: \(String(decoding: log, as: UTF8.self))")
    }

    private func shutDown() {
        guard let process, process.isRunning else { return }
        process.interrupt()
        let limit = Date(timeIntervalSinceNow: 5)
        while process.isRunning && Date() < limit { usleep(5_000) }
        try? FileManager.default.removeItem(atPath: root)
    }

    // MARK: Surroundings

    private static let prefix = "tideline-test-postgres-"

    /// Of test processes that were killed.
    private static func removeLeftovers() {
        for name in (try? FileManager.default.contentsOfDirectory(atPath: "/tmp")) ?? [] where name.hasPrefix(prefix) {
            guard let process = pid_t(name.dropFirst(prefix.count)), kill(process, 0) != 0, errno == ESRCH else { continue }
            try? FileManager.default.removeItem(atPath: "/tmp/" + name)
        }
    }

    private static func findBinaries() throws -> String {
        if let chosen = ProcessInfo.processInfo.environment["TIDELINE_POSTGRES_BIN"] { return chosen }
        let root = "/usr/lib/postgresql"
        let versions = ((try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []).compactMap { Int($0) }
        let path = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
        for folder in versions.sorted(by: >).map({ "\(root)/\($0)/bin" }) + path
        where access(folder + "/initdb", X_OK) == 0 { return folder }
        throw Failure(description: "no Postgres is installed: install the package `postgresql`")
    }

    private static func clusterUser() -> (id: uid_t, group: gid_t)? {
        guard geteuid() == 0 else { return nil }
        for name in ["postgres", "nobody"] {
            if let entry = getpwnam(name) { return (entry.pointee.pw_uid, entry.pointee.pw_gid) }
        }
        return (65_534, 65_534)
    }

    private static func process(_ command: [String]) -> Process {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
        process.environment = ["PATH": "/usr/bin:/bin", "LC_ALL": "C"]
        process.currentDirectoryURL = URL(fileURLWithPath: "/")
        process.standardInput = FileHandle.nullDevice
        return process
    }

    private static func run(_ command: [String]) throws -> (status: Int32, output: String) {
        let process = process(command)
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: output, as: UTF8.self))
    }
}

/// @unchecked Sendable: used by the starting thread until it signals, and by the waiting one after.
private final class LaunchBox: @unchecked Sendable {
    private let process: Process
    private(set) var failure: Error?

    init(_ process: Process) { self.process = process }

    func run() {
        do { try process.run() } catch { failure = error }
    }
}
