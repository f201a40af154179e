// What the schema can judge about a statement alone, as SQL: a refusal aborts the statement with the server's code, the field and
// a sentence. What needs other records (references, rules, permissions) is judged when the edit is sealed.

import SyncProtocol

/// The checks of one table's triggers, each as one `SELECT`. A refusal reads `code: entity.field: message`.
struct CaptureGates {
    private let table: RecordTable
    private var schema: EntitySchema { table.schema }

    init(_ table: RecordTable) { self.table = table }

    private struct Check {
        var condition: String
        var refusal: String
    }

    private func check(_ field: String, _ code: ViolationCode, _ message: String, when condition: String) -> Check {
        Check(condition: condition, refusal: "\(code.rawValue): \(schema.name).\(field): \(field) \(message)")
    }

    private func select(_ checks: [Check], when condition: String? = nil) -> String {
        let cases = checks.map { "WHEN \($0.condition) THEN RAISE(ABORT, \(quoted($0.refusal)))" }
        return "SELECT CASE \(cases.joined(separator: "\n")) END\(condition.map { " WHERE \($0)" } ?? "")"
    }

    private func quoted(_ text: String) -> String {
        "'\(text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "''"))'"
    }

    // MARK: Statements

    private static let isNotEnrolled = "NOT EXISTS (SELECT 1 FROM _tideline_meta WHERE key = 'replica')"

    private var enrolled: Check {
        Check(
            condition: Self.isNotEnrolled, refusal: "not_enrolled: \(schema.name): enrol this replica with its server before editing")
    }

    private var idIsReplaced: String { "EXISTS (SELECT 1 FROM _tideline_before WHERE entity = '\(schema.name)' AND id = NEW.id)" }

    /// Left out, an id is made up; NULL is none. Asked before the row is written, because SQLite's own refusal names no reason, and an
    /// `INSERT OR IGNORE` would drop the row without one.
    var identifier: String {
        select([check("id", .invalidFormat, "is a lower-case UUID; leave it out to get one", when: "NEW.id IS NULL")])
    }

    /// A row that was not there before.
    var insertion: String {
        var checks = [
            enrolled,
            check(
                "id", .invalidFormat, "is a lower-case UUID; leave it out to get one",
                when: """
                    length(NEW.id) <> 36 OR NEW.id NOT GLOB '????????-????-????-????-????????????' OR \
                    replace(NEW.id, '-', '') GLOB '*[^0-9a-f]*' OR length(replace(NEW.id, '-', '')) <> 32
                    """),
        ]
        for column in readOnlyColumns {
            checks.append(check(column, .readOnly, "is set by the system", when: "NEW.\"\(column)\" IS NOT NULL"))
        }
        for field in fields {
            let new = "NEW.\"\(field.name)\""
            checks += valueChecks(field, new)
            if let required = requiredCheck(field, new), field.defaultValue == nil { checks.append(required) }
            switch field.policy {
            case .serverAssigned: checks.append(check(field.name, .readOnly, "is set by the server", when: "\(new) IS NOT NULL"))
            case .transition:
                let initial = field.defaultValue?.stringValue ?? ""
                checks.append(
                    check(
                        field.name, .readOnly, "begins as \(initial) and changes by a transition",
                        when: "\(new) IS NOT NULL AND \(new) <> \(quoted(initial))"))
            default: break
            }
        }
        return select(checks, when: "NOT \(idIsReplaced)")
    }

    /// A row that takes another's place (`INSERT OR REPLACE` on an id that is there): the same as an update of every column.
    var replacement: String {
        let before = "FROM _tideline_before WHERE entity = '\(schema.name)' AND id = NEW.id"
        return select(
            changeChecks(
                { column in
                    "(SELECT json_extract(image, '$.\"\(column == RecordTable.extraColumn ? "extra" : column)\"') \(before))"
                }, isReplacement: true), when: idIsReplaced)
    }

    var update: String { select(changeChecks { "OLD.\"\($0)\"" }) }

    var deletion: String {
        var checks = [enrolled, firstSync("OLD")]
        if !schema.isDeletable {
            checks.append(check("id", .forbidden, "names a \(schema.name), which is never deleted", when: "1"))
        }
        return select(checks)
    }

    /// A group has the limit of a change set.
    var group: String {
        """
        SELECT RAISE(ABORT, 'payload_too_large: tideline_group: a group has at most \(Limits.changesPerSet) changes') \
        FROM tideline_group WHERE (SELECT count(*) FROM _tideline_edit WHERE grp = (SELECT max(id) FROM tideline_group)) > \
        \(Limits.changesPerSet)
        """
    }

    // MARK: Parts

    private var fields: [FieldSchema] { schema.fields.filter { !$0.isSecret } }
    private var readOnlyColumns: [String] {
        RowLayout.common.filter { $0 != "id" && $0 != "deleted_at" } + ["deleted_at", RecordTable.extraColumn]
    }

    /// Until the first sync has reached its end, only what was made here may change.
    private func firstSync(_ row: String) -> Check {
        Check(
            condition: """
                NOT EXISTS (SELECT 1 FROM _tideline_meta WHERE key = 'checkpoint') AND NOT EXISTS (SELECT 1 FROM _tideline_base \
                WHERE entity = '\(schema.name)' AND id = \(row).id AND image IS NULL) AND NOT EXISTS (SELECT 1 FROM _tideline_edit \
                WHERE entity = '\(schema.name)' AND id = \(row).id AND kind = 'insert')
                """,
            refusal: "first_sync_incomplete: \(schema.name): records can change when the first sync has finished")
    }

    /// - Parameter isReplacement: What the statement leaves out keeps its value where only the system or the past may set it, and
    ///   takes the default where there is one.
    private func changeChecks(_ old: (String) -> String, isReplacement: Bool = false) -> [Check] {
        var checks = [
            enrolled, firstSync("NEW"),
            check("id", .immutable, "names the record and never changes", when: "NEW.id IS NOT \(old("id"))"),
            check(
                "deleted_at", .readOnly, "is set by DELETE; setting it to NULL restores a record",
                when: "NEW.deleted_at IS NOT NULL AND NEW.deleted_at IS NOT \(old("deleted_at"))"),
            Check(
                condition: "\(old("deleted_at")) IS NOT NULL AND NEW.deleted_at IS NOT NULL",
                refusal: "record_deleted: \(schema.name).id: this id is a deleted record's; restore that first (SET deleted_at = NULL)"),
        ]
        for column in readOnlyColumns where column != "deleted_at" {
            checks.append(
                check(
                    column, .readOnly, "is set by the system",
                    when: "NEW.\"\(column)\" IS NOT NULL AND NEW.\"\(column)\" IS NOT \(old(column))"))
        }
        for field in fields {
            let new = "NEW.\"\(field.name)\""
            let was = old(field.name)
            func changed(_ condition: String) -> String { "\(new) IS NOT \(was) AND (\(condition))" }
            checks += valueChecks(field, new).map { Check(condition: changed($0.condition), refusal: $0.refusal) }
            if let required = requiredCheck(field, new), !isReplacement || field.defaultValue == nil {
                checks.append(Check(condition: changed(required.condition), refusal: required.refusal))
            }
            switch field.policy {
            case .serverAssigned: checks.append(serverAssignedCheck(field, new, was, old, isReplacement))
            case .writeOnce:
                checks.append(
                    check(
                        field.name, .immutable, "is set once, when the record is created",
                        when: changed(isReplacement ? "\(new) IS NOT NULL" : "1")))
            case .transition: checks += transitionChecks(field, new, was)
            default: break
            }
        }
        return checks
    }

    /// Arguments of transitions are kept in fields that only the server sets; together with the move they may be named.
    private func serverAssignedCheck(
        _ field: FieldSchema, _ new: String, _ was: String, _ old: (String) -> String, _ isReplacement: Bool
    ) -> Check {
        var condition = "\(new) IS NOT \(was)\(isReplacement ? " AND \(new) IS NOT NULL" : "")"
        let takers = (schema.machine?.transitions ?? []).filter { $0.arguments.contains { $0.field == field.name } }
        if let machine = schema.machine, !takers.isEmpty {
            let states = takers.map { quoted($0.to) }.joined(separator: ", ")
            condition += " AND NOT (NEW.\"\(machine.field)\" IS NOT \(old(machine.field)) AND NEW.\"\(machine.field)\" IN (\(states)))"
        }
        return check(field.name, .readOnly, "is set by the server", when: condition)
    }

    private func transitionChecks(_ field: FieldSchema, _ new: String, _ was: String) -> [Check] {
        guard let machine = schema.machine else { return [] }
        var clear: [String] = []
        var ambiguous: [String] = []
        var online: [String] = []
        var unsaid: [Check] = []
        for from in machine.states {
            for to in machine.states where to != from {
                let pair = quoted("\(from)>\(to)")
                let ways = CapturedMove.ways(machine, from: from, to: to)
                switch ways.count {
                case 0: break
                case 1:
                    if ways[0].mode == .online { online.append(pair) } else { clear.append(pair) }
                    for name in ways[0].arguments.filter(\.isRequired).compactMap(\.field) {
                        unsaid.append(
                            check(
                                name, .required, "is required to move from \(from) to \(to): set it in the same statement",
                                when: "\(new) IS NOT \(was) AND \(was) || '>' || \(new) = \(pair) AND NEW.\"\(name)\" IS NULL"))
                    }
                default: ambiguous.append(pair)
                }
            }
        }
        let move = "\(was) || '>' || \(new)"
        let isMove = "\(new) IS NOT \(was) AND \(new) IS NOT NULL AND "
        func listed(_ pairs: [String]) -> String { pairs.isEmpty ? "0" : "\(move) IN (\(pairs.joined(separator: ", ")))" }
        return [
            check(field.name, .onlineOnly, "changes this way only with a connection to the server", when: isMove + listed(online)),
            check(
                field.name, .unknownTransition, "can move there in several ways; name the transition instead",
                when: isMove + listed(ambiguous)),
            check(
                field.name, .unknownTransition, "has no transition from the present state to this one",
                when: isMove + "NOT \(listed(clear))"),
        ] + unsaid
    }

    /// What a text may have nothing but, as SQL. A function takes 127 arguments.
    private static let invisible = {
        let scalars = TextNormalization.invisibleScalars.map { String($0) }
        return stride(from: 0, to: scalars.count, by: 100).map { start in
            "char(\(scalars[start..<min(start + 100, scalars.count)].joined(separator: ", ")))"
        }.joined(separator: " || ")
    }()

    private func requiredCheck(_ field: FieldSchema, _ new: String) -> Check? {
        guard field.isRequired, field.isWritable || field.policy == .transition else { return nil }
        let isEmpty = field.type.storage == .text ? " OR trim(\(new), \(Self.invisible)) = ''" : ""
        return check(field.name, .required, "is required", when: "\(new) IS NULL\(isEmpty)")
    }

    /// What is wrong with the value whatever it replaces. NULL passes.
    private func valueChecks(_ field: FieldSchema, _ new: String) -> [Check] {
        let name = field.name
        switch field.type {
        case .text(let range): return textChecks(name, new, range.upperBound, minimum: range.lowerBound)
        case .rich(let maximum), .slug(let maximum): return textChecks(name, new, maximum)
        case .email: return textChecks(name, new, 254)
        case .phone: return textChecks(name, new, 40)
        case .url: return textChecks(name, new, 2_000)
        case .currency: return textChecks(name, new, 3)
        case .timeZone, .hex64: return textChecks(name, new, 64)
        case .integer(let range), .money(let range), .quantity(let range), .basisPoints(let range):
            return numberChecks(name, new, range)
        case .counter: return numberChecks(name, new, Int64.min...Int64.max)
        case .bool: return numberChecks(name, new, 0...1)
        case .date:
            // Written as people write it, it is turned into days when it is sealed.
            return [
                check(
                    name, .invalidFormat, "is a date (days since 1970-01-01, or YYYY-MM-DD)",
                    when: "\(new) IS NOT NULL AND typeof(\(new)) <> 'integer' AND \(new) IS NOT date(\(new))")
            ]
        case .instant:
            return [
                check(
                    name, .invalidFormat, "is milliseconds since 1970 UTC", when: "typeof(\(new)) NOT IN ('integer', 'null')")
            ]
        case .choice(let choices), .anyReferenceEntity(let choices):
            let list = choices.map { quoted($0) }.joined(separator: ", ")
            return [
                check(
                    name, .invalidChoice, "is one of \(choices.joined(separator: ", "))",
                    when: "\(new) IS NOT NULL AND \(new) NOT IN (\(list))")
            ]
        case .reference, .anyReferenceID:
            return [
                check(
                    name, .invalidFormat, "is the id of another record",
                    when: "\(new) IS NOT NULL AND (length(\(new)) <> 36 OR \(new) NOT GLOB '????????-????-????-????-????????????')")
            ]
        case .set: return jsonChecks(name, new, "a JSON array of texts", type: "array")
        case .map, .address: return jsonChecks(name, new, "a JSON object", type: "object")
        case .json: return jsonChecks(name, new, "JSON", type: nil)
        case .anyReference: return []
        }
    }

    private func textChecks(_ name: String, _ new: String, _ maximum: Int, minimum: Int = 0) -> [Check] {
        var checks = [
            check(
                name, .invalidFormat, "is a text without NUL characters",
                when: "typeof(\(new)) NOT IN ('text', 'null') OR instr(\(new), char(0)) > 0"),
            check(name, .tooLong, "has at most \(maximum) characters", when: "length(trim(\(new))) > \(maximum)"),
        ]
        if minimum > 1 {
            checks.append(
                check(
                    name, .tooShort, "has at least \(minimum) characters",
                    when: "length(trim(\(new))) BETWEEN 1 AND \(minimum - 1)"))
        }
        return checks
    }

    private func numberChecks(_ name: String, _ new: String, _ range: ClosedRange<Int64>) -> [Check] {
        var checks = [
            check(name, .invalidFormat, "is a whole number", when: "typeof(\(new)) NOT IN ('integer', 'null')")
        ]
        if range != Int64.min...Int64.max {
            checks.append(
                check(
                    name, .outOfRange, "is between \(range.lowerBound) and \(range.upperBound)",
                    when: "\(new) NOT BETWEEN \(range.lowerBound) AND \(range.upperBound)"))
        }
        return checks
    }

    private func jsonChecks(_ name: String, _ new: String, _ what: String, type: String?) -> [Check] {
        var condition = "NOT json_valid(\(new))"
        if let type { condition += " OR json_type(\(new)) <> '\(type)'" }
        return [
            check(
                name, .invalidFormat, "is \(what)",
                when: "\(new) IS NOT NULL AND CASE WHEN json_valid(\(new)) THEN \(condition) ELSE 1 END")
        ]
    }
}

/// A change of state by plain SQL: which transition it can mean.
enum CapturedMove {
    static func ways(_ machine: StateMachine, from: String, to: String) -> [Transition] {
        machine.transitions.filter { transition in
            transition.to == to && transition.from.contains(from)
                // An argument that no field keeps cannot be said by plain SQL.
                && transition.arguments.allSatisfy { !$0.isRequired || $0.field != nil }
                && !transition.grantees.allSatisfy { $0 == .system }
        }
    }
}
