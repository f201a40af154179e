// What must hold at the end of a history, looked at from outside: with the command, and with SQL on both databases.

import Foundation
import SyncProtocol
import TestSupport

extension History {
    /// Every promise that did not hold, in words; empty when all did.
    func brokenPromises() async throws -> [String] {
        var broken = await ledger.surprises
        broken += try await copies()
        broken += try await writes()
        broken += try await offPool { [self] in try feed() + indexes() }
        return broken
    }

    // MARK: Replicas

    /// Every file is sound, holds what the server holds, and has nothing left to send.
    private func copies() async throws -> [String] {
        var broken: [String] = []
        var digests: Set<String> = []
        for person in files {
            if try await !person.isSound() { broken.append("\(person.name): integrity_check") }
            if try await person.pending() != 0 { broken.append("\(person.name): something is still pending") }
            let compared = try await person.json("digest", "--server", codes: [0, 1])
            if compared["identical"] != true { broken.append("\(person.name): differs from the server: \(compared.canonicalText)") }
            // Only an owner holds the devices of others.
            let shared = (compared["local"]?.objectValue ?? JSONObject()).filter { $0.key != "replica" }
            digests.insert(JSONValue.object(JSONObject(shared.map { ($0.key, $0.value) })).canonicalText)
            let examined = try await person.run(["doctor"])
            if examined.code != 0 { broken.append("\(person.name): doctor: \(examined.output) \(examined.errors)") }
        }
        if digests.count != 1 { broken.append("the replicas differ from each other") }
        return broken
    }

    private var files: [Person] { desks.flatMap(\.files) }

    /// Tokens that the server's feed has, which keeps lost values too.
    func feedTokens() async throws -> Set<String> {
        let feed = try await offPool { [cluster, tenant] in
            try cluster.sql("SELECT changes::text || restricted_changes::text FROM tideline.feed WHERE tenant = '\(tenant.id)'")
        }
        return Tokens.found(in: feed.joined().joined(separator: "\n").utf8)
    }

    /// Every text whose command said it was done is in the feed or among the problems of a file. Only what neither a file nor the
    /// server held at some moment may be missing, and of that only what no file holds now.
    private func writes() async throws -> [String] {
        var found = try await feedTokens()
        var held: Set<String> = []
        for file in files {
            found.formUnion(Tokens.found(in: try await file.json("problems").canonicalText.utf8))
            held.formUnion(try await file.heldTokens())
        }
        let (acknowledged, mayBeLost) = (await ledger.acknowledged, await ledger.mayBeLost.subtracting(held))
        let missing = acknowledged.keys.filter { !found.contains($0) }.sorted()
        await ledger.count("writes lost with a file", missing.filter(mayBeLost.contains).count)
        return missing.filter { !mayBeLost.contains($0) }.map {
            "\($0) is lost\(held.contains($0) ? " though a file holds it" : ""): \(acknowledged[$0] ?? "")"
        }
    }

    // MARK: Server

    /// The feed has every position once; every set has one outcome, its entries lie where the outcome says, and what was created
    /// once is there once.
    private func feed() throws -> [String] {
        let (own, stride) = ("tenant = '\(tenant.id)'", FeedPosition.epochStride)
        let checks = [
            (
                "every epoch's part of the feed is dense, and the last one's ends at the head",
                """
                SELECT e, n, first, last FROM (SELECT f.position / \(stride) AS e, count(*) AS n, min(f.position) AS first, \
                max(f.position) AS last, h.epoch, h.position FROM tideline.tenant_head h JOIN tideline.feed f USING (tenant) WHERE h.\(own) \
                GROUP BY 1, h.epoch, h.position) p WHERE last - first + 1 <> n OR first <> greatest(1, e * \(stride)) OR e > epoch \
                OR e = epoch AND last <> position
                """
            ),
            (
                "an epoch begins with the entry that says so",
                """
                SELECT position, kind FROM tideline.feed WHERE \(own) \
                AND (kind = 'sync.epoch_started') <> (position % \(stride) = 0)
                """
            ),
            (
                // A replica may begin higher in a new epoch; and one that forked, or enrolled again, begins behind what it was.
                "counters of a replica are dense, and acknowledged to the last",
                """
                SELECT r.id, r.acknowledged, count(s.counter), max(s.counter) FROM tideline.replica r \
                JOIN tideline.tenant_head h ON h.tenant = r.tenant \
                JOIN tideline.change_set s ON s.tenant = r.tenant AND s.replica = r.id WHERE r.\(own) GROUP BY r.id, r.acknowledged, h.epoch \
                HAVING NOT (max(s.counter) = r.acknowledged AND count(*) FILTER (WHERE s.counter > 1 AND NOT EXISTS (SELECT 1 \
                FROM tideline.change_set b WHERE b.tenant = s.tenant AND b.replica = s.replica AND b.counter = s.counter - 1)) <= h.epoch + \
                \(plan.keepsOnePast ? 0 : 1))
                """
            ),
            (
                "entries of a set lie within its positions",
                """
                SELECT s.replica, s.counter, s.outcome FROM tideline.change_set s \
                JOIN tideline.feed f ON f.tenant = s.tenant AND f.replica = s.replica AND f.counter = s.counter WHERE s.\(own) \
                GROUP BY s.replica, s.counter, s.outcome HAVING min(f.position) < (s.outcome::jsonb->'positions'->>0)::bigint \
                OR max(f.position) > (s.outcome::jsonb->'positions'->>1)::bigint
                """
            ),
            (
                "no two sets have the same positions",
                """
                SELECT a.replica, a.counter, b.replica, b.counter FROM tideline.change_set a JOIN tideline.change_set b \
                ON a.tenant = b.tenant AND (a.replica, a.counter) < (b.replica, b.counter) WHERE a.\(own) \
                AND a.outcome::jsonb ? 'positions' AND b.outcome::jsonb ? 'positions' \
                AND NOT a.outcome::jsonb ? 'duplicate_of' AND NOT b.outcome::jsonb ? 'duplicate_of' \
                AND int8range((a.outcome::jsonb->'positions'->>0)::bigint, (a.outcome::jsonb->'positions'->>1)::bigint, '[]') \
                && int8range((b.outcome::jsonb->'positions'->>0)::bigint, (b.outcome::jsonb->'positions'->>1)::bigint, '[]')
                """
            ),
            (
                "an entry of a replica belongs to a set with an outcome",
                """
                SELECT f.position FROM tideline.feed f WHERE f.\(own) AND f.counter IS NOT NULL AND NOT EXISTS (SELECT 1 \
                FROM tideline.change_set s WHERE s.tenant = f.tenant AND s.replica = f.replica AND s.counter = f.counter)
                """
            ),
            (
                "a name written once is there once",
                "SELECT name, count(*) FROM client WHERE \(own) AND name ~ '^t[0-9]+z$' GROUP BY name HAVING count(*) > 1"
            ),
            (
                "heads of entities count their live records",
                """
                SELECT h.live, c.n FROM tideline.entity_head h, (SELECT count(*) AS n FROM client WHERE \(own) AND deleted_at IS NULL) c \
                WHERE h.\(own) AND h.entity = 'client' AND h.live <> c.n
                """
            ),
            (
                "no record is ahead of the feed",
                """
                SELECT c.id FROM client c JOIN tideline.tenant_head h ON h.tenant = c.tenant WHERE c.\(own) AND c.position > h.position
                """
            ),
        ]
        return try checks.flatMap { name, sql in try cluster.sql(sql).prefix(3).map { "not so: \(name): \($0.joined(separator: " "))" } }
    }

    /// Every index of Postgres leads to every row, as amcheck sees it. It comes with Postgres' own package on Debian.
    private func indexes() throws -> [String] {
        let isThere = try !cluster.sql("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'").isEmpty
        guard isThere else { return [] }
        do {
            try cluster.sql(
                """
                CREATE EXTENSION IF NOT EXISTS amcheck; \
                SELECT bt_index_parent_check(c.oid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree' JOIN pg_namespace n ON n.oid = c.relnamespace \
                WHERE n.nspname IN ('public', 'tideline') AND i.indisready AND i.indisvalid
                """)
            return []
        } catch let error as UnexpectedResult {
            return ["amcheck: \(error)"]
        }
    }

    /// What the history amounted to.
    func figures() async -> HistoryFigures {
        var figures = HistoryFigures()
        figures.counts = await ledger.counts
        figures.counts["histories through pgbouncer"] = pooler == nil ? 0 : 1
        figures.counts["histories with one past"] = plan.keepsOnePast ? 1 : 0
        figures.counts["files"] = desks.reduce(0) { $0 + $1.files.count }
        figures.counts["writes accounted for"] = await ledger.acknowledged.count
        figures.counts["connections"] = proxy.connectionsAccepted + databaseProxy.connectionsAccepted
        for (kind, number) in proxy.fired { figures.faults[kind, default: 0] += number }
        for (kind, number) in databaseProxy.fired { figures.faults[kind, default: 0] += number }
        return figures
    }
}

/// Sums of what happened.
struct HistoryFigures: Sendable, CustomStringConvertible {
    var counts: [String: Int] = [:]
    var faults: [ConnectionFault: Int] = [:]

    mutating func add(_ other: HistoryFigures) {
        counts.merge(other.counts, uniquingKeysWith: +)
        faults.merge(other.faults, uniquingKeysWith: +)
    }

    var description: String {
        let counted = counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        let spoilt = ConnectionFault.allCases.map { "\($0.rawValue) \(faults[$0] ?? 0)" }
        return (counted + ["connections spoilt: " + spoilt.joined(separator: ", ")]).joined(separator: "; ")
    }
}
