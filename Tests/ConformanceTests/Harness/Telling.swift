// Answers as text that two stores must agree on. Left out is what a store makes up: tokens, fingerprints, cursors. Outcomes stay
// what they are, byte for byte; the rest is parsed and written canonically.

import SyncProtocol

enum Telling {
    static func enrollment(_ reply: EnrollmentReply) -> String {
        var json = reply.json.objectValue ?? JSONObject()
        json["token"] = nil
        json["identity"] = nil
        return JSONValue.object(json).canonicalText
    }

    static func push(_ bytes: [UInt8]) throws -> String {
        let reply = try PushReply(parsing: bytes)
        let outcomes = reply.outcomes.map { "\($0.counter) \(String(decoding: $0.outcome, as: UTF8.self))" }
        return "\(reply.serverMilliseconds) \(outcomes.joined(separator: " "))"
    }

    static func pull(_ bytes: [UInt8]) throws -> String {
        let page = try PullPage(parsing: bytes)
        var lines = ["\(page.serverMilliseconds) \(page.hasMore ? "more" : "last")"]
        for block in page.blocks.sorted(by: { $0.entity < $1.entity }) {
            lines.append("\(block.entity) \(block.columns.joined(separator: ","))")
            for row in block.rows { lines.append("  \(try JSONValue(parsing: bytes[row]).canonicalText)") }
        }
        for key in page.evictions { lines.append("evicted \(key)") }
        if let checkpoint = page.checkpoint {
            let at = checkpoint.mark.position
            lines.append("checkpoint \(at.epoch) \(at.position) \(checkpoint.timestamp) acknowledged \(checkpoint.acknowledged)")
        }
        for told in page.outcomes { lines.append("told \(told.counter) \(told.hash) \(String(decoding: told.outcome, as: UTF8.self))") }
        return lines.joined(separator: "\n")
    }

    static func get(_ path: String, _ bytes: [UInt8]) throws -> String {
        guard path == "activity" else { return try JSONValue(parsing: bytes).canonicalText }
        let page = try ActivityPage(parsing: bytes)
        let entries = page.entries.map { $0.json.canonicalText }
        return "\(entries.joined(separator: "\n")) next \(page.next) \(page.hasMore ? "more" : "last")"
    }
}
