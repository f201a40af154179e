// What a simulation remembers of its writes. Every write of a text is a token that exists once, so that any place that holds
// the token accounts for the write: a current value, the feed, a problem, a pending set.

import SyncProtocol
import TestSupport

struct Ledger {
    private var written = 0
    /// Every token that some replica took as an edit.
    private(set) var all: Set<String> = []
    /// Lost with a disk: with a file that was never synced again, or with the server's newer history.
    private(set) var excused: Set<String> = []

    mutating func token() -> String {
        written += 1
        return Tokens.token(written)
    }

    mutating func took(_ tokens: [String]) { all.formUnion(tokens) }
    mutating func excuse(_ tokens: Set<String>) { excused.formUnion(tokens) }
}

/// A promise that did not hold.
struct BrokenInvariant: Error, CustomStringConvertible {
    /// I1 to I14.
    let name: String
    let detail: String
    var description: String { "\(name): \(detail)" }
}
