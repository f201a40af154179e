// I7: a file holds what its member's role may read, and no row besides. What that is, is told here a second time, from what the
// records refer to and without scope keys: a record that should have moved and did not shows.

import ServerSupport
import SyncProtocol

@testable import Replica

extension Simulation {
    /// Of a file that is at the server's head.
    func checkAccess(_ site: SimulatedSite) async throws {
        let state = server.snapshot()
        guard let role = state.records[RecordKey("member", site.member)]?.text("role").flatMap(Role.init(rawValue:)) else { return }
        let reader = Reader(member: site.member, role: role, records: state.records)
        var readable: [String: Set<Identifier>] = [:]
        for record in state.records.values where record.isLive && reader.mayHold(record) {
            readable[record.schema.name, default: []].insert(record.id)
        }
        // What has an own edit under way stays until that is answered; and what a tool has just made is nobody else's yet.
        let own = try await site.replica.query("SELECT id FROM _tideline_base UNION SELECT id FROM _tideline_edit")
        let bases = Set(own.compactMap { Self.identifier($0["id"]) })
        for entity in site.build.entities where entity.isServed {
            let rows = try await site.replica.query("SELECT id, deleted_at FROM \"\(entity.name)\"")
            var held: Set<Identifier> = []
            for row in rows {
                guard let id = Self.identifier(row["id"]), !bases.contains(id) else { continue }
                if case .integer? = row["deleted_at"] {
                    // A tombstone says as much as the record did.
                    guard let record = state.records[RecordKey(entity.name, id)], !reader.mayHold(record) else { continue }
                    throw BrokenInvariant(name: "I7", detail: "\(site.name), a \(role.rawValue), holds the tombstone \(record.key)")
                }
                held.insert(id)
            }
            let expected = (readable[entity.name] ?? []).subtracting(bases)
            if let extra = held.subtracting(expected).min() {
                throw BrokenInvariant(
                    name: "I7", detail: "\(site.name), a \(role.rawValue), holds \(entity.name) \(extra), which is not for it")
            }
            if let missing = expected.subtracting(held).min() {
                throw BrokenInvariant(name: "I7", detail: "\(site.name), a \(role.rawValue), lacks \(entity.name) \(missing)")
            }
        }
    }

    /// The copy of the timeline has no entry that its member may not read.
    func checkTimeline(_ site: SimulatedSite) async throws {
        guard let role = server.record("member", site.member)?.text("role").flatMap(Role.init(rawValue:)) else { return }
        let reader = ReaderAccess(member: site.member, role: role)
        for row in try await site.replica.query("SELECT entry FROM _tideline_activity") {
            guard case .text(let text)? = row["entry"] else { continue }
            let entry = try ActivityEntry(json: try JSONValue(parsing: text))
            guard reader.sees(entry, in: server.schema), !reader.hidesRestricted || entry.restrictedChanges.isEmpty else {
                throw BrokenInvariant(
                    name: "I7", detail: "\(site.name), a \(role.rawValue), reads of \(entry.kind) at \(entry.position.position)")
            }
        }
    }

    private static func identifier(_ value: SQLiteValue?) -> Identifier? {
        if case .text(let text)? = value { Identifier(text) } else { nil }
    }

    /// Who may hold what, as the schemas of these tests mean it.
    struct Reader {
        let member: Identifier
        let role: Role
        let records: [RecordKey: RecordState]
        private let linked: Set<Identifier>

        init(member: Identifier, role: Role, records: [RecordKey: RecordState]) {
            self.member = member
            self.role = role
            self.records = records
            linked = Set(
                records.values.filter { $0.schema.name == "client_contact" && $0.isLive }.compactMap { $0.identifier("contact") })
        }

        func mayHold(_ record: RecordState) -> Bool {
            switch (role, record.schema.name) {
            case (_, "account"), (_, "number_sequence"): return false
            case (.owner, _): return true
            case (_, "replica"): return record.identifier("member") == member
            case (.manager, _), (.viewer, _): return true
            case (.field, "contact"):
                // Where a deleted one was linked does not show any more.
                return !record.isLive || linked.contains(record.id)
            case (.field, "deal"): return record.identifier("owner") == member
            case (.field, "deal_contact"):
                return record.identifier("deal").flatMap { records[RecordKey("deal", $0)] }?.identifier("owner") == member
            case (.field, "movement"): return record.createdBy == member
            case (.field, "document"), (.field, "document_line"): return false
            case (.field, _): return true
            }
        }
    }
}
