// What the table of access is acted out on: for every case a record of its own, in the state that it needs, and whatever that refers to.

import SyncProtocol
import TestSupport

@testable import SyncServer

extension AccessTableTests {
    /// Makes records for every case, all of one role at once.
    struct Stage {
        let rest: RestUnderTest
        let role: Role
        let caller: Identifier
        let other: Identifier
        let client: Identifier
        let part: Identifier
        var made: [Change] = []
        var written: [Change] = []
        var deleted: [Change] = []

        init(_ rest: RestUnderTest, _ role: Role, caller: Identifier) throws {
            self.rest = rest
            self.role = role
            self.caller = caller
            other = try rest.tenant.addMember(role: .manager)
            (client, part) = (rest.server.newIdentifier(), rest.server.newIdentifier())
            made = [
                Change("client", client, .create(fields: ["name": "Base"])),
                Change("part", part, .create(fields: ["sku": .string("p-\(part.text)"), "name": "Valve"])),
            ]
        }

        /// Beside the record itself everything that it needs, but not the record: who creates one does that.
        private mutating func new(_ row: Row, state: String?) throws -> (id: Identifier, fields: JSONObject) {
            let id = rest.server.newIdentifier()
            let theirs = JSONValue.string((row.isOwn ? caller : other).text)
            func reference(_ id: Identifier) -> JSONValue { .string(id.text) }
            switch row.entity {
            case "tenant": return (id, ["name": "Second", "base_currency": "USD"])
            case "member":
                return (
                    id,
                    [
                        "name": "Temp", "email": .string("t\(id.text)@example.com"), "role": "field",
                        "status": .string(state ?? "active"),
                    ]
                )
            case "replica": return (id, ["member": theirs, "label": "laptop", "status": .string(state ?? "active")])
            case "custom_field":
                return (id, ["entity": "site", "key": .string("k-\(id.text.prefix(36))"), "label": "K", "kind": "text"])
            case "client": return (id, ["name": "Quay", "status": state.map { .string($0) } ?? "active"])
            case "contact": return (id, ["last_name": "Ortiz"])
            case "client_contact":
                let contact = rest.server.newIdentifier()
                made.append(Change("contact", contact, .create(fields: ["last_name": "Linked"])))
                return try link(row.entity, ["client": reference(client), "contact": reference(contact)])
            case "site": return (id, ["client": reference(client), "name": "Pier", "address": ["city": "Boston"]])
            case "deal":
                return (
                    id,
                    [
                        "title": "Roof", "client": reference(client), "amount": 100, "currency": "USD", "owner": theirs,
                        "stage": .string(state ?? "lead"),
                    ]
                )
            case "deal_contact":
                let (deal, contact) = (rest.server.newIdentifier(), rest.server.newIdentifier())
                var deals = row
                deals.entity = "deal"
                made.append(Change("deal", deal, .create(fields: try new(deals, state: nil).fields)))
                made.append(Change("contact", contact, .create(fields: ["last_name": "Buyer"])))
                return try link(row.entity, ["deal": reference(deal), "contact": reference(contact)])
            case "part": return (id, ["sku": .string("s-\(id.text)"), "name": "Valve"])
            case "movement": return (id, ["part": reference(part), "kind": "receive", "quantity_milli": 5])
            case "document": return (id, ["title": "Offer", "status": .string(state ?? "draft")])
            case "document_line":
                let document = rest.server.newIdentifier()
                made.append(Change("document", document, .create(fields: ["title": "Offer"])))
                return (id, ["document": reference(document), "label": "Valve", "price": 5])
            case "note": return (id, ["subject_type": "part", "subject_id": reference(part), "body": "seen"])
            default: throw RestFailure(description: "no example of a \(row.entity)")
            }
        }

        private func link(_ entity: String, _ fields: JSONObject) throws -> (id: Identifier, fields: JSONObject) {
            (try required(Schema.testing.entity(entity)?.deterministicID { fields[$0] }), fields)
        }

        private static let patches: [String: JSONObject] = [
            "tenant": ["name": "Works"], "member": ["job_title": "Diver"], "replica": ["label": "tablet"], "custom_field": ["label": "L"],
            "client": ["phone": "+15550100"], "contact": ["phone": "+15550100"], "client_contact": ["role": "Buyer"],
            "site": ["name": "Pier 9"], "deal": ["title": "Refit"], "deal_contact": ["role": "user"], "part": ["name": "Tap"],
            "movement": ["kind": "use"], "document": ["memo": "m"], "document_line": ["line_order": 2], "note": ["body": "heard"],
        ]

        mutating func change(_ row: Row, _ deed: Deed) throws -> Change {
            var state: String?
            if case .move(let move) = deed { state = move.from }
            var (id, fields) = try new(row, state: state)
            if case .create = deed {
                // A machine begins where it begins.
                for name in ["status", "stage"] { fields[name] = nil }
                return Change(row.entity, id, .create(fields: fields))
            }
            if row.entity == "tenant" {
                id = rest.tenant.id
            } else if row.entity == "member", row.isOwn {
                id = caller
            } else {
                let creation = Change(row.entity, id, .create(fields: fields))
                if row.entity == "note", row.isOwn, role != .viewer { written.append(creation) } else { made.append(creation) }
            }
            // Who belongs to a client is seen where the client is.
            if row.entity == "contact" {
                let (link, fields) = try link("client_contact", ["client": .string(client.text), "contact": .string(id.text)])
                made.append(Change("client_contact", link, .create(fields: fields)))
            }
            switch deed {
            case .read, .delete: return Change(row.entity, id, .delete)
            case .create: throw Missing()
            case .patch: return Change(row.entity, id, .patch(fields: try required(Self.patches[row.entity]), was: [:]))
            case .restore:
                if row.entity != "tenant", !(row.entity == "member" && row.isOwn) { deleted.append(Change(row.entity, id, .delete)) }
                return Change(row.entity, id, .restore)
            case .move(let move):
                if row.entity == "document" {
                    let line: JSONObject = ["document": .string(id.text), "label": "Valve", "price": 5]
                    made.append(Change("document_line", rest.server.newIdentifier(), .create(fields: line)))
                }
                return Change(row.entity, id, .transition(name: move.name, observed: move.from, arguments: move.arguments))
            }
        }

        func write() throws {
            try rest.tenant.write(made).requireAccepted()
            if !written.isEmpty {
                try rest.tenant.write(written, author: Author(kind: .member, member: caller, role: role)).requireAccepted()
            }
            try rest.tenant.write(deleted).requireAccepted()
        }
    }
}
