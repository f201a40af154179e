// A system that pulls the feed: it writes down what it has dealt with, and dies between any two of its steps.

import ServerSupport
import SyncProtocol

@testable import Replica

struct SimulatedConsumer {
    let name: String
    /// What it has on its disk: events by id, in the order in which it first dealt with them.
    private(set) var events: [String: ModelEvent] = [:]
    private(set) var order: [String] = []
    /// An acknowledgement that is still on its way.
    var late: ModelEventPage?

    init(name: String) { self.name = name }

    /// Writes an event down before anything is acknowledged. One that it knows must be the same as before.
    mutating func workOn(_ event: ModelEvent) throws {
        if let known = events[event.id] {
            guard known == event else { throw BrokenInvariant(name: "I10", detail: "event \(event.id) came again with other content") }
            return
        }
        events[event.id] = event
        order.append(event.id)
    }

    /// Ids do not change: what is told again at a position of the same history has the id it had.
    func checkIdentity(_ page: ModelEventPage) throws {
        for (one, next) in zip(page.events, page.events.dropFirst()) where next.position.position <= one.position.position {
            throw BrokenInvariant(name: "I10", detail: "\(name) is told \(next.id) after \(one.id)")
        }
        for event in page.events where events[event.id] == nil {
            if let known = events.values.first(where: { $0.position == event.position && $0.body == event.body }) {
                throw BrokenInvariant(name: "I10", detail: "event \(known.id) came again as \(event.id)")
            }
        }
    }
}

extension Simulation {
    /// A consumer asks for events, works on them and says so; or dies on the way.
    func consume() async throws -> String {
        guard let model else { return "nobody reads the feed of this store here" }
        let place = chance.below(consumers.count)
        if let late = consumers[place].late, chance.percent(40) {
            consumers[place].late = nil
            let isKnown = acknowledge(late, consumers[place].name)
            return "\(consumers[place].name)'s acknowledgement of \(late.position) arrives\(isKnown ? "" : ", and is refused")"
        }
        let page = try model.events(for: consumers[place].name, limit: 1 + chance.below(20))
        let name = consumers[place].name
        try consumers[place].checkIdentity(page)
        let death = chance.below(10)
        if death == 0 {
            tally.count(.consumerDied)
            return "\(name) dies with \(page.events.count) events in hand"
        }
        let done = death == 1 ? chance.below(page.events.count + 1) : page.events.count
        for event in page.events.prefix(done) { try consumers[place].workOn(event) }
        if death == 1 || death == 2 {
            tally.count(.consumerDied)
            return "\(name) dies after \(done) of \(page.events.count) events"
        }
        if death == 3 || death == 5 {
            consumers[place].late = page
            tally.count(.acknowledgementLate)
            return "\(name) acknowledges \(page.position), some day"
        }
        let isKnown = acknowledge(page, name)
        if death == 4 {
            tally.count(.acknowledgementLost)
            return "\(name) does not hear that \(page.position) was acknowledged"
        }
        return "\(name) deals with \(page.events.count) events up to \(page.position)\(isKnown ? "" : ", which the server refuses")"
    }

    /// False when the server tells the consumer to read again.
    @discardableResult
    func acknowledge(_ page: ModelEventPage, _ name: String) -> Bool {
        do {
            try model?.acknowledge(name, position: page.position, epoch: page.epoch, fingerprint: page.fingerprint)
            return true
        } catch {
            return false
        }
    }

    /// I10: every entry, in order, at least once, under ids that stay.
    func checkConsumers() throws {
        guard let model else { return }
        for place in consumers.indices {
            let name = consumers[place].name
            while true {
                let page = try model.events(for: name, limit: 50)
                if page.events.isEmpty { break }
                try consumers[place].checkIdentity(page)
                for event in page.events { try consumers[place].workOn(event) }
                guard acknowledge(page, name) else {
                    throw BrokenInvariant(name: "I10", detail: "\(name) cannot acknowledge \(page.position)")
                }
            }
            let told = Dictionary(grouping: consumers[place].events.values, by: \.body)
            var last = -1
            let places = Dictionary(uniqueKeysWithValues: consumers[place].order.enumerated().map { ($0.element, $0.offset) })
            for entry in model.feed {
                guard let event = told[entry.json.canonicalBytes()]?.first, let place = places[event.id] else {
                    throw BrokenInvariant(name: "I10", detail: "\(name) was never told of \(entry.kind) at \(entry.position.position)")
                }
                guard place > last else {
                    throw BrokenInvariant(name: "I10", detail: "\(name) was told of \(event.id) out of order")
                }
                last = place
            }
            statistics.events += consumers[place].order.count
        }
    }
}
