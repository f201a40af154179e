// I17: numbers. Told from the feed, and from what files showed when the server was put back.

import ServerSupport
import SyncProtocol

@testable import Replica

extension Simulation {
    /// The last number that a file shows by year, of those that it will have to report: when the server is put back, and before it
    /// hears of it.
    func noteNumbers(_ site: SimulatedSite) async throws {
        (site.numbersOwed, site.called) = ([:], [:])
        guard site.isEnrolled, try await site.replica.status().checkpoint != nil else { return }
        let issued = Set(
            try await holdings(of: site).rows.filter { $0.place != .problem }.compactMap(\.sealed).flatMap { sealed in
                sealed.set.changes.compactMap { if case .transition("issue", _, _) = $0.operation { $0.key } else { nil } }
            })
        for row in try await site.replica.query("SELECT id, number FROM document WHERE number IS NOT NULL") {
            guard case .text(let id) = row.values[0], case .text(let text) = row.values[1], let (year, place) = Self.number(text) else {
                continue
            }
            site.numbersOwed[year] = max(place, site.numbersOwed[year] ?? 0)
            if let key = Identifier(id).map({ RecordKey("document", $0) }), issued.contains(key) { site.called[key] = text }
        }
    }

    private static func number(_ text: String) -> (year: Int, place: Int)? {
        let parts = text.split(separator: "-")
        guard parts.count == 3, parts[0] == "DOC", let year = Int(parts[1]), let place = Int(parts[2]) else { return nil }
        return (year, place)
    }

    /// What comes back from the file that made it is called as it was, unless something else is called so. (Not where files were copied:
    /// a copy that never heard of the number may bring it first; and not when the time for bringing things back was over.)
    private func checkNames(_ going: [SimulatedSite], _ bearers: [String: RecordKey], _ state: ServerState) throws {
        guard tally.faults[.fileCopied] == nil, tally.faults[.meanwhileCopied] == nil, tally.faults[.fileRestored] == nil else { return }
        let began = Dictionary(
            state.feed.filter { $0.kind == "sync.epoch_started" }.map { ($0.position.epoch, $0.atMilliseconds) }, uniquingKeysWith: min)
        for site in going {
            for (key, text) in site.called.sorted(by: { $0.key.id < $1.key.id }) where bearers[text] == nil {
                let entry = state.feed.last { $0.key == key && $0.allChanges["number"] != nil }
                guard let entry, let start = began[entry.position.epoch], entry.atMilliseconds - start < Limits.healingMilliseconds else {
                    continue
                }
                throw BrokenInvariant(
                    name: "I17",
                    detail: "\(key) was called \(text) and is \(entry.allChanges["number"]?["new"] ?? .null), \(text) is nobody")
            }
        }
    }

    /// Each has one bearer; each is the next one of its year, unless it comes back from a lost history with what was called so; and the
    /// last of a year is behind all that a file has seen that may report it.
    func checkNumbers(_ going: [SimulatedSite]) throws {
        let state = server.snapshot()
        var last: [Int: Int] = [:]
        for entry in state.feed {
            let new = entry.allChanges["number"]?["new"]?.stringValue
            if entry.key.entity == "document", let text = new {
                guard let (year, place) = Self.number(text) else {
                    throw BrokenInvariant(name: "I17", detail: "\(entry.key) is called \(text)")
                }
                let set = entry.dot.flatMap { state.outcomes[$0.replica]?[$0.counter] }.flatMap { sent[$0.hash] }
                let isBack = set.map { $0.clock.feed.epoch < entry.position.epoch } ?? false
                guard isBack || place == last[year, default: 0] + 1 else {
                    throw BrokenInvariant(name: "I17", detail: "\(text) was given after number \(last[year] ?? 0)")
                }
                last[year] = max(place, last[year] ?? 0)
                statistics.numbers += 1
            }
            if entry.key.entity == "number_sequence", let place = entry.allChanges["last"]?["new"]?.integerValue,
                let year = state.records[entry.key]?.integer("year")
            {
                last[Int(year)] = max(Int(place), last[Int(year)] ?? 0)
            }
        }
        var bearers: [String: RecordKey] = [:]
        for record in state.records.values.sorted(by: { $0.id < $1.id }) where record.schema.name == "document" {
            guard let text = record.text("number") else { continue }
            if let other = bearers.updateValue(record.key, forKey: text) {
                throw BrokenInvariant(name: "I17", detail: "\(other) and \(record.key) are both called \(text)")
            }
        }
        for record in state.records.values where record.schema.name == "number_sequence" {
            let year = Int(record.integer("year") ?? 0)
            guard Int(record.integer("last") ?? 0) == last[year] ?? 0 else {
                throw BrokenInvariant(
                    name: "I17", detail: "the sequence of \(year) is at \(record["last"]), the feed at \(last[year] ?? 0)")
            }
        }
        try checkNames(going, bearers, state)
        for site in going where !hasOnlyRead.contains(site.member) {
            for (year, place) in site.numbersOwed where last[year] ?? 0 < place {
                throw BrokenInvariant(
                    name: "I17", detail: "\(site.name) had seen number \(place) of \(year), the server is at \(last[year] ?? 0)")
            }
        }
    }
}
