// Finds the database a command works on: the given URL, the cluster that a running server already keeps, or a private
// cluster started for as long as this process needs it.

import Foundation
import SyncProtocol

/// @unchecked Sendable: set up before it is shared, never changed afterwards; the cluster guards itself.
final class Database: @unchecked Sendable {
    let configuration: Configuration
    /// For requests.
    let url: String
    /// For migrations.
    let ownerURL: String
    /// For LISTEN.
    let listenURL: String
    private let cluster: EmbeddedPostgres?
    /// Called at each point that a test may want to be the last of this process.
    let step: @Sendable (ServerStep) -> Void

    static let embeddedName = "tideline"

    /// Throws ``EmbeddedPostgresError`` or ``PostgresError``.
    /// - Parameter mayShare: Use a cluster that another process runs; a server must have its own.
    init(_ configuration: Configuration, mayShare: Bool, log: @escaping @Sendable (LogEntry) -> Void) throws {
        self.configuration = configuration
        let kill = StepKill<ServerStep>(configuration.stepKill)
        step = { kill?.reach($0) }
        if let url = configuration.databaseURL {
            self.url = url
            ownerURL = configuration.ownerDatabaseURL ?? url
            listenURL = configuration.listenDatabaseURL ?? url
            cluster = nil
            return
        }
        let found: Embedded
        if mayShare {
            found = try Database.shareOrStart(configuration)
        } else {
            found = .own(try Database.start(configuration, as: .server, commandWaitSeconds: Database.waitSeconds, log: log))
        }
        switch found {
        case .shared(let url):
            (self.url, ownerURL, listenURL) = (url, url, url)
            cluster = nil
        case .own(let cluster):
            let url = cluster.url(database: Database.embeddedName)
            (self.url, ownerURL, listenURL) = (url, url, url)
            self.cluster = cluster
        }
    }

    private enum Embedded {
        /// Another process runs it.
        case shared(url: String)
        case own(EmbeddedPostgres)
    }

    /// How long a server waits for a command that has the data directory, and a command for whoever has it.
    private static let waitSeconds: Double = 30

    /// A command uses the cluster of a server, of one that is only starting too. Without a server it runs the cluster itself;
    /// one that another command runs ends with that command, so it is waited for and not shared.
    private static func shareOrStart(_ configuration: Configuration) throws -> Embedded {
        let directory = configuration.dataDirectory
        let giveUpAt = Date(timeIntervalSinceNow: waitSeconds)
        while true {
            do {
                if EmbeddedPostgres.isServed(dataDirectory: directory) {
                    if let maintenance = EmbeddedPostgres.runningURL(dataDirectory: directory),
                        let url = EmbeddedPostgres.runningURL(dataDirectory: directory, database: embeddedName)
                    {
                        // Its server may not have come to that yet.
                        try EmbeddedPostgres.createDatabaseIfMissing(embeddedName, on: maintenance)
                        return .shared(url: url)
                    }
                } else {
                    return .own(try start(configuration, as: .command, commandWaitSeconds: 0) { _ in })
                }
            } catch let error as EmbeddedPostgresError where error.code == .directoryInUse && Date() < giveUpAt {
            } catch let error as PostgresError where error.isRetryable && Date() < giveUpAt {
                // It is about to be ready, or was about to stop.
            }
            guard Date() < giveUpAt else {
                throw EmbeddedPostgresError(
                    .startFailed, "the server that has \(directory) is not ready yet; try again", operation: "share")
            }
            Thread.sleep(forTimeInterval: 0.05)
        }
    }

    private static func start(
        _ configuration: Configuration, as use: DirectoryHolder.Use, commandWaitSeconds: Double, log: @escaping @Sendable (LogEntry) -> Void
    ) throws -> EmbeddedPostgres {
        let cluster = EmbeddedPostgres(
            EmbeddedPostgresConfiguration(
                dataDirectory: configuration.dataDirectory, fsyncOff: !configuration.isDurable, use: use,
                commandWaitSeconds: commandWaitSeconds)
        ) { event in
            switch event {
            case .waiting: log(.init(.info, "waiting_for_data_directory"))
            case .died(let reason): log(.init(.error, "postgres_died", ["reason": .string(reason)]))
            case .restarted: log(.init(.info, "postgres_restarted"))
            case .restartFailed(let error): log(.init(.error, "postgres_restart_failed", ["error": .string(error.message)]))
            }
        }
        try cluster.start()
        do {
            try cluster.createDatabaseIfMissing(embeddedName)
        } catch {
            cluster.stop()
            throw error
        }
        return cluster
    }

    func connect(name: String = "tideline") throws(PostgresError) -> PostgresConnection {
        try PostgresConnection(configuration.postgres(url, name: name))
    }

    func connectAsOwner() throws(PostgresError) -> PostgresConnection {
        try PostgresConnection(configuration.postgres(ownerURL, name: "tideline migrate"))
    }

    /// Brings the database to this build's schema, if it is not there yet.
    @discardableResult
    func migrate(_ schema: Schema, isForced: Bool = false) throws -> MigrationReport {
        let connection = try connectAsOwner()
        defer { connection.close() }
        var migration = Migration(schema)
        migration.step = step
        return try migration.run(connection, isForced: isForced)
    }

    /// Ends the private cluster, if this process started it.
    func stop() { cluster?.stop() }
}
