// I11: what was deleted is gone, and what nobody deleted is there. Told from the sets that were sealed and the verdicts on them, in the
// words of the protocol (§5.8), and from nothing that the server says about its records or its feed: who deleted, who brought something
// back on purpose, and who knew of what.

import ServerSupport
import SyncProtocol
import TestSupport

@testable import Replica

extension Simulation {
    /// What the server wrote itself, by REST or a workflow, in the history that it has now.
    struct OwnWrite: Sendable {
        let positions: ClosedRange<Int64>
        let changes: [Change]
    }

    /// A write of the server itself.
    @discardableResult
    func serverWrites(_ changes: [Change]) -> Outcome {
        let outcome = server.write(changes)
        if outcome.status == .accepted, let positions = outcome.positions {
            ownWrites.append(OwnWrite(positions: positions, changes: changes))
        }
        return outcome
    }

    func checkLives() throws {
        let state = server.snapshot()
        var lives = Lives(twins: try duplicates(state))
        var history = ownWrites.map { Lives.Step(positions: $0.positions, changes: $0.changes, set: nil, superseded: []) }
        for (_, set, outcome) in try applied(state) {
            // Without positions it left no entry, so there is nothing that it made, deleted or brought back.
            guard let positions = outcome.positions else { continue }
            history.append(Lives.Step(positions: positions, changes: set.changes, set: set, superseded: outcome.superseded))
        }
        for step in history.sorted(by: { $0.positions.lowerBound < $1.positions.lowerBound }) { try lives.take(step) }
        statistics.deletes += lives.deletes
        statistics.revivals += lives.revivals
        for (key, life) in lives.byKey.sorted(by: { $0.key.id < $1.key.id }) {
            let isLive = state.records[key]?.isLive ?? false
            guard isLive != life.isLive else { continue }
            throw BrokenInvariant(
                name: "I11",
                detail: "\(key) is \(isLive ? "alive, and nobody brought it back" : "dead, and nobody deleted it")")
        }
        let stray = state.records.values.filter { Lives.entities.contains($0.schema.name) && lives.byKey[$0.key] == nil }
        if let record = stray.min(by: { $0.id < $1.id }) {
            throw BrokenInvariant(name: "I11", detail: "\(record.key) is there, and no accepted set made it")
        }
    }

    /// By dot, the one that was decided first.
    private func duplicates(_ state: ServerState) throws -> [Dot: Dot] {
        var duplicates: [Dot: Dot] = [:]
        for (replica, outcomes) in state.outcomes {
            for (counter, one) in outcomes {
                duplicates[Dot(replica: replica, counter: counter)] = Outcome(json: try JSONValue(parsing: one.bytes))?.duplicateOf
            }
        }
        return duplicates
    }
}

/// Which records are alive after each set of a history.
private struct Lives {
    struct Step {
        let positions: ClosedRange<Int64>
        let changes: [Change]
        /// nil: the server's own, which knows everything.
        let set: ChangeSet?
        let superseded: [Outcome.Superseded]
    }

    struct Life {
        var isLive = true
        /// Which delete took it.
        var cause: String?
        var died: Int64?
        /// What it goes with, by entity.
        var parents: [String: Identifier] = [:]
        var made: Author
        /// Who wrote what stands in a text, where that is certain.
        var texts: [String: Author] = [:]
    }

    struct Author {
        let dot: Dot?
        let position: Int64
    }

    static let entities: Set<String> = [
        "client", "contact", "client_contact", "site", "deal", "deal_contact", "part", "movement", "document", "document_line", "note",
        "gadget",
    ]
    /// What goes along with what, by the name of the field that says so; no build lets anybody change these fields later.
    private static let goesWith: [String: [String]] = [
        "client_contact": ["client", "contact"], "site": ["client"], "deal_contact": ["deal", "contact"], "document_line": ["document"],
    ]
    /// Made by naming what they connect: a second creation is the same record, and one of a dead link brings it back.
    private static let links: Set<String> = ["client_contact", "deal_contact"]

    let twins: [Dot: Dot]
    private(set) var byKey: [RecordKey: Life] = [:]
    private var written: Set<String> = []
    private(set) var deletes = 0
    private(set) var revivals = 0

    init(twins: [Dot: Dot]) { self.twins = twins }

    mutating func take(_ step: Step) throws {
        let author = Author(dot: step.set?.dot, position: step.positions.upperBound)
        for change in step.changes where Self.entities.contains(change.key.entity) {
            switch change.operation {
            case .create(let fields): try create(change.key, fields, author, step)
            case .patch(let fields, _): try patch(change.key, fields, author, step)
            case .transition: try requireLife(change, author)
            case .delete: try delete(change.key, step)
            case .restore: restore(change.key)
            }
        }
    }

    private func words(_ author: Author) -> String { author.dot.map { "set \($0)" } ?? "the server's write at \(author.position)" }

    /// An edit of a tombstone is refused.
    private func requireLife(_ change: Change, _ author: Author) throws {
        guard let life = byKey[change.key] else {
            throw BrokenInvariant(name: "I11", detail: "\(words(author)) changed \(change.key), which no accepted set had made")
        }
        guard !life.isLive else { return }
        throw BrokenInvariant(name: "I11", detail: "\(words(author)) changed \(change.key), which was deleted")
    }

    private mutating func create(_ key: RecordKey, _ fields: JSONObject, _ author: Author, _ step: Step) throws {
        if var life = byKey[key] {
            if !life.isLive { revivals += 1 }
            if Self.links.contains(key.entity) {
                (life.isLive, life.cause, life.died) = (true, nil, nil)
                byKey[key] = life
                return
            }
            // Whoever edits a creation that was refused makes it anew, if even the tombstone has gone; they know that it was deleted.
            guard let died = life.died, let set = step.set, set.clock.feed.position >= died else {
                throw BrokenInvariant(name: "I11", detail: "\(words(author)) made \(key), which had been made before")
            }
        }
        var life = Life(made: author)
        for parent in Self.goesWith[key.entity] ?? [] {
            life.parents[parent] = fields[parent]?.stringValue.flatMap { Identifier($0) }
        }
        for (_, value) in fields { if case .string(let text) = value { written.insert(text) } }
        byKey[key] = life
    }

    private mutating func patch(_ key: RecordKey, _ fields: JSONObject, _ author: Author, _ step: Step) throws {
        try requireLife(Change(key: key, operation: .patch(fields: fields, was: [:])), author)
        for (field, value) in fields {
            if step.superseded.contains(where: { $0.entity == key.entity && $0.id == key.id && $0.field == field }) { continue }
            // What says what was said before may have changed nothing, and is nobody's for certain.
            guard case .string(let text) = value, !Tokens.found(in: text.utf8).isEmpty, written.insert(text).inserted else {
                byKey[key]?.texts[field] = nil
                continue
            }
            byKey[key]?.texts[field] = author
        }
    }

    /// The record and every living one that goes with it; of either, links aside, nobody deletes a text that they did not know.
    private mutating func delete(_ key: RecordKey, _ step: Step) throws {
        guard let root = byKey[key], root.isLive else { return }
        deletes += 1
        let cause = "\(key.id.text) \(step.positions.lowerBound)"
        let taken = [key] + family(of: key) { $0.isLive }
        for row in taken {
            if let set = step.set, !Self.links.contains(row.entity) { try checkKnown(row, to: set, step) }
            byKey[row]?.isLive = false
            byKey[row]?.cause = cause
            byKey[row]?.died = step.positions.upperBound
        }
    }

    private func checkKnown(_ key: RecordKey, to set: ChangeSet, _ step: Step) throws {
        // What comes back after a restore says what it had seen by other means than positions.
        guard let life = byKey[key], set.clock.feed.epoch >= step.positions.lowerBound >> 40 else { return }
        for (what, author) in [("made", life.made)] + life.texts.sorted(by: { $0.key < $1.key }).map({ ("wrote \($0.key)", $0.value) }) {
            guard author.position > set.clock.feed.position, author.dot != set.dot else { continue }
            if let dot = author.dot {
                let dots = [dot] + twins.filter { $0.value == dot }.keys
                if dots.contains(where: { set.clock.replicas[$0.replica] ?? 0 >= $0.counter }) { continue }
            }
            throw BrokenInvariant(
                name: "I11", detail: "set \(set.dot) deleted \(key) and did not know that \(words(author)) had \(what)")
        }
    }

    /// Exactly what the same delete took.
    private mutating func restore(_ key: RecordKey) {
        guard let root = byKey[key], !root.isLive else { return }
        revivals += 1
        for row in [key] + family(of: key, where: { !$0.isLive && $0.cause == root.cause }) {
            byKey[row]?.isLive = true
            byKey[row]?.cause = nil
            byKey[row]?.died = nil
        }
    }

    /// What goes with a record, and with that, as far as it is meant.
    private func family(of key: RecordKey, where isMeant: (Life) -> Bool) -> [RecordKey] {
        var found: [RecordKey] = []
        var next = [key]
        while let parent = next.popLast() {
            for (child, life) in byKey where life.parents[parent.entity] == parent.id && isMeant(life) && !found.contains(child) {
                found.append(child)
                next.append(child)
            }
        }
        return found
    }
}
