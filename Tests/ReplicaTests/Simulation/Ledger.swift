// What a simulation remembers of its writes. Every write of a text is a token that exists once, so that any place that holds
// the token accounts for the write: a current value, the feed, a problem, a pending set.

import SyncProtocol

struct Ledger {
    private var written = 0
    /// Every token that some replica took as an edit.
    private(set) var all: Set<String> = []
    /// Lost with a disk: with a file that was never synced again, or with the server's newer history.
    private(set) var excused: Set<String> = []

    /// `t17z`: found in any text, never part of another token.
    mutating func token() -> String {
        written += 1
        return "t\(written)z"
    }

    mutating func took(_ tokens: [String]) { all.formUnion(tokens) }
    mutating func excuse(_ tokens: Set<String>) { excused.formUnion(tokens) }

    /// Every token in some bytes.
    static func tokens(in bytes: some Sequence<UInt8>) -> Set<String> {
        var found: Set<String> = []
        var digits: [UInt8]?
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "t"): digits = []
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digits?.append(byte)
            case UInt8(ascii: "z"):
                if let number = digits, !number.isEmpty { found.insert("t\(String(decoding: number, as: UTF8.self))z") }
                digits = nil
            default: digits = nil
            }
        }
        return found
    }
}

/// A promise that did not hold.
struct BrokenInvariant: Error, CustomStringConvertible {
    /// I1 to I14.
    let name: String
    let detail: String
    var description: String { "\(name): \(detail)" }
}
