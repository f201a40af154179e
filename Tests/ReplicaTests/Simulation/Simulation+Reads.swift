// What the author of a write was looking at, noted by the simulation when it was written: so that what clocks claim can be held
// against it. And what a file has shown once it does not take back.

import ServerSupport
import SyncProtocol

@testable import Replica

extension Simulation {
    /// One part of one record, and what a file showed there when somebody wrote it.
    struct Sight {
        let key: RecordKey
        let field: String
        var values: [JSONValue]
        /// Of the history that the values come from, where that may be a lost one: an own edit was shown that comes back from it.
        var epoch = Int64.max
    }

    /// Before `token` is written there.
    func look(_ site: SimulatedSite, _ entity: String, _ id: Identifier, _ field: String, before token: String) async throws {
        if let sight = try await sight(site, RecordKey(entity, id), field) { seen[token] = sight }
    }

    /// A later statement of one script is written over what an earlier one has put there.
    func look(at earlier: String, before token: String) {
        guard let first = seen[earlier], let sight = seen[token], first.key == sight.key, first.field == sight.field else { return }
        seen[token]?.values += [.string(earlier)] + first.values
    }

    /// nil where the later write stands, whoever saw what.
    private func sight(_ site: SimulatedSite, _ key: RecordKey, _ field: String) async throws -> Sight? {
        let (entity, id) = (key.entity, key.id)
        guard site.build.entity(entity)?.field(field)?.policy == .guarded else { return nil }
        let shown = try await site.replica.get(entity, id)?[field] ?? .null
        var sight = Sight(key: RecordKey(entity, id), field: field, values: [shown])
        let held = try await holdings(of: site)
        let pending = held.rows.filter { $0.place == .pending }.compactMap(\.sealed)
        // What is shown may be an own edit under way, perhaps of a command that died before it could say so. If that comes to nothing,
        // what it was written over is seen all the same.
        if case .string(let text) = shown {
            let own = pending.filter { $0.written.contains(text) }
            sight.epoch = own.map(\.set.clock.feed.epoch).min() ?? .max
            if let before = seen[text], before.key == sight.key, before.field == field,
                site.tokens.contains(text) || held.captured.contains(text) || !own.isEmpty
            {
                sight.values += before.values
            }
        }
        // What was taken out unanswered may have taken effect all the same: it is among the problems of whoever wrote it.
        for row in held.rows where row.place == .problem && !row.isRejected {
            if let set = row.sealed?.set, let own = Self.written(set, key, field) { sight.values.append(own) }
        }
        return sight
    }

    /// Where a problem writes texts, before it is said again: a person has the record before them then, and knows more than at first.
    func sights(_ site: SimulatedSite, of problem: Problem, editing field: String?) async throws -> [Sight] {
        var sights: [Sight] = []
        for change in problem.changes {
            guard case .patch(let fields, _) = change.operation else { continue }
            for name in Set(fields.keys + [field].compactMap { $0 }).sorted() {
                if let sight = try await sight(site, change.key, name) { sights.append(sight) }
            }
        }
        return sights
    }

    /// The set with that counter was written over them.
    func note(_ found: [Sight], of counter: Int64, _ site: SimulatedSite) async throws {
        let rows = try await site.replica.query("SELECT sealed FROM _tideline_pending WHERE counter = ?1", [.integer(counter)])
        guard case .blob(let bytes)? = rows.first?.values.first else { return }
        let sealed = try ledger.sealed(bytes)
        for sight in found {
            guard case .string(let token)? = Self.written(sealed.set, sight.key, sight.field) else { continue }
            sights[sealed.edit, default: []].append(sight)
            // Whoever writes over it while it is under way has seen this as well.
            seen[token, default: Sight(key: sight.key, field: sight.field, values: [])].values += sight.values
            sightsNoted.insert(token)
        }
    }

    private static func written(_ set: ChangeSet, _ key: RecordKey, _ field: String) -> JSONValue? {
        set.changes.lazy.filter { $0.key == key }.compactMap { change in
            if case .patch(let fields, _) = change.operation { fields[field] } else { nil }
        }.first
    }

    /// The first set that holds the token is the write; an undo or a second try may bring the value back later, and knows more: what
    /// it was written over, as it says itself, whoever writes over it has seen.
    func noteSights(of sealed: Ledger.Sealed) {
        for token in sealed.written.sorted() {
            guard let sight = seen[token] else { continue }
            if sightsNoted.insert(token).inserted {
                sights[sealed.edit, default: []].append(sight)
            } else {
                for case .patch(_, let was) in sealed.set.changes.lazy.filter({ $0.key == sight.key }).map(\.operation) {
                    if let value = was[sight.field] { seen[token]?.values.append(value) }
                }
            }
        }
    }

    /// I8 without trusting clocks: whoever overwrote a guarded value had it before their eyes.
    func checkSeen(_ set: ChangeSet, _ key: RecordKey, _ field: String, over value: JSONValue, at position: FeedPosition) throws {
        guard let sight = sights[ledger.number(of: set)]?.first(where: { $0.key == key && $0.field == field }) else { return }
        // Written over what stood in a lost history, it may meet something older here, which its author had seen before that: positions
        // tell that, sights do not.
        guard min(set.clock.feed.epoch, sight.epoch) >= position.epoch else { return }
        statistics.sights += 1
        guard !sight.values.contains(value) else { return }
        throw BrokenInvariant(
            name: "I8", detail: "\(key).\(field) at \(position.position): its author's file showed \(sight.values), not \(value)")
    }

    // MARK: Clocks

    /// Where the record stands that somebody is about to write, if nothing of their own lies on it.
    func place(_ site: SimulatedSite, _ entity: String, _ id: Identifier) async throws -> Int64? {
        let rows = try await site.replica.query(
            """
            SELECT position FROM "\(entity)" WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM _tideline_base WHERE entity = ?2 AND id = ?1) \
            AND EXISTS (SELECT 1 FROM _tideline_meta WHERE key = 'checkpoint')
            """, [.text(id.text), .text(entity)])
        if case .integer(let position)? = rows.first?.values.first { return position }
        return nil
    }

    /// I5, writes follow reads: the clock of a set covers what its author was looking at, and everything of their own.
    func checkClock(_ site: SimulatedSite, _ counter: Int64, covers position: Int64?) async throws {
        let rows = try await site.replica.query("SELECT sealed FROM _tideline_pending WHERE counter = ?1", [.integer(counter)])
        guard case .blob(let bytes)? = rows.first?.values.first else { return }
        let set = try ledger.sealed(bytes).set
        guard set.clock.replicas[set.dot.replica] ?? 0 == counter - 1 else {
            throw BrokenInvariant(name: "I5", detail: "set \(counter) of \(site.name) does not claim to know the one before it")
        }
        guard let position, set.clock.feed.position < position else { return }
        throw BrokenInvariant(
            name: "I5",
            detail: "set \(counter) of \(site.name) claims \(set.clock.feed.position), its author was looking at \(position)")
    }

    /// I5, reads are monotonic: within one history no record goes back to an earlier version.
    func checkReads(_ site: SimulatedSite) async throws {
        let mark = try await site.replica.status().checkpoint
        let select = site.build.entities.filter(\.isServed).map { "SELECT '\($0.name)', id, position FROM \"\($0.name)\"" }
        let rows = try await site.replica.query(
            "SELECT * FROM (\(select.joined(separator: " UNION ALL "))) AS held "
                + "WHERE id NOT IN (SELECT id FROM _tideline_base UNION SELECT id FROM _tideline_edit)")
        var positions: [String: Int64] = [:]
        let isSame = site.readEpoch == mark?.epoch
        for row in rows {
            guard case .text(let entity) = row.values[0], case .text(let id) = row.values[1], case .integer(let position) = row.values[2]
            else {
                continue
            }
            // Nobody has confirmed it.
            if position == .max { continue }
            let key = "\(entity) \(id)"
            positions[key] = position
            if isSame, let before = site.positions[key], position < before {
                throw BrokenInvariant(name: "I5", detail: "\(site.name) has \(key) as of \(position), after \(before)")
            }
        }
        if isSame { site.positions.merge(positions) { $1 } } else { site.positions = positions }
        site.readEpoch = mark?.epoch
    }
}
