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

    static let embeddedName = "tideline"

    /// Throws ``EmbeddedPostgresError`` or ``PostgresError``.
    /// - Parameter mayShare: Use a cluster that another process runs; a server must have its own.
    init(_ configuration: Configuration, mayShare: Bool, log: @escaping @Sendable (LogEntry) -> Void) throws {
        self.configuration = configuration
        if let url = configuration.databaseURL {
            self.url = url
            ownerURL = configuration.ownerDatabaseURL ?? url
            listenURL = configuration.listenDatabaseURL ?? url
            cluster = nil
            return
        }
        if mayShare,
            let url = EmbeddedPostgres.runningURL(dataDirectory: configuration.dataDirectory, database: Database.embeddedName)
        {
            (self.url, ownerURL, listenURL) = (url, url, url)
            cluster = nil
            return
        }
        let cluster = EmbeddedPostgres(
            EmbeddedPostgresConfiguration(dataDirectory: configuration.dataDirectory, fsyncOff: !configuration.isDurable)
        ) { event in
            switch event {
            case .died(let reason): log(.init(.error, "postgres_died", ["reason": .string(reason)]))
            case .restarted: log(.init(.info, "postgres_restarted"))
            case .restartFailed(let error): log(.init(.error, "postgres_restart_failed", ["error": .string(error.message)]))
            }
        }
        try cluster.start()
        do {
            try cluster.createDatabaseIfMissing(Database.embeddedName)
        } catch {
            cluster.stop()
            throw error
        }
        let url = cluster.url(database: Database.embeddedName)
        (self.url, ownerURL, listenURL) = (url, url, url)
        self.cluster = cluster
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
        return try Migration(schema).run(connection, isForced: isForced)
    }

    /// Ends the private cluster, if this process started it.
    func stop() { cluster?.stop() }
}
