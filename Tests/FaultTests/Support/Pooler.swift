// pgbouncer in transaction mode between the servers and Postgres: a session of Postgres serves whoever has a transaction to run.

import Foundation
import TestSupport

#if canImport(Glibc)
    import Glibc
#endif

/// @unchecked Sendable: the process is only touched under the lock.
final class Pooler: @unchecked Sendable {
    private let folder: URL
    private let lock = NSLock()
    private var process: Process?

    /// - Parameters:
    ///   - gate: Folder of the socket to reach Postgres through; nil: its own.
    ///   - size: Sessions of Postgres for everybody together.
    init(to cluster: Cluster, through gate: String? = nil, size: Int) throws {
        folder = try Programs.temporaryFolder()
        mkdir(socketFolder, 0o700)
        if let user = Cluster.user { chown(socketFolder, user.id, user.group) }
        // The settings of docs/operations.md; names and passwords aside, which a cluster that trusts its socket does not ask for.
        let settings = """
            [databases]
            tideline = host=\(gate ?? cluster.socketFolder) port=5432 dbname=tideline user=\(Cluster.superuser)

            [pgbouncer]
            pool_mode = transaction
            default_pool_size = \(size)
            max_client_conn = 200
            server_reset_query =
            server_login_retry = 1
            listen_addr =
            unix_socket_dir = \(socketFolder)
            listen_port = 6432
            auth_type = any
            """
        try settings.write(to: configuration, atomically: true, encoding: .utf8)
    }

    deinit {
        end(SIGKILL)
        try? FileManager.default.removeItem(at: folder)
    }

    var socketFolder: String { folder.appendingPathComponent("socket").path }
    private var configuration: URL { folder.appendingPathComponent("pgbouncer.ini") }

    static var program: String? {
        ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].first { FileManager.default.isExecutableFile(atPath: $0) }
            ?? Programs.path(of: "pgbouncer")
    }

    func start() throws {
        guard let program = Self.program else { throw UnexpectedResult("pgbouncer is not installed: scripts/requirements installs it") }
        let socket = socketFolder + "/.s.PGSQL.6432"
        unlink(socket)
        let process = Process()
        let command = Cluster.tie + [program, configuration.path]
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
        process.environment = ["PATH": "/usr/bin:/bin", "LC_ALL": "C"]
        process.currentDirectoryURL = URL(fileURLWithPath: "/")
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        let log = folder.appendingPathComponent("log")
        _ = FileManager.default.createFile(atPath: log.path, contents: nil)
        process.standardError = try FileHandle(forWritingTo: log)
        try PermanentThread.shared.run { try process.run() }
        lock.withLock { self.process = process }
        let deadline = Date(timeIntervalSinceNow: 30)
        while access(socket, F_OK) != 0 {
            guard process.isRunning, Date() < deadline else {
                throw UnexpectedResult("pgbouncer does not start: \((try? String(contentsOf: log, encoding: .utf8)) ?? "")")
            }
            usleep(10_000)
        }
    }

    func end(_ signal: Int32) {
        guard let process = lock.withLock({ self.process }), process.isRunning else { return }
        kill(process.processIdentifier, signal)
        process.waitUntilExit()
    }
}
