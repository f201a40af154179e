// A system that pulls the feed: it writes down what it has dealt with, and dies between any two of its steps. And a consumer that is part
// of the server, whose process dies as well.

import ServerSupport
import SyncProtocol

@testable import Replica

struct SimulatedConsumer {
    let name: String
    /// What it has on its disk: events by id, in the order in which it first dealt with them.
    private(set) var events: [String: ConsumerEvent] = [:]
    private(set) var order: [String] = []
    /// An acknowledgement that is still on its way.
    var late: ConsumerPage?

    init(name: String) { self.name = name }

    /// Writes an event down before anything is acknowledged. One that it knows must be the same as before.
    mutating func workOn(_ event: ConsumerEvent) throws {
        if let known = events[event.id] {
            guard known == event else { throw BrokenInvariant(name: "I10", detail: "event \(event.id) came again with other content") }
            return
        }
        events[event.id] = event
        order.append(event.id)
    }

    /// Ids do not change: what is told again at a position of the same history has the id it had.
    func checkIdentity(_ page: ConsumerPage) throws {
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
    /// Two that pull, and one that is built in, from the beginning of the feed.
    func registerConsumers() throws {
        for name in ["ledger", "mirror"] {
            try server.addConsumer(["name": .string(name), "kind": "pull", "from": "beginning"])
            consumers.append(SimulatedConsumer(name: name))
        }
        server.write([TallyingConsumer.creation])
        try server.addConsumer(["name": .string(Self.counting), "handler": .string(TallyingConsumer.handler), "from": "beginning"])
    }

    static let counting = "counting"

    /// A consumer asks for events, works on them and says so; or dies on the way.
    func consume() async throws -> String {
        let place = chance.below(consumers.count)
        if let late = consumers[place].late, chance.percent(40) {
            consumers[place].late = nil
            let isKnown = acknowledge(late, consumers[place].name)
            return "\(consumers[place].name)'s acknowledgement of \(late.position) arrives\(isKnown ? "" : ", and is refused")"
        }
        let page = try server.events(for: consumers[place].name, limit: Int64(1 + chance.below(20)))
        let name = consumers[place].name
        for event in page.events { words.hear(event.body, "an event") }
        try consumers[place].checkIdentity(page)
        // What shows this bug is late by nature.
        let death = bug == .acknowledgesBlindly && chance.percent(60) ? 3 : chance.below(10)
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
    func acknowledge(_ page: ConsumerPage, _ name: String) -> Bool {
        do {
            try server.acknowledge(name, position: page.position, epoch: page.epoch, fingerprint: page.fingerprint)
            return true
        } catch {
            return false
        }
    }

    /// A process of the server looks after the built-in consumer, and may die at any step.
    func runBuiltin() -> String {
        guard chance.percent(50), let step = chance.pick(BuiltinDeath.Step.allCases) else {
            return server.runBuiltin(Self.counting, dyingAt: nil) ? "has done everything" : "has more to do"
        }
        let death = BuiltinDeath(entry: 1 + chance.below(4), step: step)
        let before = server.position
        let isDone = server.runBuiltin(Self.counting, dyingAt: death)
        // What was there may have been less than it takes to die.
        if !isDone { tally.count(.builtinDied) }
        return isDone ? "has done everything" : "dies, \(step.rawValue) at entry \(death.entry), behind \(before)"
    }

    /// I10: every entry, in order, at least once, under ids that stay.
    func checkConsumers() throws {
        let feed = server.snapshot().feed.compactMap { entry in
            ConsumerEvent(of: entry, tenant: server.tenant, schema: server.schema).map { (entry, body: $0.body) }
        }
        for place in consumers.indices {
            let name = consumers[place].name
            while true {
                let page = try server.events(for: name, limit: 50)
                try consumers[place].checkIdentity(page)
                for event in page.events { try consumers[place].workOn(event) }
                guard acknowledge(page, name) else {
                    throw BrokenInvariant(name: "I10", detail: "\(name) cannot acknowledge \(page.position)")
                }
                if !page.hasMore { break }
            }
            let told = Dictionary(grouping: consumers[place].events.values, by: \.body)
            var last = -1
            let places = Dictionary(uniqueKeysWithValues: consumers[place].order.enumerated().map { ($0.element, $0.offset) })
            for (entry, body) in feed {
                guard let event = told[body]?.first, let place = places[event.id] else {
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

    /// I16: what a built-in consumer does about an entry is done once, whenever its process died: the number it keeps is that of the
    /// entries, and each time it counted is an entry of its own.
    func checkBuiltin() throws {
        var looks = 0
        while !server.runBuiltin(Self.counting, dyingAt: nil) {
            looks += 1
            guard looks < 200 else { throw BrokenInvariant(name: "I16", detail: "\(Self.counting) never comes to an end") }
            // What a dead process had taken is nobody's for a while.
            clock.advance(60_000)
        }
        let feed = server.snapshot().feed
        let entries = feed.count { TallyingConsumer.counts($0.kind) }
        let effects = feed.count { $0.key.id == TallyingConsumer.record && $0.depth == 1 && $0.actorKind == .system }
        let counted = server.record("custom_field", TallyingConsumer.record)?.text("label")
        guard counted == String(entries), effects == entries else {
            throw BrokenInvariant(
                name: "I16", detail: "\(Self.counting) counted \(counted ?? "nothing") in \(effects) sets, the feed has \(entries)")
        }
    }
}
