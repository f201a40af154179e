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
    func server(seed: UInt64, schema: Schema, random: @escaping @Sendable () -> UInt64, now: @escaping @Sendable () -> Int64)
        -> any ServerCore
    {
        switch self {
        case .model: return ModelServer(schema: schema, random: random, now: now)
        case .postgres:
            do {
                return try PostgresServer(schema: schema, tenant: Identifier(high: 0x7E, low: seed), random: random, now: now)
            } catch {
                preconditionFailure("no Postgres for a simulation: \(error)")
            }
        }
    }
}
