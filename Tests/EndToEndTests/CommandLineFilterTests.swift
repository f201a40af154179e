// `--where` on every kind of field, with values as people write them, and errors that say what can be asked.

import Foundation
import Replica
import SyncProtocol
import TestSupport
import Testing

@testable import replica_cli

@Suite struct CommandLineFilterTests {
    /// Clients, deals and sites whose answers to every question are known.
    private func prepared(_ company: Company) async throws -> Worker {
        let worker = try await company.enrolled("olivia", code: await company.ownerCode)
        try await worker.json("sync")
        for (key, kind) in [
            ("gate_code", "text"), ("berths", "integer"), ("fee", "money"), ("checked", "date"), ("guarded", "bool"),
            ("skills", "multi_choice"),
        ] {
            try await worker.json(
                "add", "custom_field", "entity=site", "key=\(key)", "label=\(key)", "kind=\(kind)",
                "choices=\(kind == "multi_choice" ? "diving,ropes" : "")")
        }
        try await worker.json(
            "add", "client", "name=Pier 9", "tags=vip,marina", "phone=+15550142", "billing_address.city=Oslo", "payment_terms_days=30")
        try await worker.json("add", "client", "name=Old mill", "tags=mill", "kinds=supplier")
        try await worker.json("add", "contact", "first_name=Nina", "last_name=Ortiz", "email=nina@example.com")
        try await worker.json(
            "add", "site", "client=Pier 9", "name=North", "address.city=Oslo", "contact=nina ortiz", "custom.gate_code=7781",
            "custom.berths=12",
            "custom.fee=1,250.50", "custom.checked=-10d", "custom.guarded=yes", "custom.skills=diving,ropes")
        try await worker.json("add", "site", "client=Old mill", "name=South", "address.city=Bergen", "active=no")
        try await worker.json(
            "add", "deal", "title=Refit", "client=Pier 9", "amount=$12,250.50", "currency=USD", "owner=olivia@example.com",
            "expected_close=+3d",
            "probability=80")
        try await worker.json(
            "add", "deal", "title=Berths", "client=Old mill", "amount=1.000,00 EUR", "currency=EUR", "owner=olivia@example.com",
            "expected_close=16 Mar 2020")
        try await worker.json("do", "lose", "deal", "Berths", "reason=price")
        return worker
    }

    @Test func everyKindOfField_canBeAsked() async throws {
        try await withCompany { company in
            let worker = try await prepared(company)
            let questions: [(entity: String, conditions: [String], names: [String])] = [
                ("deal", ["amount = 12,250.50"], ["Refit"]), ("deal", ["amount>=$1000"], ["Berths", "Refit"]),
                ("deal", ["amount < 1000.01 EUR"], ["Berths"]),
                ("deal", ["amount = 12,250.50 EUR"], []), ("deal", ["client = Pier 9"], ["Refit"]),
                ("deal", ["client != pier"], ["Berths"]),
                ("deal", ["client ~ MILL"], ["Berths"]), ("deal", ["stage = lost"], ["Berths"]), ("deal", ["stage != lost"], ["Refit"]),
                ("deal", ["stage ~ ea"], ["Refit"]), ("deal", ["expected_close<today"], ["Berths"]),
                ("deal", ["expected_close <= +1w", "stage = lead"], ["Refit"]),
                ("deal", ["expected_close = 16.3.2020"], ["Berths"]), ("deal", ["probability > 50"], ["Refit"]),
                ("deal", ["probability = null"], ["Berths"]),
                ("deal", ["probability != 80"], ["Berths"]), ("deal", ["closed_at = today"], ["Berths"]),
                ("deal", ["closed_at >= -2h"], ["Berths"]),
                ("deal", ["closed_at < yesterday"], []), ("deal", ["created_at = today"], ["Berths", "Refit"]),
                ("deal", ["created_at > today"], []),
                ("deal", ["created_by = olivia@example.com"], ["Berths", "Refit"]), ("deal", ["owner ~ olivia"], ["Berths", "Refit"]),
                ("deal", ["title ~ 'fit'"], ["Refit"]), ("deal", ["title = \"Refit\""], ["Refit"]),
                ("deal", ["currency = eur"], ["Berths"]),
                ("deal", ["lost_reason is not null"], ["Berths"]), ("deal", ["pending = yes"], ["Berths", "Refit"]),
                ("deal", ["pending = no"], []),
                ("client", ["tags = vip"], ["Pier 9"]), ("client", ["tags ~ mill"], ["Old mill"]),
                ("client", ["tags != vip"], ["Old mill"]),
                ("client", ["kinds contains supplier"], ["Old mill"]), ("client", ["phone is null"], ["Old mill"]),
                ("client", ["phone != null"], ["Pier 9"]),
                ("client", ["billing_address.city = Oslo"], ["Pier 9"]), ("client", ["billing_address.city = null"], ["Old mill"]),
                ("client", ["billing_address ~ osl"], ["Pier 9"]), ("client", ["payment_terms_days <= 30"], ["Pier 9"]),
                ("client", ["name >= P"], ["Pier 9"]),
                ("site", ["active = no"], ["South"]), ("site", ["active != no"], ["North"]), ("site", ["contact = Nina Ortiz"], ["North"]),
                ("site", ["contact = null"], ["South"]), ("site", ["custom.gate_code = 7781"], ["North"]),
                ("site", ["custom.gate_code != 7781"], ["South"]),
                ("site", ["custom.gate_code ~ 78"], ["North"]), ("site", ["custom.berths > 9"], ["North"]),
                ("site", ["custom.berths = 9"], []),
                ("site", ["custom.fee = 1250.50"], ["North"]), ("site", ["custom.fee >= 1,250.51"], []),
                ("site", ["custom.checked < -5d"], ["North"]),
                ("site", ["custom.guarded = yes"], ["North"]), ("site", ["custom.skills = ropes"], ["North"]),
                ("site", ["custom.skills != ropes"], ["South"]),
                ("site", ["custom.berths = null"], ["South"]),
            ]
            // Read as the command reads them, without a process for each.
            let replica = try await Replica.open(worker.file)
            let context = Context(terminal: Terminal(json: true), databasePath: worker.file, replica: replica)
            for one in questions {
                let conditions = try await context.conditions(one.conditions, of: try context.entity(one.entity))
                let found = try await replica.list(one.entity, where: conditions.filters, includingDeleted: conditions.includesDeleted)
                let names = found.data.map(\.title).sorted()
                #expect(names == one.names, "\(one.entity) \(one.conditions): \(names)")
            }
            await replica.close()
            let asked = try await worker.json("list", "deal", "--where", "amount >= 1,000", "--where", "stage != lost", "--sort", "-amount")
            #expect(asked["total"] == 1 && asked["data"]?[0]?["title"] == "Refit")
            try await worker.json("remove", "site", "South")
            #expect(try await worker.json("list", "site", "--where", "deleted = yes")["total"] == 1)
            #expect(try await worker.json("list", "site", "--where", "deleted = no")["total"] == 1)
            #expect(try await worker.json("list", "site", "--where", "deleted_at >= today")["total"] == 1)
            #expect(try await worker.json("list", "site")["total"] == 1)
        }
    }

    @Test func questionsThatMakeNoSense_nameTheFieldAndWhatCanBeAsked() async throws {
        try await withCompany { company in
            let worker = try await prepared(company)
            let cases: [(entity: String, condition: String, words: [String])] = [
                ("deal", "amuont > 3", ["amuont", "did you mean amount"]), ("deal", "amount", ["amount", "operator", "<="]),
                ("deal", "amount = lots", ["amount", "lots", "1,250.00"]), ("deal", "amount ~ 3", ["amount", "= != < <= > >="]),
                ("deal", "stage = wonn", ["stage", "wonn", "negotiation"]), ("deal", "stage > lead", ["stage", "= != ~"]),
                ("deal", "expected_close < soon", ["expected_close", "soon", "tomorrow"]),
                ("deal", "expected_close ~ 2026", ["expected_close", ">="]),
                ("deal", "client > a", ["client", "= != ~"]), ("deal", "closed_at != today", ["closed_at"]),
                ("deal", "title =", ["title", "null"]),
                ("deal", "amount > null", ["amount", "= !="]), ("deal", "deleted = perhaps", ["deleted", "yes or no"]),
                ("deal", "", ["field"]),
                ("client", "tags > a", ["tags", "= != ~"]), ("client", "kinds = friend", ["kinds", "supplier"]),
                ("client", "billing_address.planet = x", ["planet", "postal_code"]),
                ("client", "billing_address = x", ["billing_address", "~"]),
                ("site", "custom.nothing = x", ["nothing", "gate_code"]),
                ("site", "custom.berths = many", ["custom.berths", "whole number"]),
                ("site", "active = maybe", ["active", "yes or no"]),
            ]
            let replica = try await Replica.open(worker.file)
            let context = Context(terminal: Terminal(json: true), databasePath: worker.file, replica: replica)
            for one in cases {
                var words = "no error"
                do {
                    let conditions = try await context.conditions([one.condition], of: try context.entity(one.entity))
                    _ = try await replica.list(one.entity, where: conditions.filters)
                } catch let error as UsageError {
                    words = error.message + " " + (error.hint ?? "")
                }
                for word in one.words { #expect(words.contains(word), "\(one.condition): \(word) in \(words)") }
            }
            await replica.close()
            let refused = try await worker.run("list", "deal", "--where", "amuont > 3")
            #expect(refused.code == 2 && refused.errors.contains("did you mean amount"))
            let nobody = try await worker.run("list", "deal", "--where", "client = nobody")
            #expect(nobody.code == 1 && nobody.errors.contains("nobody") && nobody.errors.contains("replica list client"))
            for arguments in [["--sort", "nothing"], ["--columns", "nothing"], ["--cursor", "junk"], ["--sort", "pending"]] {
                let finished = try await run("replica", ["--db", worker.file, "list", "deal"] + arguments)
                #expect(finished.code == 2 && !finished.errors.isEmpty, "\(arguments): \(finished.errors)")
            }
        }
    }

    @Test func records_areNamedByWhateverIsTheirs() async throws {
        try await withCompany { company in
            let worker = try await prepared(company)
            let id = try await worker.json("show", "contact", "nina@example.com")["id"]?.stringValue ?? ""
            for name in [
                "NINA@example.com", "Ortiz", "ort", "nina o", "Nina Ortiz", id, id.uppercased(), String(id.prefix(24)),
                String(id.suffix(8)),
            ] {
                #expect(try await worker.field("contact", name, "id") == .string(id), "\(name)")
            }
            try await worker.json("set", "site", "South", "contact=Nina")
            #expect(try await worker.field("site", "South", "contact") == .string(id))
            try await worker.json("add", "contact", "first_name=Nina", "last_name=Orwell")
            let both = try await worker.run("show", "contact", "Nina O")
            #expect(both.code == 1 && both.errors.contains("Ortiz") && both.errors.contains("Orwell"))
            let neither = try await worker.run("set", "site", "South", "contact=Nino")
            #expect(neither.code == 1 && neither.errors.contains("no contact Nino") && neither.errors.contains("replica list contact"))
        }
    }
}
