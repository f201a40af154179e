// The feed as consumers pull it from the model: a durable cursor each, reading takes nothing, acknowledging moves on.

import SyncProtocol

@testable import Replica

public struct ModelEvent: Sendable, Equatable {
    /// The same every time the event is told.
    public var id: String
    public var position: FeedPosition
    public var body: [UInt8]
}

public struct ModelEventPage: Sendable {
    public var events: [ModelEvent]
    /// To be acknowledged when the events are done with.
    public var position: Int64
    public var epoch: Int64
    /// Of the entry there; nil when nothing was read.
    public var fingerprint: String?
}

extension ModelServer {
    public func addConsumer(_ name: String) { lock.withLock { state.consumers[name] = .start } }

    public func events(for consumer: String, limit: Int) throws -> ModelEventPage {
        try lock.withLock {
            guard let cursor = state.consumers[consumer] else { throw refusal(.notFound) }
            var entries = Array(state.feed.filter { $0.position.position > cursor.position }.prefix(limit))
            let (reached, isAny) = (entries.last?.position ?? cursor, !entries.isEmpty)
            if fault == .skipsEvents, entries.count > 2 { entries.remove(at: 1) }
            if fault == .acknowledgesOnReading { state.consumers[consumer] = reached }
            readings += 1
            let events = entries.map { entry -> ModelEvent in
                let number = fault == .renamesEvents ? readings : 0
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
    public func acknowledge(_ consumer: String, position: Int64, epoch: Int64, fingerprint: String?) throws {
        try lock.withLock {
            guard let cursor = state.consumers[consumer] else { throw refusal(.notFound) }
            guard position <= state.position else { throw refusal(.validationFailed) }
            let found = state.feed.last { $0.position.position == position }?.position
            let isOther = found.map { $0.epoch != epoch || state.fingerprints[position] != fingerprint } ?? (fingerprint != nil)
            if isOther, fault != .acknowledgesBlindly {
                throw refusal(.newEpoch, details: ["epoch": .integer(state.epoch)])
            }
            if position > cursor.position { state.consumers[consumer] = found ?? FeedPosition(epoch: epoch, position: position) }
        }
    }

    public var feed: [ActivityEntry] { lock.withLock { state.feed } }
}
