// What a simulation remembers of its writes. Every write of a text is a token that exists once, so that any place that holds
// the token accounts for the write: a current value, the feed, a problem, a pending set. And every set that was sealed is an edit
// with a number, whatever it says and under whatever id it goes: what leaves no text behind is followed as well.

import SyncProtocol
import TestSupport

struct Ledger {
    private var written = 0
    /// Every token that some replica took as an edit.
    private(set) var all: Set<String> = []
    /// Lost with a disk: with a file that was never synced again, or with the server's newer history.
    private(set) var excused: Set<String> = []
    /// The same of edits.
    private(set) var edits: Set<Int> = []
    private(set) var excusedEdits: Set<Int> = []
    /// Edits that a file lost with its disk and that the server had heard of: a verdict that they got has nobody to go to.
    private(set) var orphans: Set<Int> = []

    private var numbers: [String: Int] = [:]
    private var firsts: [ChangeSet] = []
    private var known: [[UInt8]: Sealed] = [:]

    /// What the bytes of a sealed set say. Reading them is slow, and they come again after every step.
    struct Sealed {
        let set: ChangeSet
        let edit: Int
        /// All that the bytes hold, what its author saw before included.
        let tokens: Set<String>
        /// What the set itself writes.
        let written: Set<String>
    }

    mutating func token() -> String {
        written += 1
        return Tokens.token(written)
    }

    mutating func took(_ tokens: [String]) { all.formUnion(tokens) }
    mutating func took(edits new: Set<Int>) { edits.formUnion(new) }
    mutating func excuse(_ tokens: Set<String>) { excused.formUnion(tokens) }
    mutating func excuse(edits lost: Set<Int>) { excusedEdits.formUnion(lost) }
    mutating func orphan(_ lost: Set<Int>) { orphans.formUnion(lost) }

    /// Every edit has its own moment and says something; copies of a file seal it anew under other ids.
    mutating func number(of set: ChangeSet) -> Int {
        let text = Self.edit(set)
        if let number = numbers[text] { return number }
        numbers[text] = firsts.count
        firsts.append(set)
        return firsts.count - 1
    }

    static func edit(_ set: ChangeSet) -> String {
        "\(set.timestamp) \(JSONValue.array(set.changes.map(\.json)).canonicalText)"
    }

    /// As it was seen first.
    func set(of edit: Int) -> ChangeSet { firsts[edit] }

    /// For messages: what was lost.
    func words(_ edits: Set<Int>) -> String {
        edits.sorted().map { edit in
            let set = firsts[edit]
            let changes = set.changes.map { "\($0.operation.name) \($0.key.entity)" }.joined(separator: ", ")
            return "set \(set.dot.counter) of …\(set.dot.replica.text.suffix(4)) (\(changes))"
        }.joined(separator: "; ")
    }

    mutating func sealed(_ bytes: [UInt8]) throws -> Sealed {
        if let found = known[bytes] { return found }
        let set = try ChangeSet(sealed: bytes)
        var written: Set<String> = []
        for change in set.changes {
            switch change.operation {
            case .create(let fields), .patch(let fields, _), .transition(_, _, let fields):
                written.formUnion(Tokens.found(in: JSONValue.object(fields).canonicalBytes()))
            case .delete, .restore: break
            }
        }
        let sealed = Sealed(set: set, edit: number(of: set), tokens: Tokens.found(in: bytes), written: written)
        known[bytes] = sealed
        return sealed
    }
}

/// A promise that did not hold.
struct BrokenInvariant: Error, CustomStringConvertible {
    /// I0 to I16.
    let name: String
    let detail: String
    var description: String { "\(name): \(detail)" }
}
