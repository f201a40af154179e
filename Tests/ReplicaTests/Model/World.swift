// What a test begins with: a model server, a clock that tests move, and replicas in a directory of their own.

import Foundation
import ServerSupport
import SyncProtocol
import Testing

@testable import Replica

/// Time that only tests move; waiting moves it on without waiting.
// @unchecked Sendable: the values are only touched under the lock.
final class TestClock: @unchecked Sendable {
    private let lock = NSLock()
    private var milliseconds: Int64
    private var waits: [Int64] = []

    init(milliseconds: Int64 = 1_800_000_000_000) { self.milliseconds = milliseconds }

    var now: Int64 { lock.withLock { milliseconds } }
    var sleeps: [Int64] { lock.withLock { waits } }
    func advance(_ by: Int64) { lock.withLock { milliseconds += by } }

    func sleep(_ by: Int64) {
        lock.withLock {
            milliseconds += by
            waits.append(by)
        }
    }
}

struct Crash: Error, Equatable { var at: String }

/// Fails at chosen storage steps.
// @unchecked Sendable: the values are only touched under the lock.
final class StorageFaults: @unchecked Sendable {
    private let lock = NSLock()
    private var failing: StorageStep?
    private var countdown = 0
    private var error: (any Error & Sendable)?
    private var seen: Set<StorageStep> = []

    /// The step fails when it comes for the `number`th time from now; without an error it is a death.
    func fail(at step: StorageStep?, number: Int = 1, with error: (any Error & Sendable)? = nil) {
        lock.withLock {
            failing = step
            countdown = number
            self.error = error
        }
    }

    var reached: Set<StorageStep> { lock.withLock { seen } }

    func check(_ step: StorageStep) throws {
        let failure = lock.withLock { () -> (any Error)? in
            seen.insert(step)
            guard step == failing else { return nil }
            countdown -= 1
            return countdown == 0 ? error ?? Crash(at: step.rawValue) : nil
        }
        if let failure { throw failure }
    }
}

final class World: Sendable {
    let clock = TestClock()
    let server: ModelServer
    let schema: Schema
    let directory: URL

    init(schema: Schema = .tideline) throws {
        let clock = clock
        self.schema = schema
        server = ModelServer(schema: schema) { clock.now }
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("tideline-replica-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    func path(_ name: String) -> String { directory.appendingPathComponent("\(name).sqlite").path }

    func environment(_ faults: StorageFaults? = nil, offset: Int64 = 0) -> ReplicaEnvironment {
        let clock = clock
        var environment = ReplicaEnvironment(
            wallMilliseconds: { clock.now + offset }, random: { UInt64.random(in: 0...UInt64.max) },
            sleep: { milliseconds in
                try Task.checkCancellation()
                clock.sleep(milliseconds)
                await Task.yield()
            })
        if let faults { environment.storageStep = { try faults.check($0) } }
        return environment
    }

    func open(
        _ name: String, _ transport: ModelTransport, schema: Schema? = nil, faults: StorageFaults? = nil, offset: Int64 = 0
    ) async throws -> Replica {
        try await Replica.open(
            path(name), schema: schema ?? self.schema, transport: transport, environment: environment(faults, offset: offset))
    }

    /// A new replica of a new member (or a further one of `member`), enrolled and, unless told otherwise, synced.
    func replica(
        _ name: String, role: Role = .owner, member: Identifier? = nil, synced: Bool = true, faults: StorageFaults? = nil, offset: Int64 = 0
    ) async throws -> Site {
        let transport = ModelTransport(server)
        let replica = try await open(name, transport, faults: faults, offset: offset)
        let invitation = server.invite(name, role: role, member: member)
        try await replica.enroll(server: try #require(URL(string: "http://model")), code: invitation.code, label: name)
        let id = try #require(try await replica.replicaID)
        if synced { try await replica.sync() }
        return Site(name: name, replica: replica, transport: transport, id: id, member: invitation.member)
    }
}

extension World {
    /// A byte for byte copy of the site's file, opened beside the original.
    func copy(of site: Site, _ name: String) async throws -> Site {
        try await SQLiteShell(path: site.replica.path).execute("VACUUM INTO '\(path(name))';")
        return try await reopened(name, like: site)
    }

    /// A file that is there already, with a connection of its own.
    func reopened(_ name: String, like site: Site, faults: StorageFaults? = nil) async throws -> Site {
        let transport = ModelTransport(server)
        return Site(
            name: name, replica: try await open(name, transport, faults: faults), transport: transport, id: site.id, member: site.member)
    }
}

/// One replica of a test with what belongs to it.
struct Site: Sendable {
    let name: String
    let replica: Replica
    let transport: ModelTransport
    let id: Identifier
    let member: Identifier

    @discardableResult
    func sync(_ options: SyncOptions = SyncOptions()) async throws -> SyncReport { try await replica.sync(options) }

    @discardableResult
    func create(_ entity: String, _ fields: [String: JSONValue]) async throws -> Identifier {
        try await replica.write { try $0.create(entity, fields) }.value
    }

    func set(_ entity: String, _ id: Identifier, _ fields: [String: JSONValue]) async throws {
        try await replica.write { try $0.set(entity, id, fields) }
    }

    func value(_ entity: String, _ id: Identifier, _ field: String) async throws -> JSONValue {
        try #require(try await replica.get(entity, id))[field]
    }

    @discardableResult
    func client(_ name: String = "Acme", _ more: [String: JSONValue] = [:]) async throws -> Identifier {
        try await create("client", more.merging(["name": .string(name)]) { $1 })
    }
}

extension Site {
    /// A deal of this member's, with a client of its own, that the server has.
    @discardableResult
    func ownDeal(_ title: String, _ more: JSONObject = JSONObject(), on world: World) async throws -> Identifier {
        let (client, deal) = (
            Identifier.version7(milliseconds: world.clock.now, random: (.random(in: 0...(.max)), .random(in: 0...(.max)))),
            Identifier.version7(milliseconds: world.clock.now, random: (.random(in: 0...(.max)), .random(in: 0...(.max))))
        )
        var fields: JSONObject = [
            "title": .string(title), "client": .string(client.text), "currency": "USD", "owner": .string(member.text),
        ]
        for (name, value) in more { fields[name] = value }
        let outcome = world.server.write([
            Change("client", client, .create(fields: ["name": .string("Client of \(title)")])),
            Change("deal", deal, .create(fields: fields)),
        ])
        #expect(outcome.status == .accepted)
        return deal
    }
}

extension World {
    /// A deal gets another owner.
    func handOver(_ deal: Identifier, to member: Identifier) {
        server.write([Change("deal", deal, .patch(fields: ["owner": .string(member.text)], was: [:]))])
    }
}

/// All replicas hold what the server holds for them, and nothing is left open.
func expectConverged(_ world: World, _ sites: Site..., sourceLocation: SourceLocation = #_sourceLocation) async throws {
    for _ in 0..<2 { for site in sites { try await site.sync() } }
    for site in sites {
        let expected = world.server.digest(for: site.id)
        let digest = try await site.replica.digest()
        for (entity, value) in expected {
            #expect(digest[entity] == value, "\(site.name): \(entity)", sourceLocation: sourceLocation)
        }
        #expect(try await site.replica.pending().isEmpty, "\(site.name) has pending sets", sourceLocation: sourceLocation)
        #expect(try await site.replica.integrityCheck() == [], sourceLocation: sourceLocation)
    }
}

/// The `ReplicaError` that `body` throws; nil when it throws none.
func replicaError(_ body: () async throws -> Void) async throws -> ReplicaError? {
    do {
        try await body()
        return nil
    } catch let error as ReplicaError {
        return error
    }
}
