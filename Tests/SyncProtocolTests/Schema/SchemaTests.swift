import Foundation
import SyncProtocol
import TestSupport
import Testing

@Suite struct SchemaTests {
    @Test func everyReference_pointsAtADeclaredEntity() {
        for entity in Schema.tideline.entities {
            for field in entity.fields {
                // tax_rate comes with the revenue domain; a value is refused until then.
                for target in field.referencedEntities where target != "tax_rate" {
                    #expect(Schema.tideline.entity(target) != nil, "\(entity.name).\(field.name) → \(target)")
                }
            }
        }
    }

    @Test func everyName_isLowerSnake() {
        for entity in Schema.tideline.entities {
            for name in [entity.name] + entity.fields.map(\.name) {
                #expect(name.utf8.allSatisfy { ($0 >= 0x61 && $0 <= 0x7A) || ($0 >= 0x30 && $0 <= 0x39) || $0 == 0x5F }, "\(name)")
            }
        }
    }

    @Test func everyMachine_startsAndMovesWithinItsStates() {
        for entity in Schema.testing.entities {
            guard let machine = entity.machine else { continue }
            #expect(machine.states.contains(machine.initial))
            #expect(Set(machine.transitions.map(\.name)).count == machine.transitions.count)
            for transition in machine.transitions {
                #expect(
                    machine.states.contains(transition.to) && transition.from.allSatisfy(machine.states.contains),
                    "\(entity.name).\(transition.name)")
                for argument in transition.arguments { if let field = argument.field { #expect(entity.field(field) != nil) } }
            }
        }
    }

    @Test func everyDefault_isItsOwnStoredForm() throws {
        for entity in Schema.testing.entities {
            for field in entity.fields {
                if let value = field.defaultValue { #expect(try field.type.normalized(value) == value, "\(entity.name).\(field.name)") }
            }
        }
    }

    @Test func catalogue_hasTenancyAndCRM() {
        #expect(
            Schema.tideline.entities.map(\.name) == [
                "tenant", "account", "member", "replica", "custom_field", "number_sequence", "client", "contact", "client_contact", "site",
                "deal",
                "deal_contact",
            ])
    }

    /// Arrays in one another.
    static func nested(_ levels: Int) -> JSONValue { (0..<levels).reduce(1) { value, _ in .array([value]) } }

    @Test func freeFormValues_passAsTheyAre_withinTheirLimits() throws {
        let deep = SchemaTests.nested(FieldType.freeFormLevelsMax - 1)
        let value: JSONValue = ["a": [1, .integer(.min), "x", .null, .bool(true)], "b": deep]
        #expect(try FieldType.json.normalized(value) == value)
        #expect(try FieldType.map(keys: []).normalized(value) == value)
    }

    @Test func deterministicID_followsFromItsKeysOnly() throws {
        let link = try #require(Schema.tideline.entity("client_contact"))
        let values: [String: JSONValue] = [
            "client": .string(Identifier(high: 1, low: 1).text), "contact": .string(Identifier(high: 1, low: 2).text),
        ]
        let id = link.deterministicID { values[$0] }
        #expect(id?.version == 5)
        #expect(id == link.deterministicID { values[$0] })
        #expect(link.deterministicID { $0 == "client" ? values[$0] : nil } == nil)
    }

    @Test func access_followsTheCatalogueTable() {
        func row(_ access: AccessClass, _ role: Role) -> String {
            [(AccessOperation.create, "c"), (.read, "r"), (.update, "u"), (.delete, "d")].filter { access.allows($0.0, role) }.map(\.1)
                .joined()
        }
        let table: [(AccessClass, String, String, String, String)] = [
            (.config, "crud", "r", "r", "r"), (.manage, "crud", "crud", "r", "r"), (.collab, "crud", "crud", "ru", "r"),
            (.work, "crud", "crud", "cru", "r"), (.fact, "crud", "crud", "crud", "r"), (.log, "cr", "cr", "cr", "r"),
            (.money, "crud", "crud", "r", "r"), (.collect, "cr", "cr", "cr", "r"), (.ledger, "cr", "r", "", "r"),
            (.auto, "crud", "crud", "", "r"),
            (.sys, "r", "r", "r", "r"), (.own, "r", "r", "r", "r"), (.secret, "", "", "", ""),
        ]
        for (access, owner, manager, field, viewer) in table {
            #expect(row(access, .owner) == owner, "\(access) owner")
            #expect(row(access, .manager) == manager, "\(access) manager")
            #expect(row(access, .field) == field, "\(access) field")
            #expect(row(access, .viewer) == viewer, "\(access) viewer")
        }
    }
}

@Suite struct ValidationTests {
    static let accepted: [(FieldType, JSONValue, JSONValue)] = [
        (FieldType.text(0...5), JSONValue.string("  ab "), JSONValue.string("ab")),
        (.text(0...5), "   ", .null),
        (.text(0...5), .string("e\u{301}"), .string("\u{e9}")),
        (.rich(maximum: 20), "a\r\nb\r", "a\nb"),
        (.bool, true, 1), (.bool, 0, 0),
        (.date, "2026-03-16", 20_528), (.date, 20_528, 20_528),
        (.instant, "2026-03-16T00:00:00Z", 1_773_619_200_000),
        (.email, " Nina@Example.COM ", "nina@example.com"),
        (.phone, "+1 (555) 010-0", "+15550100"),
        (.currency, "USD", "USD"), (.timeZone, "Europe/Berlin", "Europe/Berlin"),
        (.set(of: .text(1...40), count: 0...3), ["b", "a", "b"], ["a", "b"]),
        (.address, ["city": " Oslo ", "country": "NO", "line2": ""], ["city": "Oslo", "country": "NO"]),
        (.address, [:], .null),
        (.reference("client", onDelete: .restrict), "6D27A674-97BA-54C9-AAB0-0ED667640EAA", "6d27a674-97ba-54c9-aab0-0ed667640eaa"),
    ]

    @Test(arguments: accepted)
    func normalized_givesTheStoredForm(type: FieldType, raw: JSONValue, stored: JSONValue) throws {
        #expect(try type.normalized(raw) == stored)
        #expect(try type.normalized(stored) == stored, "normalising twice changes nothing")
    }

    static let refused: [(FieldType, JSONValue, ViolationCode)] = [
        (FieldType.text(0...2), JSONValue.string("abc"), ViolationCode.tooLong), (.text(2...3), "a", .tooShort),
        (.text(0...2), 3, .invalidFormat),
        (.integer(0...5), 6, .outOfRange), (.integer(0...5), "5", .invalidFormat), (.integer(0...5), .decimal("1.5"), .invalidFormat),
        (.bool, 2, .invalidFormat), (.date, "2026-02-30", .invalidFormat), (.instant, "2026-03-16T00:00:00", .invalidFormat),
        (.choice(["a"]), "b", .invalidChoice), (.email, "nobody", .invalidFormat), (.phone, "555", .invalidFormat),
        (.url, "javascript:alert(1)", .invalidFormat), (.currency, "XXQ", .invalidFormat), (.timeZone, "Mars/Base", .invalidFormat),
        (.set(of: .text(1...40), count: 0...1), ["a", "b"], .tooMany), (.set(of: .email, count: 0...2), ["x"], .invalidFormat),
        (.map(keys: ["a"]), ["b": 1], .unknownField), (.map(keys: ["a"]), ["a": [.decimal("1.5")]], .invalidFormat),
        (.json, .decimal("1e30"), .invalidFormat), (.json, ["a": .decimal("-0")], .invalidFormat),
        (.json, SchemaTests.nested(FieldType.freeFormLevelsMax + 1), .invalidFormat), (.address, ["country": "ZZ"], .invalidFormat),
        (.address, ["planet": "x"], .unknownField),
        (.hex64, "ab", .invalidFormat), (.slug(maximum: 5), "a b", .invalidFormat),
        (.reference("client", onDelete: .restrict), "x", .invalidFormat),
    ]

    @Test(arguments: refused)
    func normalized_refusesWithItsCode(type: FieldType, raw: JSONValue, code: ViolationCode) {
        #expect {
            _ = try type.normalized(raw)
        } throws: {
            ($0 as? ValueRefusal)?.code == code
        }
    }
}
