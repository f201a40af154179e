// The private cluster: with no database URL the server runs Postgres itself, in its data directory, on a Unix socket only.
// One thread makes it, starts it, watches it and stops it; the kernel stops it too if this process dies without a word.

import Foundation

struct EmbeddedPostgresConfiguration: Sendable {
    var dataDirectory: String
    /// For tests: a crash of the machine may then destroy the cluster.
    var fsyncOff: Bool
    /// Further settings of Postgres, as `-c name=value`.
    var settings: [String: String]
    /// Recovery after a crash can be long; a cluster that is not ready by then is given up.
    var startTimeoutSeconds: Double
    /// For so long a postmaster that ends at once is tried again: after a kill -9 of everything an earlier one may still be going down.
    var startRetrySeconds: Double
    /// A fast shutdown writes everything down; after this time it is ended without, and recovers at the next start.
    var stopTimeoutSeconds: Double
    /// What the process is that runs it: a command is waited for, a server is not.
    var use: DirectoryHolder.Use
    /// For so long a command that has the directory is waited for.
    var commandWaitSeconds: Double
    var environment: [String: String]

    init(
        dataDirectory: String, fsyncOff: Bool = false, settings: [String: String] = [:],
        startTimeoutSeconds: Double = 300, startRetrySeconds: Double = 10, stopTimeoutSeconds: Double = 30,
        use: DirectoryHolder.Use = .server, commandWaitSeconds: Double = 30,
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) {
        self.dataDirectory = dataDirectory
        self.fsyncOff = fsyncOff
        self.settings = settings
        self.startTimeoutSeconds = startTimeoutSeconds
        self.startRetrySeconds = startRetrySeconds
        self.stopTimeoutSeconds = stopTimeoutSeconds
        self.use = use
        self.commandWaitSeconds = commandWaitSeconds
        self.environment = environment
    }
}

enum EmbeddedPostgresEvent: Sendable {
    /// A command has the directory; it is waited for.
    case waiting
    /// The postmaster ended by itself; a restart follows.
    case died(String)
    case restarted
    /// Will be tried again after a pause.
    case restartFailed(EmbeddedPostgresError)
}

/// @unchecked Sendable: `phase` and `socketDirectory` are guarded by the condition; directory and process belong to the supervising thread.
final class EmbeddedPostgres: @unchecked Sendable {
    /// The owner role and superuser of the cluster.
    static let owner = "tideline"

    private enum Phase {
        case idle, starting
        case running(pid_t)
        case restarting, stopped
        case failed(EmbeddedPostgresError)
    }

    private let configuration: EmbeddedPostgresConfiguration
    private let onEvent: @Sendable (EmbeddedPostgresEvent) -> Void
    private let condition = NSCondition()
    private let wakePipe = WakePipe()
    private var phase = Phase.idle
    private var socketDirectory = ""
    private var isStopRequested = false
    private var thread: DedicatedThread?

    /// `onEvent` comes on the supervising thread.
    init(
        _ configuration: EmbeddedPostgresConfiguration,
        onEvent: @escaping @Sendable (EmbeddedPostgresEvent) -> Void = { _ in }
    ) {
        self.configuration = configuration
        self.onEvent = onEvent
    }

    /// Blocks until the cluster takes connections (about a second the first time, 50 ms later) or cannot be run.
    func start() throws(EmbeddedPostgresError) {
        condition.lock()
        defer { condition.unlock() }
        precondition(thread == nil, "a private cluster is started once")
        phase = .starting
        thread = DedicatedThread("tideline.postgres") { [self] in supervise() }
        while case .starting = phase { condition.wait() }
        if case .failed(let error) = phase { throw error }
        if case .stopped = phase {
            throw EmbeddedPostgresError(.stopped, "stopped while starting", operation: "start")
        }
    }

    /// Blocks until no process of the cluster is left. May be called more than once, and before `start`.
    func stop() {
        condition.lock()
        isStopRequested = true
        let thread = thread
        condition.unlock()
        wakePipe.wake()
        thread?.join()
    }

    /// For the owner role. The database `postgres` always exists.
    func url(database: String = "postgres") -> String {
        condition.lock()
        defer { condition.unlock() }
        return EmbeddedPostgres.url(socketDirectory: socketDirectory, database: database)
    }

    /// The postmaster, while it is up.
    var processIdentifier: pid_t? {
        condition.lock()
        defer { condition.unlock() }
        if case .running(let process) = phase { return process }
        return nil
    }

    func createDatabaseIfMissing(_ name: String) throws(PostgresError) {
        try EmbeddedPostgres.createDatabaseIfMissing(name, on: url())
    }

    static func createDatabaseIfMissing(_ name: String, on url: String) throws(PostgresError) {
        let connection = try PostgresConnection(PostgresConfiguration(url: url))
        defer { connection.close() }
        let known = try connection.run("SELECT 1 FROM pg_database WHERE datname = $1", .text(name))
        guard known.isEmpty else { return }
        do {
            try connection.script("CREATE DATABASE \(PostgresIdentifier.quoted(name))")
        } catch {
            // Somebody was faster.
            if error.sqlState != "42P04" && error.sqlState != "23505" { throw error }
        }
    }

    /// Whether a server has the data directory, be its cluster ready or not.
    static func isServed(dataDirectory: String) -> Bool {
        DirectoryHolder(lockFile: dataDirectory + "/server.lock")?.use == .server
    }

    /// Where the cluster of a data directory listens, if it is running now: for commands beside a running server.
    static func runningURL(dataDirectory: String, database: String = "postgres") -> String? {
        guard let resolved = realpath(dataDirectory, nil) else { return nil }
        defer { free(resolved) }
        let data = String(cString: resolved) + "/postgres"
        guard let file = PostmasterFile(dataDirectory: data), file.isReady, let socketDirectory = file.socketDirectory,
            ClusterRemains.processes(dataDirectory: data).contains(file.processIdentifier)
        else { return nil }
        return url(socketDirectory: socketDirectory, database: database)
    }

    private static func url(socketDirectory: String, database: String) -> String {
        let allowed = CharacterSet(charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~")
        func encoded(_ text: String) -> String { text.addingPercentEncoding(withAllowedCharacters: allowed) ?? text }
        return "postgresql://\(owner)@/\(encoded(database))?host=\(encoded(socketDirectory))&port=5432"
    }

    // MARK: On the supervising thread

    private func supervise() {
        let directory: ClusterDirectory
        var process: ClusterProcess
        let command: [String]
        var locked: ClusterDirectory?
        do throws(EmbeddedPostgresError) {
            directory = try ClusterDirectory(configuration.dataDirectory)
            try lock(directory)
            locked = directory
            let setpriv = try ClusterProcess.findSetpriv()
            let binaries = try PostgresBinaries.find(
                majorVersion: directory.majorVersion, environment: configuration.environment)
            if !directory.isInitialized { try initialize(directory, binaries, setpriv: setpriv) }
            try directory.prepareToStart()
            command = postgresCommand(directory, binaries, setpriv: setpriv)
            process = try launch(directory, command)
        } catch {
            // Before anyone hears of the failure, so that whoever tries again finds the directory free.
            locked?.unlock()
            set(isStopping ? .stopped : .failed(error))
            return
        }
        var backoff = RetryBackoff(firstSeconds: 0.1, maximumSeconds: 10)
        while true {
            set(.running(process.processIdentifier), socketDirectory: directory.socketDirectory)
            let startedAt = DispatchTime.now()
            watch(process)
            if isStopping { break }

            set(.restarting)
            onEvent(.died(process.exitDescription))
            if startedAt.elapsedSeconds > 60 { backoff.reset() }
            var restarted: ClusterProcess?
            while restarted == nil && !isStopping {
                wakePipe.wait(timeoutSeconds: backoff.nextSeconds())
                if isStopping { break }
                do throws(EmbeddedPostgresError) {
                    restarted = try launch(directory, command)
                } catch {
                    if !isStopping { onEvent(.restartFailed(error)) }
                }
            }
            guard let restarted else { break }
            process = restarted
            set(.running(process.processIdentifier))
            onEvent(.restarted)
        }
        end(process)
        directory.unlock()
        set(.stopped)
    }

    /// A server does not share and does not end by itself: a second one gives up at once. A command is done soon.
    private func lock(_ directory: ClusterDirectory) throws(EmbeddedPostgresError) {
        let giveUpAt = DispatchTime.now() + configuration.commandWaitSeconds
        var isTold = false
        while try !directory.tryLock(as: configuration.use) {
            if directory.holder?.use == .server || DispatchTime.now() > giveUpAt { throw directory.inUse }
            if isStopping { throw EmbeddedPostgresError(.stopped, "stopped while starting", operation: "start") }
            if !isTold, directory.holder != nil {
                onEvent(.waiting)
                isTold = true
            }
            wakePipe.wait(timeoutSeconds: 0.05)
        }
    }

    private func initialize(
        _ directory: ClusterDirectory, _ binaries: PostgresBinaries, setpriv: String
    ) throws(EmbeddedPostgresError) {
        let unfinished = try directory.makeUnfinished()
        let log = try directory.openLog()
        defer { close(log) }
        var command = directory.user.prefix(setpriv: setpriv)
        command += [
            binaries.initdb, "-D", unfinished, "-U", EmbeddedPostgres.owner, "--auth-local=trust", "--auth-host=reject",
            "--encoding=UTF8", "--locale=C",
        ]
        if configuration.fsyncOff { command.append("--no-sync") }
        let process = try ClusterProcess(command, log: log)
        process.waitForExit()
        guard process.exitStatus == 0 else {
            directory.remove(unfinished)
            throw EmbeddedPostgresError(
                .initializationFailed, "initdb failed (\(process.exitDescription)): \(directory.logTail())",
                operation: "initialize")
        }
        try directory.adopt(unfinished)
    }

    private func postgresCommand(
        _ directory: ClusterDirectory, _ binaries: PostgresBinaries, setpriv: String
    ) -> [String] {
        var settings = [
            "listen_addresses": "", "unix_socket_permissions": "0700", "port": "5432", "timezone": "UTC",
            "log_timezone": "UTC", "logging_collector": "off", "log_destination": "stderr",
            "unix_socket_directories": directory.socketDirectory,
        ]
        if configuration.fsyncOff {
            settings["fsync"] = "off"
            settings["synchronous_commit"] = "off"
            settings["full_page_writes"] = "off"
        }
        settings.merge(configuration.settings) { _, chosen in chosen }
        var command = directory.user.prefix(setpriv: setpriv) + [binaries.postgres, "-D", directory.data]
        for (name, value) in settings.sorted(by: { $0.key < $1.key }) { command += ["-c", "\(name)=\(value)"] }
        return command
    }

    /// Starts the postmaster and waits until it is ready.
    private func launch(_ directory: ClusterDirectory, _ command: [String]) throws(EmbeddedPostgresError) -> ClusterProcess {
        clearRemains(directory)
        let retryUntil = DispatchTime.now() + configuration.startRetrySeconds
        let giveUpAt = DispatchTime.now() + configuration.startTimeoutSeconds
        while true {
            let log = try directory.openLog()
            defer { close(log) }
            let process = try ClusterProcess(command, log: log)
            while !process.hasExited() {
                if let file = PostmasterFile(dataDirectory: directory.data), file.isReady,
                    file.processIdentifier == process.processIdentifier
                {
                    return process
                }
                let isLate = DispatchTime.now() > giveUpAt
                if isStopping || isLate {
                    end(process)
                    throw EmbeddedPostgresError(
                        isLate ? .startFailed : .stopped,
                        isLate ? "not ready in time: \(directory.logTail())" : "stopped while starting", operation: "start")
                }
                wakePipe.wait(forReadable: process.lifeDescriptor, timeoutSeconds: 0.01)
            }
            if isStopping || DispatchTime.now() > retryUntil {
                throw EmbeddedPostgresError(
                    isStopping ? .stopped : .startFailed,
                    "postgres ended (\(process.exitDescription)): \(directory.logTail())", operation: "start")
            }
            wakePipe.wait(timeoutSeconds: 0.2)
        }
    }

    /// Ends what an earlier server left running in this data directory. The lock on the directory says that nobody needs it.
    private func clearRemains(_ directory: ClusterDirectory) {
        let begun = DispatchTime.now()
        var isAsked = false
        while !isStopping {
            let remains = ClusterRemains.processes(dataDirectory: directory.data)
            let postmaster = PostmasterFile(dataDirectory: directory.data)?.processIdentifier
            if remains.isEmpty {
                // The number may by now belong to a stranger of the same user, and Postgres would refuse to start for ever.
                if let postmaster, postmaster != getpid(), kill(postmaster, 0) == 0 {
                    directory.remove(directory.data + "/postmaster.pid")
                    directory.remove(directory.socketDirectory + "/.s.PGSQL.5432.lock")
                }
                return
            }
            let waited = begun.elapsedSeconds
            if waited > 10 { return }
            if !isAsked, let postmaster, remains.contains(postmaster) {
                kill(postmaster, SIGINT)
                isAsked = true
            } else if waited > 5 || (postmaster.map { !remains.contains($0) } ?? true) && waited > 1 {
                // Backends without a postmaster that are too busy to notice.
                for process in remains { kill(process, SIGQUIT) }
            }
            wakePipe.wait(timeoutSeconds: 0.02)
        }
    }

    /// Returns when the postmaster has ended or a stop is asked for.
    private func watch(_ process: ClusterProcess) {
        while !isStopping && !process.hasExited() {
            // The pipe tells when all are gone; looking now and then covers a backend that outlives the postmaster.
            wakePipe.wait(forReadable: process.lifeDescriptor, timeoutSeconds: 0.25)
        }
    }

    private func end(_ process: ClusterProcess) {
        for (signal, seconds) in [(SIGINT, configuration.stopTimeoutSeconds), (SIGQUIT, 5), (SIGKILL, 5)] {
            process.signal(signal)
            let limit = DispatchTime.now() + seconds
            while !process.hasExited() && DispatchTime.now() < limit {
                wakePipe.wait(forReadable: process.lifeDescriptor, timeoutSeconds: 0.05)
            }
            if process.hasExited() { return }
        }
    }

    private var isStopping: Bool {
        condition.lock()
        defer { condition.unlock() }
        return isStopRequested
    }

    private func set(_ phase: Phase, socketDirectory: String? = nil) {
        condition.lock()
        self.phase = phase
        if let socketDirectory { self.socketDirectory = socketDirectory }
        condition.broadcast()
        condition.unlock()
    }
}

extension DispatchTime {
    /// Seconds since then.
    fileprivate var elapsedSeconds: Double {
        Double(DispatchTime.now().uptimeNanoseconds - uptimeNanoseconds) / 1e9
    }
}
