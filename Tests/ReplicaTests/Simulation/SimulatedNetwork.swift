// What lies between a simulated replica and the model server: faults that the seed chooses, and the bugs that tests plant to
// prove that the invariants see them.

import Foundation
import SyncProtocol
import TestSupport

@testable import Replica

/// A bug put in on purpose.
enum PlantedBug: String, Sendable, CaseIterable {
    /// A page leaves out one of its records.
    case skipsRecord
    /// What a set adds to a counter is added twice.
    case appliesTwice
    /// An outcome that only a pull could tell never comes.
    case dropsOutcome
    /// A rejection arrives as another set's acceptance.
    case answersForAnother
    /// The checkpoint acknowledges one set too many.
    case acknowledgesTooFar
    /// The newest pending set vanishes from the file.
    case losesPending
    /// One record of a set of two arrives later than the other.
    case splitsSets
    /// A tombstone comes back to life at the server.
    case resurrects
    /// The rejection of a set leaves no problem behind.
    case forgetsProblem

    /// Which promises it breaks; the first that is looked at finds it.
    var invariants: Set<String> {
        switch self {
        case .skipsRecord: ["I1", "I4"]
        case .appliesTwice: ["I3"]
        case .dropsOutcome: ["I6", "I12"]
        case .answersForAnother: ["I2"]
        case .acknowledgesTooFar: ["I6", "I12"]
        case .losesPending: ["I6", "I14"]
        case .splitsSets: ["I4", "I1"]
        case .resurrects: ["I11"]
        case .forgetsProblem: ["I6", "I9"]
        }
    }
}

/// Every set that was ever sent, by its hash: what the sums of the counters are checked against.
final class SentSets: Sendable {
    private let sets = Locked<[String: ChangeSet]>([:])

    func note(_ bytes: [UInt8]) {
        guard let push = try? PushRequest.receive(bytes) else { return }
        sets.with { sets in
            for set in push.sets { if case .set(let content) = set.content { sets[set.hash] = content } }
        }
    }

    subscript(hash: String) -> ChangeSet? { sets.with { $0[hash] } }
}

struct SimulatedNetwork: SyncTransport {
    let model: ModelTransport
    let sent: SentSets
    let bug: PlantedBug?
    let chance: Chance
    /// While true, answers to pushes that carry sets get lost: the sets are processed and nobody hears of it.
    let isDeaf: Locked<Bool>

    func enroll(_ request: EnrollmentRequest) async throws -> EnrollmentReply { try await model.enroll(request) }
    func fork(_ request: ForkRequest, token: String) async throws -> EnrollmentReply { try await model.fork(request, token: token) }
    func get(_ path: String, _ query: [(name: String, value: String)], token: String) async throws -> [UInt8] {
        try await model.get(path, query, token: token)
    }

    func push(_ bytes: [UInt8], token: String) async throws -> [UInt8] {
        sent.note(bytes)
        let reply = try await model.push(bytes, token: token)
        if isDeaf.with({ $0 }), try !PushReply(parsing: reply).outcomes.isEmpty { throw TransportFailure.timeout }
        switch bug {
        case .appliesTwice: applyAgain(bytes)
        case .answersForAnother: return try Self.accepting(reply)
        default: break
        }
        return reply
    }

    func pull(_ request: PullRequest, token: String) async throws -> [UInt8] {
        let reply = try await model.pull(request, token: token)
        // A reply that the network cut is nobody's bug.
        guard let bug, case .object(var page)? = try? JSONValue(parsing: reply) else { return reply }
        switch bug {
        case .skipsRecord:
            guard request.cursor != nil, var blocks = page["entities"]?.arrayValue, let last = blocks.last,
                case .object(var block) = last, var rows = block["rows"]?.arrayValue, !rows.isEmpty, chance.percent(30)
            else { return reply }
            rows.removeLast()
            block["rows"] = .array(rows)
            blocks[blocks.count - 1] = .object(block)
            page["entities"] = .array(blocks)
        case .dropsOutcome:
            guard page["outcomes"]?.arrayValue?.isEmpty == false else { return reply }
            page["outcomes"] = .array([])
        case .acknowledgesTooFar:
            guard case .object(var checkpoint)? = page["checkpoint"], let acknowledged = checkpoint["acknowledged"]?.integerValue else {
                return reply
            }
            checkpoint["acknowledged"] = .integer(acknowledged + 1)
            page["checkpoint"] = .object(checkpoint)
        case .splitsSets:
            guard request.cursor != nil, var blocks = page["entities"]?.arrayValue,
                let place = blocks.firstIndex(where: { $0["entity"] == "client" }), case .object(var block) = blocks[place],
                var rows = block["rows"]?.arrayValue, rows.count > 1
            else { return reply }
            rows.removeFirst()
            block["rows"] = .array(rows)
            blocks[place] = .object(block)
            page["entities"] = .array(blocks)
        default: return reply
        }
        return JSONValue.object(page).canonicalBytes()
    }

    private func applyAgain(_ bytes: [UInt8]) {
        guard let push = try? PushRequest.receive(bytes) else { return }
        for case .set(let set) in push.sets.map(\.content) {
            for change in set.changes where change.key.entity == "part" {
                guard case .patch(let fields, _) = change.operation, let delta = fields["on_hand_milli"] else { continue }
                model.server.write([Change(key: change.key, operation: .patch(fields: ["on_hand_milli": delta], was: [:]))])
            }
        }
    }

    /// Every rejection replaced by an acceptance.
    private static func accepting(_ bytes: [UInt8]) throws -> [UInt8] {
        guard let reply = try? PushReply(parsing: bytes) else { return bytes }
        let outcomes = try reply.outcomes.map { counter, outcome in
            let isRejected = try JSONValue(parsing: outcome)["status"] == "rejected"
            return (counter: counter, outcome: isRejected ? Outcome(status: .accepted).json.canonicalBytes() : outcome)
        }
        return PushReply(serverMilliseconds: reply.serverMilliseconds, outcomes: outcomes).bytes()
    }
}
