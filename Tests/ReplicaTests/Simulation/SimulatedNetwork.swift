// What lies between a simulated replica and the model server: it notes what was sent, loses answers, and carries the bugs that
// tests plant on the wire.

import Foundation
import ServerSupport
import SyncProtocol
import TestSupport

@testable import Replica

/// Every set that was ever sent, by its hash: what sums and merges are checked against.
final class SentSets: Sendable {
    private let sets = Locked<[String: ChangeSet]>([:])

    /// Returns whether one of them was sent before.
    @discardableResult
    func note(_ bytes: [UInt8]) -> Bool {
        guard let push = try? PushRequest.receive(bytes) else { return false }
        return sets.with { sets in
            var isAgain = false
            for set in push.sets {
                guard case .set(let content) = set.content else { continue }
                if sets.updateValue(content, forKey: set.hash) != nil { isAgain = true }
            }
            return isAgain
        }
    }

    subscript(hash: String) -> ChangeSet? { sets.with { $0[hash] } }

    var everything: [ChangeSet] { sets.with { Array($0.values) } }
}

struct SimulatedNetwork: SyncTransport {
    let model: ModelTransport
    let sent: SentSets
    let bug: PlantedBug?
    let chance: Chance
    /// Of the company that asks.
    let words: Words
    let line: Line

    /// What a site and its connection share.
    struct Line: Sendable {
        /// While true, answers to pushes that carry sets get lost: the sets are processed and nobody hears of it.
        let isDeaf = Locked(false)
        /// The process has died: whatever is still under way in its memory reaches nobody.
        let isDead = Locked(false)
        /// Where the last page that was pulled said to go on.
        let next = Locked<String?>(nil)
        /// What a bug does to the file when its fork has been answered and nothing has moved yet.
        let beforeMoving = Locked<(@Sendable (_ behind: Int64) -> Void)?>(nil)
        /// Rows of before, by id, for a bug that tells them again.
        let rows = Locked<[String: [JSONValue]]>([:])
        /// The hash of a pending set of the site's file, for bugs that need it.
        let pendingHash = Locked<(@Sendable (Int64) -> String?)?>(nil)
    }

    /// Nothing leaves a dead process, and it hears nothing any more.
    private func whileAlive<Reply>(_ ask: () async throws -> Reply) async throws -> Reply {
        func requireLife() throws { if line.isDead.with({ $0 }) { throw TransportFailure.unreachable("the process is dead") } }
        try requireLife()
        let reply = try await ask()
        try requireLife()
        return reply
    }

    func enroll(_ request: EnrollmentRequest) async throws -> EnrollmentReply {
        try await whileAlive { try await model.enroll(request) }
    }

    func fork(_ request: ForkRequest, token: String) async throws -> EnrollmentReply {
        let reply = try await whileAlive { try await model.fork(request, token: token) }
        line.beforeMoving.with { $0 }?(request.counter)
        return reply
    }

    func get(_ path: String, _ query: [(name: String, value: String)], token: String) async throws -> [UInt8] {
        let reply = try await whileAlive { try await model.get(path, query, token: token) }
        words.hear(reply, "an answer to \(path)")
        return reply
    }

    func push(_ bytes: [UInt8], token: String) async throws -> [UInt8] {
        let isAgain = line.isDead.with({ $0 }) ? false : sent.note(bytes)
        let reply: [UInt8]
        do { reply = try await whileAlive { try await model.push(bytes, token: token) } } catch TransportFailure.reply(
            let refusal, let status)
        {
            // Or the server would tell the copies apart before the pull is believed.
            if bug == .takesOtherCopysOutcome, refusal.knownCode == .fork { throw TransportFailure.timeout }
            throw TransportFailure.reply(refusal, status: status)
        }
        words.hear(reply, "an answer to a push")
        if bug == .appliesTwice || bug == .countsTwiceOnRetry && isAgain { applyAgain(bytes) }
        if line.isDeaf.with({ $0 }), try !PushReply(parsing: reply).outcomes.isEmpty { throw TransportFailure.timeout }
        switch bug {
        case .answersForAnother: return try Self.accepting(reply)
        case .dropsOutcome where isAgain:
            guard let sound = try? PushReply(parsing: reply) else { return reply }
            return PushReply(serverMilliseconds: sound.serverMilliseconds, outcomes: []).bytes()
        default: return reply
        }
    }

    func pull(_ request: PullRequest, token: String) async throws -> [UInt8] {
        let reply = try await whileAlive { try await model.pull(request, token: token) }
        words.hear(reply, "a page")
        // A reply that the network cut is nobody's bug.
        guard let bug, case .object(var page)? = try? JSONValue(parsing: reply) else { return reply }
        line.next.with { $0 = page["next"]?.stringValue }
        switch bug {
        case .skipsRecord:
            guard request.cursor != nil, chance.percent(30) else { return reply }
            page["entities"] = Self.rows(of: page, in: nil) { $0.removeLast() }
        case .halfPageApplied:
            guard request.cursor != nil, page["has_more"] == true else { return reply }
            page["entities"] = Self.rows(of: page, in: nil) { $0.removeLast(($0.count + 1) / 2) }
        case .splitsSets:
            guard request.cursor != nil else { return reply }
            page["entities"] = Self.rows(of: page, in: "client") { if $0.count > 1 { $0.removeFirst() } }
        case .tellsOldRows:
            guard request.cursor != nil else { return reply }
            page["entities"] = Self.rows(of: page, in: nil) { rows in
                for (place, row) in rows.enumerated() {
                    guard let id = row.arrayValue?.first?.stringValue else { continue }
                    let told = line.rows.with { $0[id, default: []] }
                    // Older than the one that the file has by now.
                    if told.count > 1, chance.percent(60) { rows[place] = told[0] }
                    line.rows.with { $0[id, default: []].append(rows[place]) }
                }
            }
        case .pageCursorAsKnowledge:
            let parts = page["next"]?.stringValue?.split(separator: ".") ?? []
            guard page["has_more"] == true, request.cursor != nil, parts.count == 8, let epoch = Int64(parts[0]),
                let position = Int64(parts[1])
            else { return reply }
            page["has_more"] = false
            page["checkpoint"] = [
                "at": [.integer(epoch), .integer(position), .string(String(parts[2]))], "timestamp": [0, 0],
                "acknowledged": .integer(request.outcomesAfter),
            ]
            page["outcomes"] = []
        case .dropsOutcome:
            guard page["outcomes"]?.arrayValue?.isEmpty == false else { return reply }
            page["outcomes"] = .array([])
        case .takesOtherCopysOutcome:
            let outcomes = (page["outcomes"]?.arrayValue ?? []).map { told -> JSONValue in
                guard let parts = told.arrayValue, parts.count == 3, let counter = parts[0].integerValue,
                    let hash = line.pendingHash.with({ $0 })?(counter)
                else { return told }
                return .array([parts[0], parts[1], .string(hash)])
            }
            page["outcomes"] = .array(outcomes)
        case .acknowledgesTooFar:
            guard case .object(var checkpoint)? = page["checkpoint"], let acknowledged = checkpoint["acknowledged"]?.integerValue else {
                return reply
            }
            checkpoint["acknowledged"] = .integer(acknowledged + 1)
            page["checkpoint"] = .object(checkpoint)
        default: return reply
        }
        return JSONValue.object(page).canonicalBytes()
    }

    /// The blocks of a page, with the rows of one of them edited: of an entity, or the last ones.
    private static func rows(of page: JSONObject, in entity: JSONValue?, _ edit: (inout [JSONValue]) -> Void) -> JSONValue {
        var blocks = page["entities"]?.arrayValue ?? []
        let place = entity.map { entity in blocks.firstIndex { $0["entity"] == entity } } ?? blocks.indices.last
        guard let index = place, case .object(var block) = blocks[index], var rows = block["rows"]?.arrayValue, !rows.isEmpty else {
            return .array(blocks)
        }
        edit(&rows)
        block["rows"] = .array(rows)
        blocks[index] = .object(block)
        return .array(blocks)
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
