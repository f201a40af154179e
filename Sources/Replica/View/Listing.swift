// Lists: filters, order and pages, as SQL over the typed table.

import SyncProtocol

public struct Filter: Sendable, Hashable {
    public enum Operator: String, Sendable, CaseIterable {
        case equal = "="
        case notEqual = "!="
        case less = "<"
        case lessOrEqual = "<="
        case greater = ">"
        case greaterOrEqual = ">="
        /// A text that contains it (ASCII capitals ignored), a set that has it as element, a reference to a record whose title
        /// contains it.
        case contains = "~"
    }

    /// A field, a common column such as `updated_at`, one part of a map or an address as `custom.key`, or `pending`: whether the
    /// record shows something that is not confirmed yet.
    public var field: String
    public var comparison: Operator
    /// In any form the field accepts, e.g. an ISO date for a date. Null only with `=` and `!=`.
    public var value: JSONValue

    public init(_ field: String, _ comparison: Operator, _ value: JSONValue) {
        self.field = field
        self.comparison = comparison
        self.value = value
    }
}

public struct Sort: Sendable, Hashable {
    public var field: String
    public var isDescending: Bool

    public init(_ field: String, descending: Bool = false) {
        self.field = field
        isDescending = descending
    }
}

public struct RecordList: Sendable {
    public let data: [Record]
    /// All records that pass the filters, on whatever page.
    public let total: Int
    public let hasMore: Bool
    public let nextCursor: String?
}

struct Listing {
    static let limitMax = 10_000

    private let store: Store
    private let table: RecordTable
    private let sort: Sort
    private var conditions: [String] = []
    private var bindings: [SQLiteValue] = []

    init(_ store: Store, _ entity: String, _ filters: [Filter], _ sort: Sort?, includingDeleted: Bool) throws {
        guard let table = store.tables[entity] else { throw Self.unknown(entity) }
        self.store = store
        self.table = table
        self.sort = sort ?? Sort("id")
        if !includingDeleted { conditions.append("deleted_at IS NULL") }
        for filter in filters { try add(filter) }
    }

    static func unknown(_ entity: String) -> ReplicaError {
        ReplicaError(.invalidQuery, "there is no entity \(entity)", operation: "read")
    }

    private static func invalid(_ message: String) -> ReplicaError { ReplicaError(.invalidQuery, message, operation: "list") }

    func count() throws -> Int {
        Int(try store.connection.scalarInteger("SELECT count(*) FROM \"\(table.schema.name)\"\(clause(conditions))", bindings) ?? 0)
    }

    func page(limit: Int, offset: Int, cursor: String?) throws -> RecordList {
        guard (1...Self.limitMax).contains(limit), offset >= 0 else {
            throw Self.invalid("limit is 1 to \(Self.limitMax), offset at least 0")
        }
        guard cursor == nil || offset == 0 else { throw Self.invalid("a page is named by a cursor or by an offset, not both") }
        guard sort.field != Self.pending else { throw Self.invalid("pending is for filters, not for sorting") }
        let total = try count()
        let order = try expression(sort.field)
        var conditions = conditions
        var bindings = bindings
        if let cursor { try after(cursor, order, &conditions, &bindings) }
        let direction = sort.isDescending ? "DESC" : "ASC"
        // Records without the value come last either way; the id makes the order total.
        let sql =
            table.select + clause(conditions)
            + " ORDER BY (\(order)) IS NULL, (\(order)) \(direction), id LIMIT \(limit + 1) OFFSET \(offset)"
        var records = try store.connection.query(sql, bindings) { try table.record($0) }
        let hasMore = records.count > limit
        if hasMore { records.removeLast() }
        let next = hasMore ? records.last.map { self.cursor(behind: $0) } : nil
        let data = try records.map { Record($0, isPending: try store.hasBase($0.key)) }
        return RecordList(data: data, total: total, hasMore: hasMore, nextCursor: next)
    }

    private func clause(_ conditions: [String]) -> String { conditions.isEmpty ? "" : " WHERE " + conditions.joined(separator: " AND ") }

    // MARK: Filters

    private static let pending = "pending"
    private static let instants: Set<String> = ["created_at", "updated_at", "deleted_at"]

    /// The SQL of a field. Names come from the schema, except keys of maps, which are checked.
    private func expression(_ name: String) throws -> String {
        if table.parameter[name] != nil, name != RecordTable.extraColumn { return "\"\(name)\"" }
        if let (column, key) = part(name) { return "json_extract(\"\(column)\", '$.\"\(key)\"')" }
        if name == Self.pending {
            return
                "EXISTS (SELECT 1 FROM _tideline_base AS b WHERE b.entity = '\(table.schema.name)' AND b.id = \"\(table.schema.name)\".id)"
        }
        let names = table.schema.fields.filter { !$0.isSecret }.map(\.name) + RowLayout.common
        throw Self.invalid("\(table.schema.name) has no field \(name); fields: \(names.joined(separator: ", "))")
    }

    /// A key of a map, or a part of an address.
    private func part(_ name: String) -> (column: String, key: String)? {
        guard let path = MapPath(name), let field = table.schema.field(path.field), !field.isSecret, Formats.isSlug(path.key) else {
            return nil
        }
        return field.type.isMap || field.type == .address ? (path.field, path.key) : nil
    }

    private mutating func add(_ filter: Filter) throws {
        let expression = try expression(filter.field)
        let field = table.schema.field(filter.field)
        if filter.value.isNull {
            let isEmpty = "((\(expression)) IS NULL" + (field?.type.storage == .textSet ? " OR \(expression) = '[]')" : ")")
            switch filter.comparison {
            case .equal: conditions.append(isEmpty)
            case .notEqual: conditions.append("NOT \(isEmpty)")
            default: throw refuse(filter, "only = and != compare with nothing")
            }
            return
        }
        let parameter = "?\(bindings.count + 1)"
        if let (column, key) = part(filter.field) { return try addPart(filter, column, key, expression, parameter) }
        switch field?.type {
        case .set:
            let has = "EXISTS (SELECT 1 FROM json_each(\(expression)) WHERE json_each.value = \(parameter))"
            switch filter.comparison {
            case .contains, .equal: conditions.append(has)
            case .notEqual: conditions.append("NOT \(has)")
            default: throw refuse(filter, "is a set: ask for one element with ~, = or !=")
            }
            bindings.append(SQLiteValue(json: filter.value))
        case .reference(let target, _) where filter.comparison == .contains:
            guard let text = filter.value.stringValue, let other = store.tables[target], let title = other.schema.titleField else {
                throw refuse(filter, "~ looks for a text")
            }
            conditions.append(
                "EXISTS (SELECT 1 FROM \"\(target)\" AS t WHERE t.id = \"\(table.schema.name)\".\(expression)"
                    + " AND instr(lower(t.\"\(title)\"), lower(\(parameter))) > 0)")
            bindings.append(.text(text))
        case .bool where filter.comparison.isOrder, .reference where filter.comparison.isOrder,
            .anyReferenceID where filter.comparison.isOrder:
            throw refuse(filter, "has no order: use = or !=")
        default:
            if filter.comparison == .contains {
                guard isText(filter.field, field), let text = filter.value.stringValue else {
                    throw refuse(filter, "~ looks into texts and sets; use = != < <= > or >=")
                }
                conditions.append("instr(lower(\(expression)), lower(\(parameter))) > 0")
                bindings.append(.text(text))
                return
            }
            // What is empty is not equal to anything, and so it is unequal to everything.
            let comparison = filter.comparison == .notEqual ? "IS NOT" : filter.comparison.rawValue
            conditions.append("(\(expression)) \(comparison) \(parameter)")
            bindings.append(SQLiteValue(json: try stored(filter, field)))
        }
    }

    /// Values of a map have the type they were given; lists are asked for an element.
    private mutating func addPart(_ filter: Filter, _ column: String, _ key: String, _ expression: String, _ parameter: String) throws {
        let path = "'$.\"\(key)\"'"
        let isList = "json_type(\"\(column)\", \(path)) = 'array'"
        let has = "EXISTS (SELECT 1 FROM json_each(\"\(column)\", \(path)) WHERE json_each.value = \(parameter))"
        switch filter.comparison {
        case .contains:
            guard let text = filter.value.stringValue else { throw refuse(filter, "~ looks for a text") }
            conditions.append("CASE WHEN \(isList) THEN \(has) ELSE instr(lower(\(expression)), lower(\(parameter))) > 0 END")
            bindings.append(.text(text))
        case .equal:
            conditions.append("CASE WHEN \(isList) THEN \(has) ELSE \(expression) = \(parameter) END")
            bindings.append(SQLiteValue(json: filter.value))
        case .notEqual:
            conditions.append("CASE WHEN \(isList) THEN NOT \(has) ELSE \(expression) IS NOT \(parameter) END")
            bindings.append(SQLiteValue(json: filter.value))
        default:
            conditions.append("\(expression) \(filter.comparison.rawValue) \(parameter)")
            bindings.append(SQLiteValue(json: filter.value))
        }
    }

    private func refuse(_ filter: Filter, _ message: String) -> ReplicaError { Self.invalid("\(filter.field): \(message)") }

    private func isText(_ name: String, _ field: FieldSchema?) -> Bool {
        guard let field else { return ["id", "created_by", "deleted_cause"].contains(name) }
        return field.type.storage == .text || field.type.storage == .json
    }

    private func stored(_ filter: Filter, _ field: FieldSchema?) throws -> JSONValue {
        let type: FieldType? =
            if Self.instants.contains(filter.field) { .instant } else if filter.field == Self.pending { .bool } else { field?.type }
        guard let type else { return filter.value }
        // Parts of objects are asked by name; a whole one only as it is written.
        if type.storage == .json { return filter.value }
        do {
            let value = try type.normalized(filter.value)
            return value.isNull ? filter.value : value
        } catch {
            throw Self.invalid("\(filter.field) \(error.message)")
        }
    }

    // MARK: Cursors

    /// Where the next page begins: the order, and the last record's place in it.
    private func cursor(behind record: RecordState) -> String {
        let value = Record(record, isPending: false)[sort.field]
        let place: JSONValue = [
            .string(table.schema.name), .string(sort.field), .bool(sort.isDescending),
            value.isScalar ? value : .string(value.canonicalText),
            .string(record.id.text),
        ]
        return Base64URL.encode(place.canonicalBytes())
    }

    private func after(_ cursor: String, _ order: String, _ conditions: inout [String], _ bindings: inout [SQLiteValue]) throws {
        guard let bytes = Base64URL.decode(cursor), let place = try? JSONValue(parsing: bytes), place[0]?.stringValue == table.schema.name,
            place[1]?.stringValue == sort.field, place[2]?.boolValue == sort.isDescending, let value = place[3],
            let id = place[4]?.stringValue
        else { throw Self.invalid("the cursor belongs to another list") }
        let first = bindings.count + 1
        if value.isNull {
            conditions.append("((\(order)) IS NULL AND id > ?\(first))")
            bindings.append(.text(id))
        } else {
            let beyond = sort.isDescending ? "<" : ">"
            conditions.append(
                "((\(order)) \(beyond) ?\(first) OR ((\(order)) = ?\(first) AND id > ?\(first + 1)) OR (\(order)) IS NULL)")
            bindings += [SQLiteValue(json: value), .text(id)]
        }
    }
}

extension JSONValue {
    var isScalar: Bool {
        switch self {
        case .array, .object: false
        default: true
        }
    }
}

extension Filter.Operator {
    /// Compares sizes.
    fileprivate var isOrder: Bool {
        switch self {
        case .less, .lessOrEqual, .greater, .greaterOrEqual: true
        default: false
        }
    }
}
