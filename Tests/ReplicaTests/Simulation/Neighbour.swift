// I7, between companies: another one works on the same server, in the same session of the database, on records with the same ids.
// Whatever it is that anybody hears, no word of the other company may be in it. Of stores that keep one tenant there is none.

import Foundation
import ServerSupport
import SyncProtocol
import TestSupport

@testable import Replica

final class Neighbour {
    let server: any ServerCore
    let replica: Replica
    let words: Words
    /// What it has written, by its file and by its server.
    private(set) var tokens: Set<String> = []
    private var written = Words.neighbours.lowerBound

    init(server: any ServerCore, replica: Replica, words: Words) {
        (self.server, self.replica, self.words) = (server, replica, words)
    }

    func token() -> String {
        written += 1
        let token = Tokens.token(written)
        tokens.insert(token)
        return token
    }
}

/// Listens to what a company hears for words of somebody else.
final class Words: Sendable {
    static let own = 1...999_999
    static let neighbours = 1_000_000...1_999_999

    private let mine: ClosedRange<Int>
    private let foreign = Locked<(token: String, what: String)?>(nil)

    init(of mine: ClosedRange<Int>) { self.mine = mine }

    func hear(_ bytes: some Sequence<UInt8>, _ what: String) {
        for word in Self.words(in: bytes) where word.first == UInt8(ascii: "t") && word.last == UInt8(ascii: "z") {
            let token = String(decoding: word, as: UTF8.self)
            guard let number = Int(token.dropFirst().dropLast()), !mine.contains(number) else { continue }
            foreign.with { if $0 == nil { $0 = (token, what) } }
        }
    }

    /// Whole ones: a piece of a cursor or of a fingerprint may look like a token.
    private static func words(in bytes: some Sequence<UInt8>) -> [[UInt8]] {
        Array(bytes).split { byte in
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "+"), UInt8(ascii: "/"):
                false
            default: true
            }
        }.map(Array.init)
    }

    func check() throws {
        guard let (token, what) = foreign.with({ $0 }) else { return }
        throw BrokenInvariant(name: "I7", detail: "\(what) has \(token), which is another company's")
    }
}

extension Simulation {
    /// Its records have the ids of ours, its members and consumers the names of ours.
    func settleNeighbour() async throws {
        guard let server = neighbourServer else { return }
        let words = Words(of: Words.neighbours)
        let surroundings = SimulatedSite.Surroundings(server, clockError: 0)
        let replica = try await open(newPath(), server.schema, surroundings, words: words)
        let neighbour = Neighbour(server: server, replica: replica, words: words)
        for record in self.server.snapshot().records.values.sorted(by: { $0.id < $1.id }) {
            switch record.schema.name {
            case "client": server.write([Change(key: record.key, operation: .create(fields: ["name": .string(neighbour.token())]))])
            case "contact": server.write([Change(key: record.key, operation: .create(fields: ["last_name": .string(neighbour.token())]))])
            default: break
            }
        }
        let invitation = server.invite("s0", role: .owner)
        guard let url = URL(string: "http://model") else { return }
        try await replica.enroll(server: url, code: invitation.code, label: "s0")
        try await replica.sync()
        try server.addConsumer(["name": "ledger", "kind": "pull", "from": "beginning"])
        self.neighbour = neighbour
    }

    /// Between the steps of ours.
    func neighbourActs() async throws {
        guard let neighbour else { return }
        let clients = neighbour.server.snapshot().records.values.filter { $0.schema.name == "client" }.sorted { $0.id < $1.id }
        switch chance.below(4) {
        case 0:
            guard let client = chance.pick(clients), try await neighbour.replica.get("client", client.id) != nil else { break }
            let token = neighbour.token()
            try await neighbour.replica.write { try $0.set("client", client.id, ["notes": .string(token), "legal_name": .string(token)]) }
        case 1:
            guard let client = chance.pick(clients) else { break }
            let fields: JSONObject = ["name": .string(neighbour.token())]
            neighbour.server.write([Change(key: client.key, operation: .patch(fields: fields, was: [:]))])
        case 2:
            let page = try neighbour.server.events(for: "ledger", limit: Int64(1 + chance.below(20)))
            for event in page.events { neighbour.words.hear(event.body, "an event of the other company") }
            _ = try neighbour.server.acknowledge("ledger", position: page.position, epoch: page.epoch, fingerprint: page.fingerprint)
        default: try await neighbour.replica.sync()
        }
        try checkWords()
    }

    func checkWords() throws {
        try words.check()
        try neighbour?.words.check()
    }

    /// In the end it holds what its server holds, and all that it wrote is in its history, whatever became of ours.
    func checkNeighbour() async throws {
        guard let neighbour else { return }
        for _ in 0..<3 { try await neighbour.replica.sync() }
        let found = try await neighbour.replica.digest()
        for (entity, digest) in neighbour.server.digest(for: try await neighbour.replica.replicaID).sorted(by: { $0.key < $1.key })
        where found[entity] != digest {
            throw BrokenInvariant(name: "I1", detail: "the other company's file differs from its server in \(entity)")
        }
        let state = neighbour.server.snapshot()
        for entry in state.feed { neighbour.words.hear(JSONValue.object(entry.allChanges).canonicalBytes(), "the other company's feed") }
        for entry in server.snapshot().feed { words.hear(JSONValue.object(entry.allChanges).canonicalBytes(), "the feed") }
        try checkWords()
        let lost = neighbour.tokens.subtracting(Self.tokens(of: state))
        guard lost.isEmpty else { throw BrokenInvariant(name: "I8", detail: "the other company has lost \(lost.sorted())") }
        guard try await neighbour.replica.problems().isEmpty else {
            throw BrokenInvariant(name: "I7", detail: "the other company, which works alone, has problems")
        }
        await neighbour.replica.close()
    }
}
