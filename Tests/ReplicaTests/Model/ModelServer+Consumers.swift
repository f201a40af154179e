// The feed as consumers pull it from the model: a durable cursor each, reading takes nothing, acknowledging moves on.

import SyncProtocol

@testable import Replica

struct ModelEvent: Sendable, Equatable {
    /// The same every time the event is told.
    var id: String
    var position: FeedPosition
    var body: [UInt8]
}

struct ModelEventPage: Sendable {
    var events: [ModelEvent]
    /// To be acknowledged when the events are done with.
    var position: Int64
    var epoch: Int64
    /// Of the entry there; nil when nothing was read.
    var fingerprint: String?
}

extension ModelServer {
    func addConsumer(_ name: String) { lock.withLock { state.consumers[name] = Consumer(cursor: .start) } }

    func events(for consumer: String, limit: Int) throws -> ModelEventPage {
        try lock.withLock {
            guard let cursor = state.consumers[consumer]?.cursor else { throw refusal(.notFound) }
            var entries = Array(state.feed.filter { $0.position.position > cursor.position }.prefix(limit))
            let (reached, isAny) = (entries.last?.position ?? cursor, !entries.isEmpty)
            if fault == .skipsEvents, entries.count > 2 { entries.remove(at: 1) }
            if fault == .acknowledgesOnReading { state.consumers[consumer]?.cursor = reached }
            let events = entries.map { entry -> ModelEvent in
                let number = fault == .renamesEvents ? pokes : 0
                let mark = state.fingerprints[entry.position.position] ?? ""
                return ModelEvent(
                    id: "\(entry.eventID)-\(mark)\(number == 0 ? "" : "-\(number)")", position: entry.position,
                    body: entry.json.canonicalBytes())
            }
            return ModelEventPage(
                events: events, position: reached.position, epoch: reached.epoch,
                fingerprint: isAny ? state.fingerprints[reached.position] : nil)
        }
    }

    /// Refuses what was read of another history than the one that stands.
    func acknowledge(_ consumer: String, position: Int64, epoch: Int64, fingerprint: String?) throws {
        try lock.withLock {
            guard let cursor = state.consumers[consumer]?.cursor else { throw refusal(.notFound) }
            guard position <= state.position else { throw refusal(.validationFailed) }
            let found = state.feed.last { $0.position.position == position }?.position
            let isOther = found.map { $0.epoch != epoch || state.fingerprints[position] != fingerprint } ?? (fingerprint != nil)
            if isOther, fault != .acknowledgesBlindly {
                throw refusal(.newEpoch, details: ["epoch": .integer(state.epoch)])
            }
            if position > cursor.position { state.consumers[consumer]?.cursor = found ?? FeedPosition(epoch: epoch, position: position) }
        }
    }

    var feed: [ActivityEntry] { lock.withLock { state.feed } }
}
