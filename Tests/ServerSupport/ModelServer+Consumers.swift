// The feed as consumers read it from the model: a durable cursor each, reading takes nothing, acknowledging moves on; and built-in ones,
// whose work and cursor are one step.

import SyncProtocol

@testable import Replica
@testable import SyncServer

/// A consumer of the model, as it is kept.
struct ModelConsumer: Sendable {
    var kind: Consumer.Kind
    var handler: String?
    /// As they were asked for; none: everything.
    var kinds: [String]
    var includesRestricted: Bool
    var cursor: FeedPosition

    func isTold(of entry: ActivityEntry, _ schema: Schema) -> Bool {
        if schema.entity(entry.key.entity)?.access == .secret { return false }
        if entry.kind == "sync.epoch_started" || kinds.isEmpty { return true }
        let entity = entry.kind.prefix { $0 != "." }
        return kinds.contains { $0 == "*" || $0 == entry.kind || $0 == "\(entity).*" }
    }
}

extension ModelServer {
    public func addConsumer(_ request: JSONValue) throws {
        try lock.withLock {
            let (asked, start) = try telling { try Consumer.received(request, schema: schema, builtins: TallyingConsumer.all) }
            let position: Int64
            switch start {
            case .now: position = state.position
            case .beginning: position = 0
            case .after(let chosen):
                guard chosen <= state.position else { throw refusal(.conflict, details: ["field": "from"]) }
                position = chosen
            case .since(let time):
                position = state.feed.first { $0.atMilliseconds >= time }.map { $0.position.position - 1 } ?? state.position
            }
            guard state.consumers[asked.name] == nil else { throw refusal(.conflict, details: ["field": "name"]) }
            state.consumers[asked.name] = ModelConsumer(
                kind: asked.kind, handler: asked.handler, kinds: asked.filter.patterns + (asked.kind == .builtin ? ["client.*"] : []),
                includesRestricted: asked.includesRestricted, cursor: FeedPosition(epoch: state.epoch, position: position))
        }
    }

    /// Refusals of the product as the model tells them.
    private func telling<R>(_ body: () throws -> R) throws -> R {
        do { return try body() } catch let error as ErrorReply {
            throw TransportFailure.reply(error, status: error.knownCode?.status ?? 500)
        }
    }

    private func pulling(_ name: String) throws -> ModelConsumer {
        guard let consumer = state.consumers[name] else { throw refusal(.notFound) }
        guard consumer.kind == .pull else { throw refusal(.conflict, details: ["field": "name"]) }
        return consumer
    }

    public func events(for name: String, limit: Int64) throws -> ConsumerPage {
        try lock.withLock {
            let consumer = try pulling(name)
            var (reached, told): (FeedPosition, [ActivityEntry]) = (consumer.cursor, [])
            // Up to the last one that is told and what lies behind it that is not.
            for entry in state.feed where entry.position.position > consumer.cursor.position {
                if consumer.isTold(of: entry, schema) {
                    guard told.count < limit else { break }
                    told.append(entry)
                }
                reached = entry.position
            }
            if fault == .skipsEvents, told.count > 2 { told.remove(at: 1) }
            if fault == .acknowledgesOnReading { state.consumers[name]?.cursor = reached }
            readings += 1
            let events = told.compactMap { entry -> ConsumerEvent? in
                let event = OutboxEvent(
                    entry, tenant: tenant, fingerprint: state.fingerprints[entry.position.position] ?? "",
                    includesRestricted: consumer.includesRestricted)
                var one = ConsumerEvent(event.capped.json)
                if fault == .renamesEvents { one?.id += "-\(readings)" }
                return one
            }
            return ConsumerPage(
                events: events, position: reached.position, epoch: reached.epoch,
                fingerprint: reached.position > 0 ? state.fingerprints[reached.position] : nil, hasMore: reached.position < state.position)
        }
    }

    /// Refuses what was read of another history than the one that stands.
    public func acknowledge(_ name: String, position: Int64, epoch: Int64?, fingerprint: String?) throws -> FeedPosition {
        try lock.withLock {
            let consumer = try pulling(name)
            guard position >= 0, position <= state.position else { throw refusal(.conflict, details: ["field": "position"]) }
            let found = state.feed.last { $0.position.position == position }?.position
            let isOtherEpoch = found.map { found in epoch.map { $0 != found.epoch } ?? false } ?? false
            let isOtherEntry = fingerprint.map { found == nil || state.fingerprints[position] != $0 } ?? false
            if isOtherEpoch || isOtherEntry, fault != .acknowledgesBlindly {
                throw refusal(.newEpoch, details: ["epoch": .integer(state.epoch)])
            }
            if position > consumer.cursor.position {
                state.consumers[name]?.cursor = FeedPosition(epoch: found?.epoch ?? consumer.cursor.epoch, position: position)
            }
            return state.consumers[name]?.cursor ?? consumer.cursor
        }
    }

    // MARK: Built in

    public func runBuiltin(_ name: String, dyingAt death: BuiltinDeath?) -> Bool {
        defer { poke() }
        return lock.withLock {
            var number = 0
            while let consumer = state.consumers[name], let builtin = TallyingConsumer.all.first(where: { $0.name == consumer.handler }) {
                let next = state.feed.first { $0.position.position > consumer.cursor.position && consumer.isTold(of: $0, schema) }
                guard let entry = next else { return true }
                number += 1
                let isLast = death?.entry == number
                let before = state
                react(builtin, to: entry)
                let worked = state
                state.consumers[name]?.cursor = entry.position
                guard isLast, let death else { continue }
                if death.step != .committed {
                    let consumers = state.consumers
                    state = fault == .worksWithoutItsCursor ? worked : before
                    if fault == .movesItsCursorFirst { state.consumers = consumers }
                    ordered = nil
                }
                return false
            }
            return true
        }
    }

    private func react(_ builtin: BuiltinConsumer, to entry: ActivityEntry) {
        guard entry.kind != "sync.epoch_started" else { return }
        let event = OutboxEvent(entry, tenant: tenant, fingerprint: "")
        let workspace = Workspace(schema: schema)
        var changes: [Change] = []
        while true {
            changes = builtin.react(event, workspace)
            let missing = workspace.takeMissing()
            if missing.isEmpty { break }
            for read in missing { supply(read, workspace) }
        }
        guard !changes.isEmpty else { return }
        var submission = Submission(
            changes: changes, author: .system, dot: nil,
            clock: VectorClock(feed: FeedPosition(epoch: state.epoch, position: state.position)),
            timestamp: max(HybridTimestamp(milliseconds: now()), state.stamp.next))
        submission.depth = entry.depth + 1
        let outcome = decide(submission)
        precondition(outcome.status != .rejected, "\(builtin.name) was refused: \(outcome.violations)")
    }
}
