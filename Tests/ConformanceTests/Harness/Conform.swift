// A scenario is written once and runs on both stores: what it expects must hold on each, and every answer must be the same.

import Foundation
import ServerSupport
import SyncProtocol
import TestSupport
import Testing

enum Store: String, CaseIterable, Sendable {
    case model, postgres

    /// - Parameter tenant: The same for both, so that records and scopes are; no two tests at a time share one.
    func open(
        schema: Schema, tenant: Identifier, random: SeededRandom, waitingLimits: WaitingLimits = WaitingLimits(),
        now: @escaping @Sendable () -> Int64
    ) throws -> any ServerCore {
        let random = Locked(random)
        let draw: @Sendable () -> UInt64 = { random.with { $0.next() } }
        switch self {
        case .model:
            let model = ModelServer(schema: schema, tenant: tenant, random: draw, now: now)
            model.waitingLimits = waitingLimits
            return model
        case .postgres:
            return try PostgresServer(schema: schema, tenant: tenant, random: draw, waitingLimits: waitingLimits, now: now)
        }
    }
}

private let tenants = Locked<UInt64>(0)

func freshTenant() -> Identifier {
    Identifier(
        high: 0x7E57_0000_0000_7000,
        low: 0x8000_0000_0000_0000
            | tenants.with {
                $0 += 1
                return $0
            })
}

/// Runs a scenario on every store and holds their transcripts against each other, final states included.
func onEveryStore(
    schema: Schema = .testing, waitingLimits: WaitingLimits = WaitingLimits(), sourceLocation: SourceLocation = #_sourceLocation,
    _ scenario: (Company) throws -> Void
) throws {
    let tenant = freshTenant()
    let transcripts = try Store.allCases.map { store in
        let company = try Company(store, schema: schema, tenant: tenant, waitingLimits: waitingLimits)
        try scenario(company)
        try company.tellFinalState()
        return company.transcript
    }
    if let difference = firstDifference(transcripts[0], transcripts[1]) {
        Issue.record("the stores answer differently: \(difference)", sourceLocation: sourceLocation)
    }
}

/// Where two transcripts part, with what came before.
func firstDifference(_ model: [String], _ postgres: [String]) -> String? {
    guard model != postgres else { return nil }
    let place = zip(model, postgres).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? min(model.count, postgres.count)
    let before = model[max(0, place - 3)..<place].map { "    \($0.prefix(2_000))" }
    return
        (before + [
            "model:    \(place < model.count ? model[place] : "(ends)")",
            "postgres: \(place < postgres.count ? postgres[place] : "(ends)")",
        ]).joined(separator: "\n")
}

struct Missing: Error {}

func required<Value>(_ value: Value?) throws -> Value {
    guard let value else { throw Missing() }
    return value
}
