// Where the server of a simulation keeps what it has: in memory, or in a real Postgres.

import Foundation
import ServerSupport
import SyncProtocol

enum SimulatedStore: String, Sendable {
    case model, postgres

    /// `TIDELINE_STORE`; the model when it says nothing.
    static let chosen: SimulatedStore = {
        guard let name = ProcessInfo.processInfo.environment["TIDELINE_STORE"] else { return .model }
        guard let store = SimulatedStore(rawValue: name) else { preconditionFailure("TIDELINE_STORE is model or postgres, not \(name)") }
        return store
    }()

    /// Two runs of one seed must not overlap on Postgres: the seed names the tenant, so that they are the same run.
    /// - Parameter fault: What is wrong with the database.
    /// - Returns: The server, and that of another company where the store has more than one.
    func servers(
        seed: UInt64, schema: Schema, random: @escaping @Sendable () -> UInt64, now: @escaping @Sendable () -> Int64, fault: StoreFault?
    ) -> (any ServerCore, neighbour: (any ServerCore)?) {
        switch self {
        case .model: return (ModelServer(schema: schema, random: random, now: now), nil)
        case .postgres:
            do {
                let server = try PostgresServer(
                    schema: schema, tenant: Identifier(high: 0x7E, low: seed), random: random, now: now, fault: fault)
                return (server, try server.neighbour(Identifier(high: 0x7F, low: seed)))
            } catch {
                preconditionFailure("no Postgres for a simulation: \(error)")
            }
        }
    }
}
