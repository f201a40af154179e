// A Postgres cluster of one test: started, stopped, killed and started again as the test likes. On a Unix socket only.

import Foundation
import TestSupport

#if canImport(Glibc)
    import Glibc
#endif

/// @unchecked Sendable: the process is only touched under the lock; the rest never changes.
final class Cluster: @unchecked Sendable {
    static let superuser = "tideline"

    let folder: URL
    let disk: FailingDisk
    private let settings: [String]
    private let lock = NSLock()
    /// Held while it is being started.
    private let startLock = NSLock()
    private var process: Process?

    var data: String { folder.appendingPathComponent("data").path }
    var socketFolder: String { folder.appendingPathComponent("socket").path }
    var socket: String { socketFolder + "/.s.PGSQL.5432" }

    /// Made from a copy of one that is initialised once a process, and started.
    /// - Parameter settings: Of Postgres, as `name=value`.
    static func started(_ settings: [String] = []) async throws -> Cluster {
        try await offPool {
            let cluster = try Cluster(settings)
            try cluster.start()
            return cluster
        }
    }

    private init(_ settings: [String]) throws {
        self.settings = settings
        folder = try Programs.temporaryFolder()
        disk = try FailingDisk(in: folder)
        let template = try Self.template.get()
        try Self.run(["/bin/cp", "-a", template, data])
        mkdir(socketFolder, 0o700)
        if let user = Self.user { chown(socketFolder, user.id, user.group) }
    }

    deinit {
        disk.heal()
        stop()
        try? FileManager.default.removeItem(at: folder)
    }

    func url(socketFolder: String? = nil, port: Int = 5432) -> String {
        "postgresql://\(Self.superuser)@/tideline?host=\(socketFolder ?? self.socketFolder)&port=\(port)"
    }

    // MARK: Life

    var isRunning: Bool { lock.withLock { process?.isRunning ?? false } }
    var postmaster: Int32? { lock.withLock { process.flatMap { $0.isRunning ? $0.processIdentifier : nil } } }

    /// Returns when it takes connections. What a killed one left behind may need a moment to go.
    func start(seconds: Double = 60) throws {
        startLock.lock()
        defer { startLock.unlock() }
        try startUnderLock(seconds)
    }

    /// Stops it, works on its files, and starts it again; nobody else starts it meanwhile.
    func whileStopped(_ body: () throws -> Void) throws {
        startLock.lock()
        defer { startLock.unlock() }
        stop()
        try body()
        try startUnderLock(60)
    }

    private func startUnderLock(_ seconds: Double) throws {
        if isRunning { return }
        let deadline = Date(timeIntervalSinceNow: seconds)
        while true {
            let process = try launch()
            while process.isRunning, Date() < deadline {
                // It may say that it is ready and meet a fault right after.
                if Self.isReady(data, process.processIdentifier),
                    let found = try? sql("SELECT 1 FROM pg_database WHERE datname = 'tideline'", in: "postgres")
                {
                    if found.isEmpty { try sql("CREATE DATABASE tideline", in: "postgres") }
                    return
                }
                usleep(10_000)
            }
            guard Date() < deadline else { throw UnexpectedResult("postgres does not start: \(log.suffix(2000))") }
            usleep(100_000)
        }
    }

    /// Ends it: SIGINT is a fast shutdown, SIGKILL takes the postmaster only, as a crash would. A Postgres that is asked to stop in the
    /// moment in which it has recovered from the death of a backend never does (15.18): it is stopped at once then, as by hand.
    func stop(_ signal: Int32 = SIGINT) {
        guard let process = lock.withLock({ self.process }), process.isRunning else { return }
        kill(process.processIdentifier, signal)
        if waitForEnd() { return }
        kill(process.processIdentifier, SIGQUIT)
        process.waitUntilExit()
    }

    /// Waits for the postmaster to end by itself; false if it does not.
    func waitForEnd(seconds: Double = 30) -> Bool {
        let deadline = Date(timeIntervalSinceNow: seconds)
        while isRunning, Date() < deadline { usleep(20_000) }
        return !isRunning
    }

    /// Processes that serve a `sync-server`.
    func backends() throws -> [Int32] {
        try sql(
            """
            SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name LIKE 'tideline%' \
            ORDER BY backend_start, pid
            """
        ).compactMap { Int32($0[0]) }
    }

    private func launch() throws -> Process {
        let process = Process()
        let fixed = [
            "listen_addresses=", "unix_socket_directories=\(socketFolder)", "unix_socket_permissions=0777", "port=5432",
            // What is committed survives kill -9 of any process: the kernel has it. Losing power is not what is tried here.
            "fsync=off", "max_connections=100", "shared_buffers=16MB", "max_wal_size=256MB", "logging_collector=off",
        ]
        let command = Self.tie + ["\(try Self.binaries.get())/postgres", "-D", data] + (fixed + settings).flatMap { ["-c", $0] }
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
        process.environment = ["PATH": "/usr/bin:/bin", "LC_ALL": "C"].merging(try disk.environment) { $1 }
        process.currentDirectoryURL = URL(fileURLWithPath: "/")
        process.standardInput = FileHandle.nullDevice
        let output = try openLog()
        process.standardOutput = output
        process.standardError = output
        try PermanentThread.shared.run { try process.run() }
        lock.withLock { self.process = process }
        return process
    }

    private func openLog() throws -> FileHandle {
        let path = folder.appendingPathComponent("log").path
        if !FileManager.default.fileExists(atPath: path) { _ = FileManager.default.createFile(atPath: path, contents: nil) }
        guard let handle = FileHandle(forWritingAtPath: path) else { throw UnexpectedResult("no log at \(path)") }
        try handle.seekToEnd()
        return handle
    }

    var log: String { (try? String(contentsOf: folder.appendingPathComponent("log"), encoding: .utf8)) ?? "" }

    // MARK: SQL

    /// Rows as texts, as the superuser, who is not bound by row level security.
    @discardableResult
    func sql(_ text: String, in database: String = "tideline") throws -> [[String]] {
        let url = "postgresql://\(Self.superuser)@/\(database)?host=\(socketFolder)&port=5432"
        let output = try Self.run([
            "\(try Self.binaries.get())/psql", "-X", "-q", "-A", "-t", "-F", "\u{1F}", "-v", "ON_ERROR_STOP=1", "-c", text, url,
        ])
        return output.split(separator: "\n").map { $0.split(separator: "\u{1F}", omittingEmptySubsequences: false).map(String.init) }
    }

    // MARK: Surroundings

    /// Not root, whom Postgres refuses; tests that run as an ordinary user stay that user.
    static let user: (id: uid_t, group: gid_t)? = {
        guard geteuid() == 0 else { return nil }
        for name in ["postgres", "nobody"] {
            if let entry = getpwnam(name) { return (entry.pointee.pw_uid, entry.pointee.pw_gid) }
        }
        return (65_534, 65_534)
    }()

    /// In front of a program: not as root, and ended with this process.
    static var tie: [String] {
        let setpriv = ["/usr/bin/setpriv", "--pdeathsig=INT"]
        guard let user else { return setpriv }
        return setpriv + ["--reuid=\(user.id)", "--regid=\(user.group)", "--clear-groups"]
    }

    static let binaries = Result<String, any Error> {
        if let chosen = ProcessInfo.processInfo.environment["TIDELINE_POSTGRES_BIN"] { return chosen }
        let root = "/usr/lib/postgresql"
        let versions = ((try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []).compactMap { Int($0) }
        if let newest = versions.sorted(by: >).first(where: { access("\(root)/\($0)/bin/initdb", X_OK) == 0 }) {
            return "\(root)/\(newest)/bin"
        }
        guard let initdb = Programs.path(of: "initdb") else { throw UnexpectedResult("no Postgres is installed") }
        return URL(fileURLWithPath: initdb).deletingLastPathComponent().path
    }

    private static let template = Result<String, any Error> {
        let folder = try Programs.temporaryFolder()
        let home = folder.appendingPathComponent("home").path
        mkdir(home, 0o700)
        if let user { chown(home, user.id, user.group) }
        let data = home + "/data"
        try run(
            tie + [
                try binaries.get() + "/initdb", "-D", data, "-U", superuser, "--auth-local=trust", "--auth-host=reject", "--encoding=UTF8",
                "--locale=C", "--no-sync",
            ])
        chmod(home, 0o755)
        removeAtExit(folder)
        return data
    }

    private static func isReady(_ data: String, _ process: Int32) -> Bool {
        guard let bytes = FileManager.default.contents(atPath: data + "/postmaster.pid") else { return false }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        return lines.count > 7 && Int32(lines[0]) == process && lines[7].hasPrefix("ready")
    }

    @discardableResult
    static func run(_ command: [String]) throws -> String {
        let process = Process()
        let (output, errors) = (Pipe(), Pipe())
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
        process.environment = ["PATH": "/usr/bin:/bin", "LC_ALL": "C"]
        process.currentDirectoryURL = URL(fileURLWithPath: "/")
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        let words = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw UnexpectedResult("\(command): \(words)") }
        return text
    }
}

private let foldersToRemove = Locked<[URL]>([])

/// Folders that last as long as this process.
func removeAtExit(_ folder: URL) {
    let isFirst = foldersToRemove.with { folders in
        folders.append(folder)
        return folders.count == 1
    }
    guard isFirst else { return }
    atexit {
        for folder in foldersToRemove.with({ $0 }) { try? FileManager.default.removeItem(at: folder) }
    }
}
