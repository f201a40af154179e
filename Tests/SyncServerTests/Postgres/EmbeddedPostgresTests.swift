import Foundation
import Testing

@testable import SyncServer

// Serialized: most of these tests use one data directory in turn.
@Suite(.serialized) struct EmbeddedPostgresTests {
    /// A data directory: new and removed at the end, or the one that these tests use in turn, because making one takes a second.
    /// Every test leaves it stopped.
    final class Directory {
        let path: String
        private let isShared: Bool

        init(isMade: Bool = true) throws {
            path = isMade ? try Directory.shared.get() : Directory.newPath()
            isShared = isMade
        }

        deinit {
            if !isShared { try? FileManager.default.removeItem(atPath: path) }
        }

        var data: String { path + "/postgres" }

        private static func newPath() -> String {
            FileManager.default.temporaryDirectory.path + "/" + PostgresTesting.uniqueName("tideline-embedded")
        }

        private static let shared = Result {
            let path = newPath()
            sharedPath.record(path)
            atexit { for path in sharedPath.values { try? FileManager.default.removeItem(atPath: path) } }
            let cluster = EmbeddedPostgres(EmbeddedPostgresTests.configuration(path))
            try cluster.start()
            cluster.stop()
            return path
        }

        private static let sharedPath = Recorder<String>()
    }

    static func configuration(_ path: String) -> EmbeddedPostgresConfiguration {
        EmbeddedPostgresConfiguration(dataDirectory: path, fsyncOff: true, settings: ["shared_buffers": "16MB"])
    }

    private func answer(_ cluster: EmbeddedPostgres) throws -> Int64? {
        let connection = try PostgresConnection(PostgresConfiguration(url: cluster.url()))
        defer { connection.close() }
        return try connection.run("SELECT 42").integer(0, 0)
    }

    /// A postmaster as an earlier server left it: not ours, and nobody watches it. Spawned from `thread`, which must live on.
    private func orphan(_ directory: ClusterDirectory) throws -> ClusterProcess {
        try directory.prepareToStart()
        let binaries = try PostgresBinaries.find(majorVersion: directory.majorVersion, environment: [:])
        let log = try directory.openLog()
        defer { close(log) }
        let command =
            directory.user.prefix(setpriv: try ClusterProcess.findSetpriv()) + [
                binaries.postgres, "-D", directory.data, "-c", "listen_addresses=", "-c",
                "unix_socket_directories=\(directory.socketDirectory)", "-c", "shared_buffers=16MB",
            ]
        return try ClusterProcess(command, log: log)
    }

    private func isReady(_ directory: ClusterDirectory, _ process: ClusterProcess) -> Bool {
        let limit = Date(timeIntervalSinceNow: 10)
        while Date() < limit {
            if let file = PostmasterFile(dataDirectory: directory.data), file.isReady,
                file.processIdentifier == process.processIdentifier
            {
                return true
            }
            WakePipe().wait(forReadable: process.lifeDescriptor, timeoutSeconds: 0.005)
        }
        return false
    }

    @Test func start_makesAClusterAndServes_thenStopLeavesNoProcess_alsoAfterAKilledInitdb() throws {
        let directory = try Directory(isMade: false)
        let files = try ClusterDirectory(directory.path)
        let half = try files.makeUnfinished()
        try "15\n".write(toFile: half + "/PG_VERSION", atomically: false, encoding: .utf8)
        #expect(!files.isInitialized)
        let cluster = EmbeddedPostgres(Self.configuration(directory.path))
        try cluster.start()
        #expect(try answer(cluster) == 42)
        try cluster.createDatabaseIfMissing("tideline")
        try cluster.createDatabaseIfMissing("tideline")
        let connection = try PostgresConnection(PostgresConfiguration(url: cluster.url(database: "tideline")))
        let row = try connection.run(
            "SELECT current_database(), current_user, current_setting('listen_addresses'), current_setting('server_encoding')")
        #expect((0..<4).map { row.text(0, $0) } == ["tideline", "tideline", "", "UTF8"])
        #expect(EmbeddedPostgres.runningURL(dataDirectory: directory.path, database: "tideline") == cluster.url(database: "tideline"))
        #expect(!ClusterRemains.processes(dataDirectory: directory.data).isEmpty)
        if geteuid() == 0 {
            #expect(ClusterDirectory.owner(of: directory.data)?.user != 0)
        }
        cluster.stop()
        cluster.stop()
        #expect(ClusterRemains.processes(dataDirectory: directory.data).isEmpty)
        #expect(cluster.processIdentifier == nil)
        #expect(EmbeddedPostgres.runningURL(dataDirectory: directory.path) == nil)
        #expect(
            try Set(FileManager.default.contentsOfDirectory(atPath: directory.path)) == [
                "postgres", "postgres.log", "server.lock", "socket",
            ])
    }

    @Test func durability_isOn_unlessSwitchedOff() throws {
        let directory = try Directory()
        let cluster = EmbeddedPostgres(EmbeddedPostgresConfiguration(dataDirectory: directory.path))
        try cluster.start()
        defer { cluster.stop() }
        let connection = try PostgresConnection(PostgresConfiguration(url: cluster.url()))
        let row = try connection.run(
            "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes')")
        #expect((0..<3).map { row.text(0, $0) } == ["on", "on", "on"])
    }

    @Test func start_isRefused_whileAnotherServerHasTheDirectory() throws {
        let directory = try Directory()
        let first = EmbeddedPostgres(Self.configuration(directory.path))
        try first.start()
        let second = EmbeddedPostgres(Self.configuration(directory.path))
        let error = #expect(throws: EmbeddedPostgresError.self) { try second.start() }
        #expect(error?.code == .directoryInUse)
        #expect(error?.message.contains("process \(getpid())") == true)
        #expect(try answer(first) == 42)
        first.stop()
        let third = EmbeddedPostgres(Self.configuration(directory.path))
        try third.start()
        third.stop()
    }

    @Test func cluster_isRestarted_whenThePostmasterIsKilled() throws {
        let directory = try Directory()
        let events = Recorder<String>()
        // Durable, so that what was committed must be there after the crash.
        let cluster = EmbeddedPostgres(EmbeddedPostgresConfiguration(dataDirectory: directory.path)) { event in
            switch event {
            case .died(let reason): events.record("died \(reason)")
            case .waiting: events.record("waiting")
            case .restarted: events.record("restarted")
            case .restartFailed(let error): events.record("failed \(error)")
            }
        }
        try cluster.start()
        defer { cluster.stop() }
        let process = try #require(cluster.processIdentifier)
        let connection = try PostgresConnection(PostgresConfiguration(url: cluster.url()))
        try connection.script("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
        defer { #expect(throws: Never.self) { try connection.script("DROP TABLE kept") } }
        kill(process, SIGKILL)
        #expect(events.wait { $0.last == "restarted" })
        #expect(events.values == ["died signal 9", "restarted"])
        #expect(cluster.processIdentifier != process)
        try connection.reset()
        #expect(try connection.run("SELECT id FROM kept").integer(0, 0) == 7)
    }

    @Test func start_succeeds_afterKillNineOfEverything() throws {
        let directory = try Directory()
        let files = try ClusterDirectory(directory.path)
        let earlier = try orphan(files)
        #expect(isReady(files, earlier))
        for process in ClusterRemains.processes(dataDirectory: directory.data) { kill(process, SIGKILL) }
        earlier.waitForExit()
        #expect(PostmasterFile(dataDirectory: directory.data) != nil, "the file of the dead postmaster is still there")
        let cluster = EmbeddedPostgres(Self.configuration(directory.path))
        try cluster.start()
        #expect(try answer(cluster) == 42)
        cluster.stop()
    }

    @Test func start_succeeds_whileAnEarlierClusterStillRuns() throws {
        let directory = try Directory()
        let path = directory.path
        let reaper = Recorder<Bool>()
        let begun = Recorder<pid_t>()
        // Spawns and reaps, as init would after the death of a server.
        let thread = DedicatedThread("test.orphan") {
            guard let own = try? ClusterDirectory(path), let earlier = try? self.orphan(own) else { return begun.record(-1) }
            begun.record(self.isReady(own, earlier) ? earlier.processIdentifier : -1)
            earlier.waitForExit()
            reaper.record(true)
        }
        #expect(begun.wait { $0.count == 1 })
        let cluster = EmbeddedPostgres(Self.configuration(directory.path))
        try cluster.start()
        #expect(reaper.values == [true])
        #expect(cluster.processIdentifier != begun.values[0])
        #expect(try answer(cluster) == 42)
        cluster.stop()
        #expect(thread.join(timeoutSeconds: 5))
    }

    @Test func start_succeeds_whenTheOldNumberBelongsToAStranger() throws {
        let directory = try Directory()
        let files = try ClusterDirectory(directory.path)
        let log = try files.openLog()
        defer { close(log) }
        // A process of the same user, which Postgres cannot tell from a postmaster.
        let stranger = try ClusterProcess(files.user.prefix(setpriv: try ClusterProcess.findSetpriv()) + ["/bin/sleep", "60"], log: log)
        defer {
            stranger.signal(SIGKILL)
            stranger.waitForExit()
        }
        try "\(stranger.processIdentifier)\n\(directory.data)\n".write(
            toFile: directory.data + "/postmaster.pid", atomically: false, encoding: .utf8)
        chown(directory.data + "/postmaster.pid", files.user.userIdentifier, files.user.groupIdentifier)
        let cluster = EmbeddedPostgres(Self.configuration(directory.path))
        try cluster.start()
        #expect(try answer(cluster) == 42)
        #expect(!stranger.hasExited())
        cluster.stop()
    }

    @Test func postgres_ends_whenTheThreadThatStartedItEnds() throws {
        let directory = try Directory()
        let path = directory.path
        let box = Recorder<pid_t>()
        let thread = DedicatedThread("test.parent") {
            guard let own = try? ClusterDirectory(path), let child = try? self.orphan(own) else { return }
            if self.isReady(own, child) { box.record(child.processIdentifier) }
        }
        #expect(thread.join(timeoutSeconds: 15))
        let process = try #require(box.values.first)
        var status: Int32 = 0
        #expect(waitpid(process, &status, 0) == process)
        #expect(ClusterRemains.processes(dataDirectory: directory.data).isEmpty)
    }

    @Test func start_usesAShortSocketPath_whenTheDirectoryIsLong() throws {
        let outer = try Directory(isMade: false)
        let long = outer.path + "/" + String(repeating: "long-", count: 20)
        try FileManager.default.createDirectory(
            atPath: outer.path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o711])
        // Borrowed from the other tests.
        let made = try Directory()
        try FileManager.default.moveItem(atPath: made.path, toPath: long)
        defer { #expect(throws: Never.self) { try FileManager.default.moveItem(atPath: long, toPath: made.path) } }
        let cluster = EmbeddedPostgres(Self.configuration(long))
        try cluster.start()
        #expect(try answer(cluster) == 42)
        let files = try ClusterDirectory(long)
        try files.prepareToStart()
        #expect(files.socketDirectory.utf8.count < 94 && !files.socketDirectory.hasPrefix(long))
        #expect(ClusterDirectory.owner(of: files.socketDirectory)?.user == files.user.userIdentifier)
        cluster.stop()
        files.remove(files.socketDirectory)
    }

    @Test(.enabled(if: geteuid() == 0, "only root hands the cluster to another user"))
    func start_namesTheFolder_thatTheClustersUserMayNotPass() throws {
        let outer = try Directory(isMade: false)
        try FileManager.default.createDirectory(
            atPath: outer.path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let cluster = EmbeddedPostgres(Self.configuration(outer.path + "/inner"))
        let error = #expect(throws: EmbeddedPostgresError.self) { try cluster.start() }
        #expect(error?.code == .directoryNotTraversable)
        #expect(error?.message.contains("chmod o+x \(outer.path)`") == true)
    }

    @Test func start_saysWhyAndEnds_whenPostgresRefuses() throws {
        let directory = try Directory()
        var configuration = Self.configuration(directory.path)
        configuration.settings["shared_buffers"] = "nonsense"
        configuration.startRetrySeconds = 0
        let error = #expect(throws: EmbeddedPostgresError.self) { try EmbeddedPostgres(configuration).start() }
        #expect(error?.code == .startFailed)
        #expect(error?.message.contains("shared_buffers") == true)
        // The lock went with the failure.
        let cluster = EmbeddedPostgres(Self.configuration(directory.path))
        try cluster.start()
        cluster.stop()
    }

    @Test func log_isRotated_whenLarge() throws {
        let directory = try Directory()
        let files = try ClusterDirectory(directory.path)
        defer { files.remove(files.log + ".1") }
        try Data(repeating: 10, count: (10 << 20) + 1).write(to: URL(fileURLWithPath: files.log))
        close(try files.openLog())
        #expect(try FileManager.default.attributesOfItem(atPath: files.log)[.size] as? Int == 0)
        #expect(access(files.log + ".1", F_OK) == 0)
    }
}

@Suite struct PostgresBinariesTests {
    /// A folder with empty executables in it.
    private func install(_ folder: String) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        for name in ["postgres", "initdb"] {
            try Data().write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
            chmod("\(folder)/\(name)", 0o755)
        }
    }

    @Test func find_prefersTheHighestVersion_butKeepsToThatOfTheData() throws {
        let root = FileManager.default.temporaryDirectory.path + "/" + PostgresTesting.uniqueName("tideline-binaries")
        defer { try? FileManager.default.removeItem(atPath: root) }
        for version in ["9", "15", "17"] { try install("\(root)/versions/\(version)/bin") }
        try install(root + "/path")
        let versions = root + "/versions"
        func find(_ majorVersion: Int?, _ environment: [String: String] = [:], root: String) throws -> String {
            try PostgresBinaries.find(majorVersion: majorVersion, environment: environment, versionedRoot: root).directory
        }
        #expect(try find(nil, root: versions) == versions + "/17/bin")
        #expect(try find(15, root: versions) == versions + "/15/bin")
        #expect(try find(nil, ["PATH": "/nowhere:\(root)/path"], root: root + "/none") == root + "/path")
        #expect(try find(15, ["TIDELINE_POSTGRES_BIN": root + "/path"], root: versions) == root + "/path")
        let missing = #expect(throws: EmbeddedPostgresError.self) { try find(16, root: versions) }
        #expect(missing?.code == .versionNotInstalled)
        let none = #expect(throws: EmbeddedPostgresError.self) { try find(nil, root: root + "/none") }
        #expect(none?.code == .binariesNotFound)
    }
}
