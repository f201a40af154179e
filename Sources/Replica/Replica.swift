// The façade: one value per open replica file. What it can do is in the extensions beside this file.
//
//   edit → capture → seal → pending → push ──► server
//   view ◄── apply: confirmed state + pending replayed ◄── pull

import Foundation
import SyncProtocol

/// How SQLite makes commits atomic.
public enum ReplicaJournal: Sendable {
    /// A rollback journal: safe together with any other tool that opens the file.
    case rollback
    /// Readers never wait for writers, but SQLite before 3.51.3 can damage the file when several processes write.
    case writeAhead

    var mode: SQLiteJournalMode { self == .rollback ? .truncate : .wal }
}

/// An offline-first copy of what one member may see. Reading and writing never need the network; ``sync(_:)`` does.
///
/// All methods may be called from anywhere and throw ``ReplicaError``.
public final class Replica: Sendable {
    public let path: String
    public let schema: Schema
    let file: OpenFile
    let environment: ReplicaEnvironment
    let injectedTransport: (any SyncTransport)?
    let driver: SyncDriver
    let states: Broadcast<SyncState>
    let longPoll: LongPollInterruption
    let identifiers: IdentifierSource
    #if canImport(FoundationNetworking) || canImport(Darwin)
        /// One transport for as long as the file is open, so that its connection is used again.
        let connections = ConnectionPool()
    #endif

    private init(file: OpenFile, schema: Schema, transport: (any SyncTransport)?, environment: ReplicaEnvironment) {
        path = file.path
        self.schema = schema
        self.file = file
        self.environment = environment
        injectedTransport = transport
        states = Broadcast(repeating: .idle)
        longPoll = LongPollInterruption()
        driver = SyncDriver(file: file, state: states, longPoll: longPoll)
        identifiers = IdentifierSource(environment)
    }

    /// Opens the file, creating it if there is none. What the schema has gained since it was last opened is added at once.
    /// - Parameters:
    ///   - path: Of the file; its folder must exist.
    ///   - schema: What the app was built with.
    ///   - transport: nil: HTTP to the server that the replica was enrolled with.
    ///   - environment: Clock, chance and waiting; for tests.
    ///   - journal: How SQLite makes commits atomic.
    public static func open(
        _ path: String, schema: Schema = .tideline, transport: (any SyncTransport)? = nil, environment: ReplicaEnvironment = .system,
        journal: ReplicaJournal = .rollback
    ) async throws -> Replica {
        try await open(path, schema: schema, transport: transport, environment: environment, journal: journal, seals: true)
    }

    /// - Parameter seals: false: edits by plain SQL stay as they are, for a program that only looks something up.
    package static func open(
        _ path: String, schema: Schema = .tideline, transport: (any SyncTransport)? = nil, environment: ReplicaEnvironment = .system,
        journal: ReplicaJournal = .rollback, seals: Bool
    ) async throws -> Replica {
        do {
            let file = try await OpenFile(path: path, schema: schema, environment: environment, journal: journal, seals: seals)
            return Replica(file: file, schema: schema, transport: transport, environment: environment)
        } catch {
            throw ReplicaError.translated(error, operation: "open")
        }
    }

    /// Closes the file. Later calls fail; calling it again does nothing. A replica that is dropped without it loses nothing.
    public func close() async {
        longPoll.interrupt()
        await file.close()
        states.finish()
    }

    // MARK: Steps shared by the extensions

    func reading<R: Sendable>(_ operation: String, _ body: @escaping @Sendable (Store) throws -> R) async throws -> R {
        do { return try await file.read(body) } catch { throw ReplicaError.translated(error, operation: operation) }
    }

    func writing<R: Sendable>(_ operation: String, _ body: @escaping @Sendable (Store) throws -> R) async throws -> R {
        do { return try await file.write(body) } catch { throw ReplicaError.translated(error, operation: operation) }
    }
}

/// Makes the ids of new records.
// @unchecked Sendable: the generator is only touched under the lock.
final class IdentifierSource: @unchecked Sendable {
    private let lock = NSLock()
    private var generator: IdentifierGenerator
    private let environment: ReplicaEnvironment

    init(_ environment: ReplicaEnvironment) {
        self.environment = environment
        generator = IdentifierGenerator(random: environment.random)
    }

    func next() -> Identifier {
        let now = environment.wallMilliseconds()
        return lock.withLock { generator.next(milliseconds: now) }
    }
}
