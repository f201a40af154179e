// What a history remembers of its writes. Every text that somebody writes is a token that exists once, so any place that holds it
// accounts for the write: a value, the feed, a problem.

import TestSupport

actor Ledger {
    private var written = 0
    /// Tokens of commands that said they were done.
    private(set) var acknowledged: [String: String] = [:]
    /// Tokens of commands that were killed: they may be there or not.
    private(set) var open: Set<String> = []
    /// Tokens of edits that went with a file that was put back, and that the server has: nothing else holds them.
    private(set) var onlyOnServer: Set<String> = []
    /// Tokens that no file and no server held at one moment: they may be lost.
    private(set) var mayBeLost: Set<String> = []
    private(set) var clients: [String] = []
    private(set) var deals: [String] = []
    private(set) var counts: [String: Int] = [:]
    private(set) var surprises: [String] = []

    func token() -> String {
        written += 1
        return Tokens.token(written)
    }

    func acknowledge(_ tokens: [String], by command: String) { for token in tokens { acknowledged[token] = command } }

    /// A file was put back: what became of the edits that went with it.
    func dropped(_ tokens: Set<String>, having feed: Set<String>) {
        onlyOnServer.formUnion(tokens.intersection(feed))
        mayBeLost.formUnion(tokens.subtracting(feed))
    }

    /// The server was put back. How many edits only it had held.
    func lostOnServer(having feed: Set<String>) -> Int {
        let lost = onlyOnServer.subtracting(feed)
        onlyOnServer.subtract(lost)
        mayBeLost.formUnion(lost)
        return lost.count
    }

    func leaveOpen(_ tokens: [String]) { open.formUnion(tokens) }
    func made(client: String) { clients.append(client) }
    func made(deal: String) { deals.append(deal) }
    func count(_ what: String, _ number: Int = 1) { counts[what, default: 0] += number }
    func surprise(_ words: String) { surprises.append(words) }

    /// One of the newer ones, so that people meet on them.
    func client(_ pick: UInt64) -> String? { Self.recent(clients, pick) }
    func deal(_ pick: UInt64) -> String? { Self.recent(deals, pick) }

    private static func recent(_ ids: [String], _ pick: UInt64) -> String? {
        let last = ids.suffix(14)
        return last.isEmpty ? nil : last[last.startIndex + Int(pick % UInt64(last.count))]
    }
}
