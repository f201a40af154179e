// Which kinds of feed entries a consumer wants: `client.created`, `client.*`; nothing means everything.

import SyncProtocol

struct EventFilter: Sendable, Equatable {
    /// In the order given, without repetitions.
    let patterns: [String]

    /// Told to every consumer whatever it asked for: after it nothing it heard of later than this may still be true.
    static let always = "sync.epoch_started"
    static let patternsMax = 100

    /// As stored; checked when it was.
    init(stored patterns: [String]) { self.patterns = patterns }

    /// Throws `validation_failed` for what is no pattern or names no entity.
    init(checking patterns: [String], schema: Schema) throws(ErrorReply) {
        var kept: [String] = []
        for pattern in patterns where !kept.contains(pattern) {
            if pattern == "*" {
                kept.append(pattern)
                continue
            }
            let parts = pattern.split(separator: ".", omittingEmptySubsequences: false)
            guard parts.count == 2, EventFilter.isWord(parts[0]), parts[1] == "*" || EventFilter.isWord(parts[1]) else {
                throw Consumer.invalid("kinds", "\(pattern) is no kind: write client.created, client.* or *")
            }
            guard parts[0] == "sync" || schema.entities.contains(where: { $0.name == parts[0] && $0.access != .secret }) else {
                throw Consumer.invalid("kinds", "there is no entity \(parts[0])")
            }
            kept.append(pattern)
        }
        guard kept.count <= EventFilter.patternsMax else {
            throw Consumer.invalid("kinds", "at most \(EventFilter.patternsMax) kinds")
        }
        self.patterns = kept
    }

    private static func isWord(_ text: Substring) -> Bool {
        guard let first = text.utf8.first, first &- 0x61 < 26, text.utf8.count <= 60 else { return false }
        return text.utf8.allSatisfy { $0 &- 0x61 < 26 || $0 &- 0x30 < 10 || $0 == 0x5F }
    }

    var isEverything: Bool { patterns.isEmpty || patterns.contains("*") }

    func matches(_ kind: String) -> Bool { kind == EventFilter.always || wants(kind) }

    /// Whether it was asked for, not only told.
    func wants(_ kind: String) -> Bool {
        isEverything || patterns.contains { $0.hasSuffix(".*") ? kind.hasPrefix($0.dropLast()) : kind == $0 }
    }

    /// The same for Postgres: kinds, and beginnings of kinds with their dot.
    var kinds: [String] { patterns.filter { !$0.hasSuffix("*") } + [EventFilter.always] }
    var prefixes: [String] { isEverything ? [""] : patterns.filter { $0.hasSuffix(".*") }.map { String($0.dropLast()) } }
}
