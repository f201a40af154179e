// Consumers of the feed: where they begin, what they are told, how far they say they got, and what restores and forgotten tombstones
// do to that. And a built-in one, whose process dies at every step.

import Foundation
import ServerSupport
import SyncProtocol
import TestSupport
import Testing

@Suite struct ConsumerConformanceTests {
    @Test func consumer_beginsWhereItWasTold() throws {
        try onEveryStore { (company: Company) throws in
            let before = company.core.position
            company.create("client", ["name": "Acme"])
            let (between, at) = (company.core.position, company.now)
            company.pass(60_000)
            company.create("client", ["name": "Pier 9"])
            for (name, from): (String, JSONValue) in [
                ("all", "beginning"), ("new", "now"), ("one", .integer(between)), ("two", .integer(before)), ("zero", 0),
                ("since", .string(Instant.iso(fromMilliseconds: at + 1))), ("text", .string(String(between))),
                ("late", "2030-01-01T00:00:00Z"),
            ] {
                #expect(try company.addConsumer(name, ["from": from]))
            }
            #expect(try company.addConsumer("default"))
            func count(_ name: String) throws -> Int { try required(try company.events(name)).events.count }
            #expect(try count("all") == Int(company.core.position))
            #expect(try ["new", "one", "two", "since", "text", "late", "default"].map { try count($0) } == [0, 1, 2, 1, 1, 0, 0])
            #expect(try company.events("zero")?.events == company.events("all")?.events)
            company.create("client", ["name": "Later"])
            #expect(try ["new", "one", "late", "default"].map { try count($0) } == [1, 2, 1, 1])
            // What cannot be.
            #expect(try !company.addConsumer("all"))
            #expect(company.refused?.knownCode == .conflict)
            #expect(try !company.addConsumer("beyond", ["from": .integer(company.core.position + 1)]))
            #expect(company.refused?.details["field"] == "from")
            for wrong: JSONObject in [
                ["from": -1], ["from": "yesterday"], ["kinds": ["nothing.created"]], ["kind": "push"], ["url": "https://a.example"],
                ["kind": "pull", "handler": "tally_clients"], ["unknown": 1],
            ] {
                #expect(try !company.addConsumer("wrong", wrong))
                #expect(company.refused?.knownCode == .validationFailed)
            }
            #expect(try company.events("wrong") == nil)
            #expect(company.refused?.knownCode == .notFound)
        }
    }

    @Test func filter_tellsWhatWasAskedFor_andThePageEndsBehindIt() throws {
        try onEveryStore { (company: Company) throws in
            for (name, kinds): (String, JSONValue) in [
                ("clients", ["client.*"]), ("made", ["client.created", "part.created"]), ("everything", ["*"]), ("sets", ["sync.*"]),
            ] {
                try company.addConsumer(name, ["kinds": kinds])
            }
            try company.addConsumer("restricted", ["kinds": ["client.*"], "includes_restricted": true])
            let ana = try company.enroll("Ana")
            let client = company.create("client", ["name": "Acme", "credit_limit": 100])
            let part = company.create("part", ["sku": "bolt", "name": "Bolt"])
            try ana.pull()
            company.write([Edit.patch("client", client, ["phone": "+15550100"])])
            company.write([Edit.patch("part", part, ["on_hand_milli": 5])])
            // A value that loses, and a set that is refused.
            ana.clockError = -60_000
            try ana.edit([Edit.patch("client", client, ["phone": "+15550199"])])
            try ana.edit([Edit.patch("client", company.newID(), ["phone": "+15550199"])])
            company.write([Edit.delete("part", part)])

            func kinds(_ name: String, _ limit: Int64 = 100) throws -> [String] {
                try required(try company.events(name, limit)).events.map(\.kind)
            }
            #expect(try kinds("clients") == ["client.created", "client.updated", "client.updated"])
            #expect(try kinds("made") == ["client.created", "part.created"])
            #expect(try kinds("sets") == ["sync.superseded", "sync.rejected"])
            #expect(try kinds("everything").count == (try kinds("everything", 1_000)).count)
            // The page ends before the next one that is told, or at the end of the feed; what it is not told it does not wait for.
            let first = try required(try company.events("clients", 1))
            let second = company.core.position
            #expect(first.position < second && first.hasMore)
            try company.acknowledge("clients", first)
            let rest = try required(try company.events("clients", 2))
            #expect(rest.events.map(\.kind) == ["client.updated", "client.updated"])
            #expect(rest.position == company.core.position && !rest.hasMore)
            // Nothing that is told, but something was looked through.
            try company.acknowledge("clients", rest)
            company.write([Edit.restore("part", part)])
            let none = try required(try company.events("clients"))
            #expect(none.events.isEmpty && none.fingerprint != nil && none.position == company.core.position)
            try company.acknowledge("clients", none)
            let nothing = try required(try company.events("clients"))
            #expect(nothing.events.isEmpty && nothing.fingerprint == none.fingerprint)
            // Restricted values only for who asked for them.
            #expect(try company.events("restricted")?.events.map(\.id) == [first, rest].flatMap(\.events).map(\.id))
        }
    }

    @Test func acknowledgement_movesForwardOnly_andWithinTheFeed() throws {
        try onEveryStore { (company: Company) throws in
            try company.addConsumer("ledger")
            for number in 1...5 { company.create("client", ["name": .string("C\(number)")]) }
            let all = try required(try company.events("ledger"))
            let places = all.events.map(\.position.position)
            // Reading takes nothing.
            #expect(try company.events("ledger") == all)
            let two = try required(try company.events("ledger", 2))
            #expect(two.events == Array(all.events.prefix(2)) && two.hasMore)
            #expect(try company.acknowledge("ledger", two)?.position == places[1])
            // Twice, and backwards.
            #expect(try company.acknowledge("ledger", two)?.position == places[1])
            #expect(try company.acknowledge("ledger", position: places[0])?.position == places[1])
            #expect(try company.acknowledge("ledger", position: 0)?.position == places[1])
            #expect(try company.events("ledger")?.events == Array(all.events.dropFirst(2)))
            // Out of range, and of another entry.
            for (position, epoch, mark): (Int64, Int64?, String?) in [(places[4] + 1, nil, nil), (.max, nil, nil), (-1, nil, nil)] {
                #expect(try company.acknowledge("ledger", position: position, epoch: epoch, fingerprint: mark) == nil)
                #expect(company.refused?.knownCode == .conflict)
            }
            #expect(try company.acknowledge("ledger", position: places[2], epoch: 1) == nil)
            #expect(company.refused?.knownCode == .newEpoch)
            #expect(try company.acknowledge("ledger", position: places[2], epoch: 0, fingerprint: all.fingerprint) == nil)
            #expect(company.refused?.knownCode == .newEpoch)
            #expect(try company.acknowledge("ledger", position: places[2], fingerprint: "made up") == nil)
            // Without proof, as a simple consumer does it.
            #expect(try company.acknowledge("ledger", position: places[3])?.position == places[3])
            #expect(try company.acknowledge("ledger", all)?.position == places[4])
            #expect(try company.events("ledger")?.events.isEmpty == true)
            #expect(try company.acknowledge("nobody", position: 1) == nil)
            #expect(company.refused?.knownCode == .notFound)
        }
    }

    /// Two restores: to before what was acknowledged, noticed by nobody, and to an older epoch.
    @Test func restoredServer_tellsAgainUnderTheSameIDs_andTakesNoAnswerFromTheLostHistory() throws {
        try onEveryStore { (company: Company) throws in
            let ana = try company.enroll("Ana")
            try company.addConsumer("ledger")
            company.create("client", ["name": "Kept"])
            let backup = company.core.snapshot()
            let kept = try required(try company.events("ledger"))
            try company.acknowledge("ledger", kept)
            company.create("client", ["name": "Lost"])
            try ana.pull()
            let lost = try required(try company.events("ledger"))
            company.core.restore(backup)
            // Its cursor is that of the backup: it is told again, under the same ids.
            #expect(try company.events("ledger")?.events == kept.events)
            // Another entry takes the position that was read; nobody has noticed yet, so the epoch is the same.
            company.pass(1)
            company.create("client", ["name": "In its place"])
            #expect(try company.acknowledge("ledger", lost) == nil)
            #expect(company.refused?.knownCode == .newEpoch)
            let now = try required(try company.events("ledger"))
            #expect(now.events.dropLast() == kept.events[...])
            #expect(now.events.last?.position == lost.events.last?.position)
            #expect(now.events.last?.id != lost.events.last?.id)
            // The replica notices: an entry says so, to everybody.
            try company.addConsumer("parts", ["kinds": ["part.created"], "from": .integer(now.position)])
            #expect(try ana.page() == nil)
            try ana.rebuild()
            #expect(try company.events("parts")?.events.map(\.kind) == ["sync.epoch_started"])
            let epoch = try required(try company.events("ledger"))
            try company.acknowledge("ledger", epoch)
            #expect(epoch.epoch == 1)
            let inNewEpoch = company.core.snapshot()
            // Back to the first history: what is said of the second one counts for nothing.
            company.core.restore(backup)
            #expect(try company.acknowledge("ledger", epoch) == nil)
            #expect(company.refused?.knownCode == .conflict)
            #expect(try company.events("ledger")?.events == kept.events)
            company.core.restore(inNewEpoch)
            #expect(try company.events("ledger")?.events.isEmpty == true)
            #expect(try company.acknowledge("ledger", epoch)?.position == epoch.position)
        }
    }

    /// A consumer may acknowledge a page without events as well, and it may arrive after a restore: what took those positions was never told.
    @Test func emptyPage_acknowledgedAfterARestore_skipsNothing() throws {
        try onEveryStore { (company: Company) throws in
            try company.addConsumer("ledger", ["from": "beginning"])
            let beginning = try required(try company.events("ledger", 1))
            let backup = company.core.snapshot()
            for number in 1...3 { company.create("client", ["name": .string("Lost \(number)")]) }
            try company.acknowledge("ledger", try required(try company.events("ledger")))
            let empty = try required(try company.events("ledger"))
            #expect(empty.events.isEmpty && empty.fingerprint != nil)
            company.core.restore(backup)
            company.pass(1)
            for number in 1...4 { company.create("client", ["name": .string("Instead \(number)")]) }
            #expect(try company.acknowledge("ledger", empty) == nil)
            #expect(company.refused?.knownCode == .newEpoch)
            let told = try required(try company.events("ledger"))
            #expect(told.events.first == beginning.events.first && told.events.count == Int(company.core.position))
        }
    }

    @Test func forgottenTombstones_leaveEventsAsTheyWere() throws {
        try onEveryStore { (company: Company) throws in
            try company.addConsumer("ledger")
            let client = company.create("client", ["name": "Acme"])
            let part = company.create("part", ["sku": "bolt", "name": "Bolt"])
            company.write([Edit.delete("client", client)])
            company.write([Edit.delete("part", part)])
            let before = try required(try company.events("ledger"))
            company.pass(1)
            company.core.forgetTombstones()
            #expect(company.core.record("client", client) == nil)
            #expect(try company.events("ledger") == before)
            #expect(before.events.map(\.kind) == ["client.created", "part.created", "client.deleted", "part.deleted"])
            try company.acknowledge("ledger", before)
            company.create("client", ["name": "Later"])
            #expect(try company.events("ledger")?.events.count == 1)
        }
    }

    // MARK: Built in

    private func counted(_ company: Company) -> String? {
        company.core.record("custom_field", TallyingConsumer.record)?.text("label")
    }

    @Test(arguments: BuiltinDeath.Step.allCases)
    func builtinConsumer_worksOnce_whereverItsProcessDies(step: BuiltinDeath.Step) throws {
        try onEveryStore { (company: Company) throws in
            company.write([TallyingConsumer.creation])
            try company.addConsumer("counting", ["handler": .string(TallyingConsumer.handler)])
            let ana = try company.enroll("Ana")
            let client = company.create("client", ["name": "Acme"])
            try ana.pull()
            try ana.edit([Edit.patch("client", client, ["phone": "+15550100"])])
            company.create("client", ["name": "Pier 9"])
            let backup = company.core.snapshot()
            #expect(!company.core.runBuiltin("counting", dyingAt: BuiltinDeath(entry: 2, step: step)))
            #expect(counted(company) == (step == .committed ? "2" : "1"))
            // What the dead process had taken is free again after a while.
            company.pass(120_000)
            while !company.core.runBuiltin("counting", dyingAt: nil) {}
            #expect(counted(company) == "3")
            #expect(company.core.runBuiltin("counting", dyingAt: nil))
            // A restore takes work and cursor alike.
            company.core.restore(backup)
            #expect(counted(company) == "0")
            while !company.core.runBuiltin("counting", dyingAt: nil) {}
            #expect(counted(company) == "3")
            // Nobody pulls from it, or acknowledges for it.
            #expect(try company.events("counting") == nil)
            #expect(company.refused?.knownCode == .conflict)
            #expect(try company.acknowledge("counting", position: 1) == nil)
            #expect(company.refused?.knownCode == .conflict)
        }
    }
}

extension Company {
    /// False when it is refused.
    @discardableResult
    func addConsumer(_ name: String, _ more: JSONObject = JSONObject()) throws -> Bool {
        var request: JSONObject = ["name": .string(name)]
        if more["handler"] == nil { request["kind"] = "pull" }
        for (key, value) in more { request[key] = value }
        let body = JSONValue.object(request)
        return try answered("consumer \(body.canonicalText)", { _ in "added" }, { try core.addConsumer(body) }) != nil
    }

    /// nil when it is refused. Ids and fingerprints are a store's own, so only whether there are any is told.
    func events(_ name: String, _ limit: Int64 = 100) throws -> ConsumerPage? {
        try answered("events of \(name)", Self.telling, { try core.events(for: name, limit: limit) })
    }

    private static func telling(_ page: ConsumerPage) -> String {
        let bodies = page.events.map { String(decoding: $0.body, as: UTF8.self) }
        return "\(page.epoch) \(page.position) \(page.fingerprint == nil ? "nothing" : "marked") \(page.hasMore ? "more" : "last") "
            + bodies.joined(separator: "\n")
    }

    @discardableResult
    func acknowledge(_ name: String, position: Int64, epoch: Int64? = nil, fingerprint: String? = nil) throws -> FeedPosition? {
        try answered(
            "acknowledges \(name) \(position)", { "\($0)" },
            { try core.acknowledge(name, position: position, epoch: epoch, fingerprint: fingerprint) })
    }

    @discardableResult
    func acknowledge(_ name: String, _ page: ConsumerPage) throws -> FeedPosition? {
        try acknowledge(name, position: page.position, epoch: page.epoch, fingerprint: page.fingerprint)
    }
}
