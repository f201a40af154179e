// `--where 'FIELD OP VALUE'`: any field, its value as a person writes it, turned into the library's filters.

import Foundation
import Replica
import SyncProtocol

/// A condition as it was written.
struct Condition: Sendable, Hashable {
    /// A field, a common column, `custom.key`, `deleted` or `pending`.
    var field: String
    var comparison: Filter.Operator
    var text: String
    /// In quotes: a text, whatever it says.
    var isQuoted: Bool

    static let hint =
        "examples: 'stage = won'  'amount>=1000'  'expected_close < +7d'  'client ~ pier'  'phone = null'; see replica help where"

    /// Spaces around the operator may be left out. `contains` is another word for `~`, `is` for `=`.
    init(_ written: String) throws {
        let trimmed = written.trimmingCharacters(in: .whitespaces)
        let name = trimmed.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || $0 == "." || $0 == "-") }
        let rest = trimmed.dropFirst(name.count).drop { $0 == " " }
        guard !name.isEmpty else { throw UsageError("--where: \"\(written)\" does not begin with a field", hint: Self.hint) }
        field = String(name)
        let symbols = Filter.Operator.allCases.sorted { $0.rawValue.count > $1.rawValue.count }
        let value: Substring
        if let symbol = symbols.first(where: { rest.hasPrefix($0.rawValue) }) {
            comparison = symbol
            let after = rest.dropFirst(symbol.rawValue.count)
            // Programmers double it.
            value = symbol == .equal && after.hasPrefix("=") ? after.dropFirst() : after
        } else if let (word, symbol) = [("contains ", Filter.Operator.contains), ("is not ", .notEqual), ("is ", .equal)].first(where: {
            rest.hasPrefix($0.0)
        }) {
            comparison = symbol
            value = rest.dropFirst(word.count)
        } else {
            throw UsageError(
                "--where: \"\(written)\" has no operator after \(name): use one of \(symbols.map(\.rawValue).sorted().joined(separator: " "))",
                hint: Self.hint)
        }
        let plain = value.trimmingCharacters(in: .whitespaces)
        isQuoted = plain.count >= 2 && (plain.first == "\"" || plain.first == "'") && plain.first == plain.last
        text = isQuoted ? String(plain.dropFirst().dropLast()) : plain
        guard isQuoted || !text.isEmpty else {
            throw UsageError(
                "--where: \"\(written)\" has no value after \(comparison.rawValue)", hint: "for empty fields: '\(name) = null'")
        }
    }

    var isNull: Bool { !isQuoted && ["null", "empty", "nothing"].contains(text.lowercased()) }
}

/// Filters, and whether deleted records are wanted at all.
struct Conditions {
    var filters: [Filter] = []
    var includesDeleted = false
}

extension Context {
    func conditions(_ written: [String], of entity: EntitySchema) async throws -> Conditions {
        var conditions = Conditions()
        for one in written { try await add(try Condition(one), entity, to: &conditions) }
        return conditions
    }

    private static let fieldsOfAll = ["created_at", "created_by", "updated_at", "deleted_at", "id"]

    private func add(_ condition: Condition, _ entity: EntitySchema, to conditions: inout Conditions) async throws {
        let name = condition.field
        if name == "deleted" {
            let wanted = try flag(condition)
            conditions.includesDeleted = true
            conditions.filters.append(Filter("deleted_at", wanted ? .notEqual : .equal, .null))
            return
        }
        if name == "deleted_at" { conditions.includesDeleted = true }
        if name == "pending" {
            conditions.filters.append(Filter(name, .equal, try flag(condition) ? 1 : 0))
            return
        }
        if name == "id", [.equal, .notEqual].contains(condition.comparison), !condition.isNull {
            return conditions.filters.append(Filter(name, condition.comparison, .string(try await identifier(condition, entity).text)))
        }
        // A reference to one of several entities is one word: subject=client:Pier.
        if entity.field(name) == nil, let target = entity.field(name + "_id") {
            try allow([.equal, .notEqual], condition, "a reference")
            let parts = condition.text.split(separator: ":", maxSplits: 1).map(String.init)
            if condition.isNull { return conditions.filters.append(Filter(target.name, condition.comparison, .null)) }
            guard parts.count == 2, target.referencedEntities.contains(parts[0]) else {
                throw UsageError(
                    "--where: \(name) is ENTITY:RECORD, not \"\(condition.text)\"",
                    hint: "entities: \(target.referencedEntities.joined(separator: ", "))")
            }
            conditions.filters.append(Filter(target.name, condition.comparison, .string(try await resolve(parts[0], parts[1]).text)))
            return
        }
        guard let type = try await type(of: name, entity) else {
            let names = entity.fields.filter { !$0.isSecret }.map(\.name)
            let near = Near.names(to: name, in: names + Self.fieldsOfAll + ["deleted", "pending"])
            throw UsageError(
                "\(entity.name) has no field \(name)",
                hint: near.isEmpty
                    ? "fields: \((names + Self.fieldsOfAll).joined(separator: ", "))" : "did you mean \(near.joined(separator: " or "))?")
        }
        if condition.isNull {
            try allow([.equal, .notEqual], condition, "null")
            conditions.filters.append(Filter(name, condition.comparison, .null))
            return
        }
        conditions.filters += try await filters(condition, type, entity)
    }

    /// An id as it is, or as lists show it: the unique beginning or end of one that is here.
    private func identifier(_ condition: Condition, _ entity: EntitySchema) async throws -> Identifier {
        if let whole = Identifier(condition.text) { return whole }
        let part = condition.text.lowercased()
        let isPart = part.utf8.count >= 4 && part.utf8.allSatisfy { $0 == 0x2D || Character(Unicode.Scalar($0)).isHexDigit }
        // A record may be called like a piece of an id.
        guard isPart, case let id = try await record(entity.name, part, includingDeleted: true).id, id.text.contains(part) else {
            throw UsageError(
                "--where: id is a whole id, or at least four characters of its beginning or end as lists show it, not \"\(condition.text)\"",
                hint: "a record by its name: replica show \(entity.name) NAME")
        }
        return id
    }

    /// What a field holds; parts of objects and common columns included. nil when there is no such field.
    private func type(of name: String, _ entity: EntitySchema) async throws -> FieldType? {
        if let field = entity.field(name) { return field.isSecret ? nil : field.type }
        switch name {
        case "created_at", "updated_at", "deleted_at": return .instant
        case "created_by": return .reference("member", onDelete: .restrict)
        case "id", "deleted_cause": return .text(0...200)
        case "position": return .integer(.min ... .max)
        default: break
        }
        guard let dot = name.firstIndex(of: ".") else { return nil }
        let key = String(name[name.index(after: dot)...])
        switch entity.field(String(name[..<dot]))?.type {
        case .address:
            guard Command.addressParts.contains(key) else {
                throw UsageError("--where: an address has no \(key)", hint: "parts: \(Command.addressParts.joined(separator: ", "))")
            }
            return .text(0...2_000)
        case .map(let keys):
            if !keys.isEmpty { return keys.contains(key) ? .text(0...2_000) : nil }
            return try await customType(key, entity)
        default: return nil
        }
    }

    private func filters(_ condition: Condition, _ type: FieldType, _ entity: EntitySchema) async throws -> [Filter] {
        let (name, comparison) = (condition.field, condition.comparison)
        func one(_ value: JSONValue) -> [Filter] { [Filter(name, comparison, value)] }
        func typed() async throws -> JSONValue {
            do { return try FieldText(currency: try await tenantCurrency()).parse(condition.text, as: type, field: name) } catch let
                violation as Violation
            {
                throw UsageError("--where: \(violation.message)")
            }
        }
        switch type {
        case .integer, .counter, .quantity, .basisPoints:
            try allow(.ordering, condition, "a number")
            return one(try await typed())
        case .money:
            try allow(.ordering, condition, "an amount")
            // An amount in a named currency is only found there.
            if entity.field("currency") != nil, case (let amount, let code?)? = MoneyWords.parse(condition.text, currency: nil) {
                return [Filter(name, comparison, .integer(amount)), Filter("currency", .equal, .string(code))]
            }
            return one(try await typed())
        case .date:
            try allow(.ordering, condition, "a date")
            return one(try await typed())
        case .instant:
            try allow(.ordering, condition, "a time")
            return try instants(condition)
        case .bool:
            try allow([.equal, .notEqual], condition, "yes or no")
            return one(try await typed())
        case .choice(let choices), .anyReferenceEntity(let choices):
            try allow([.equal, .notEqual, .contains], condition, "one of a few words")
            guard comparison == .contains || choices.contains(condition.text) else {
                throw UsageError("--where: \(name) is never \"\(condition.text)\"", hint: "it is one of \(choices.joined(separator: ", "))")
            }
            return one(.string(condition.text))
        case .reference(let target, _):
            try allow([.equal, .notEqual, .contains], condition, "a reference")
            return comparison == .contains ? one(.string(condition.text)) : one(.string(try await resolve(target, condition.text).text))
        case .set(let element, _):
            try allow([.equal, .notEqual, .contains], condition, "a set")
            switch element {
            case .reference(let target, _): return one(.string(try await resolve(target, condition.text).text))
            case .choice(let choices) where !choices.contains(condition.text):
                throw UsageError(
                    "--where: \(name) never has \"\(condition.text)\"", hint: "it has some of \(choices.joined(separator: ", "))")
            default: return one(.string(condition.text))
            }
        case .map, .json, .address:
            try allow([.contains], condition, "an object")
            return one(.string(condition.text))
        case .currency: return one(.string(condition.text.uppercased()))
        default: return one(.string(condition.text))
        }
    }

    /// A time, or a whole day of this place.
    private func instants(_ condition: Condition) throws -> [Filter] {
        let (name, moment) = (condition.field, Moment.now)
        func instant(_ day: Int64) -> JSONValue { .integer(Moment.instant(day: day, minutes: 0, in: moment.zone)) }
        if let exact = DateWords.instant(condition.text, moment) { return [Filter(name, condition.comparison, .integer(exact))] }
        guard let day = DateWords.day(condition.text, moment) else {
            throw UsageError(
                "--where: \(name) is a time, not \"\(condition.text)\"", hint: "\(DateWords.timeHint); or a day: 2026-03-16, today, -7d")
        }
        switch condition.comparison {
        case .less, .greaterOrEqual: return [Filter(name, condition.comparison, instant(day))]
        case .lessOrEqual: return [Filter(name, .less, instant(day + 1))]
        case .greater: return [Filter(name, .greaterOrEqual, instant(day + 1))]
        case .equal: return [Filter(name, .greaterOrEqual, instant(day)), Filter(name, .less, instant(day + 1))]
        case .notEqual, .contains:
            throw UsageError("--where: \(name) is a time; a day is compared with = < <= > or >=")
        }
    }

    private func flag(_ condition: Condition) throws -> Bool {
        try allow([.equal, .notEqual], condition, "yes or no")
        do {
            let isSet = try FieldText(currency: nil).parse(condition.text, as: .bool, field: condition.field) == 1
            return isSet == (condition.comparison == .equal)
        } catch let violation as Violation {
            throw UsageError("--where: \(violation.message)")
        }
    }

    private func allow(_ operators: [Filter.Operator], _ condition: Condition, _ what: String) throws {
        guard !operators.contains(condition.comparison) else { return }
        throw UsageError(
            "--where: \(condition.field) is \(what) and cannot be asked with \(condition.comparison.rawValue)",
            hint: "operators for \(condition.field): \(operators.map(\.rawValue).joined(separator: " "))")
    }
}

extension [Filter.Operator] {
    fileprivate static var ordering: Self { [.equal, .notEqual, .less, .lessOrEqual, .greater, .greaterOrEqual] }
}

/// Names that somebody may have meant.
enum Near {
    static func names(to typed: String, in known: [String]) -> [String] {
        let word = typed.lowercased()
        let ranked = known.map { (name: $0, distance: distance(word, $0.lowercased())) }
        let limit = word.count <= 3 ? 1 : max(2, word.count / 3)
        let close = ranked.filter { $0.distance <= limit }.sorted { $0.distance < $1.distance }.map(\.name)
        let begin = known.filter { word.count >= 3 && ($0.hasPrefix(word) || word.hasPrefix($0)) && !close.contains($0) }
        return Array((close + begin).prefix(3))
    }

    /// Letters to change, add or take away.
    private static func distance(_ left: String, _ right: String) -> Int {
        let (from, to) = (Array(left.utf8.prefix(64)), Array(right.utf8.prefix(64)))
        var row = Array(0...to.count)
        for (index, byte) in from.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for (place, other) in to.enumerated() {
                let kept = row[place + 1]
                row[place + 1] = min(diagonal + (byte == other ? 0 : 1), row[place] + 1, kept + 1)
                diagonal = kept
            }
        }
        return row[to.count]
    }
}
