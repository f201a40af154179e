// A first sync of 100,000 records whose replica is killed in the middle: whole pages stay, the rest is fetched once.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct LargeFirstSyncTests {
    private static let count = 100_000
    /// What the command asks for.
    private static let page = 5_000

    /// The smallest entity, many times, with the feed that belongs to it; links refer to nothing that a pull would look up.
    private func load(_ tenant: String, _ connection: PostgresConnection) throws {
        let head = try required(
            try connection.run("SELECT position FROM tideline.tenant_head WHERE tenant = $1::uuid", .text(tenant)).integer(0, 0))
        let tag = "[0, ' || p || ', 1800000000000, 0, null, 0, null]"
        try connection.script(
            """
            INSERT INTO public.deal_contact (tenant, id, position, created_at, updated_at, versions, scope_keys, deal, contact, role)
            SELECT '\(tenant)', md5('row' || p)::uuid, p, 1800000000000, 1800000000000, ('{"*": \(tag)}')::jsonb, '{full}',
                md5('deal' || p)::uuid, md5('contact' || p)::uuid, 'user' FROM generate_series(\(head + 1), \(head) + \(Self.count)) p;
            INSERT INTO tideline.feed (tenant, position, epoch, at, actor_kind, entity, record, operation, kind, category, level, changes,
                restricted_changes, anchors, scope_keys, depth, operation_at, fingerprint)
            SELECT '\(tenant)', p, 0, 1, 'system', 'deal_contact', md5('row' || p)::uuid, 'create', 'deal_contact.created', 'relationship',
                'minor', '{}', '{}', '{}', '{}', 0, 1, left(md5(p::text), 16) FROM generate_series(\(head + 1), \(head) + \(Self.count)) p;
            UPDATE tideline.tenant_head SET position = position + \(Self.count) WHERE tenant = '\(tenant)';
            INSERT INTO tideline.entity_head (tenant, entity, position, live)
            VALUES ('\(tenant)', 'deal_contact', \(head) + \(Self.count), \(Self.count))
            """)
    }

    private func number(_ worker: Worker, _ expression: String) async throws -> Int {
        let answer = try await worker.run("--json", "sql", "SELECT \(expression) AS n FROM deal_contact")
        return try JSONValue(parsing: answer.output)["data"]?[0]?["n"]?.integerValue.map(Int.init) ?? 0
    }

    private func rows(_ worker: Worker) async throws -> Int { try await number(worker, "count(*)") }

    @Test func hundredThousandRecords_areFetchedOnce_thoughTheReplicaIsKilledInTheMiddle() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            let url = try required(EmbeddedPostgres.runningURL(dataDirectory: await company.dataFolder, database: "tideline"))
            let connection = try PostgresConnection(PostgresConfiguration(url: url))
            try load(await company.tenant, connection)
            connection.close()
            let sync = try RunningProgram("replica", ["--db", olivia.file, "sync"])
            var seen = 0
            while seen < Self.count / 5, sync.isRunning { seen = (try? await rows(olivia)) ?? 0 }
            sync.signal(SIGKILL)
            #expect(await sync.finish().code == -SIGKILL, "the kill must hit a running sync")
            #expect(try await olivia.integrity().contains("\"ok\""))
            let kept = try await rows(olivia)
            #expect(kept >= Self.count / 5 && kept < Self.count)
            // The first page also has the few records that every tenant begins with.
            #expect(kept % Self.page > Self.page - 20 || kept % Self.page == 0, "\(kept): whole pages only")
            let report = try await olivia.json("sync")
            let fetched = report["pulled"]?.integerValue.map(Int.init) ?? 0
            #expect(fetched >= Self.count - kept && fetched < Self.count - kept + 20, "\(kept) kept, \(fetched) fetched")
            #expect(try await rows(olivia) == Self.count)
            #expect(try await number(olivia, "count(DISTINCT id)") == Self.count)
            #expect(try await number(olivia, "max(position) - min(position) + 1") == Self.count)
            #expect(try await number(olivia, "sum(role = 'user' AND deal IS NOT NULL AND contact IS NOT NULL)") == Self.count)
        }
    }

    private func required<Value>(_ value: Value?) throws -> Value { try #require(value) }
}
