// The query of a list, judged against the schema: every parameter is known, and every value is of its field's type.

import SyncProtocol

/// One condition on one field.
struct ListFilter: Hashable, Sendable {
    enum Operator: String, Sendable, CaseIterable {
        case eq, ne, lt, lte, gt, gte
        /// One of several, separated by commas.
        case `in`
        /// A set that contains the element.
        case has
        /// Whether there is a value: `true` for none.
        case null
    }

    var column: ListColumn
    var `operator`: Operator
    /// In stored form; one unless the operator takes several.
    var values: [JSONValue]
}

/// What lists sort and filter on.
struct ListColumn: Hashable, Sendable {
    var name: String
    var type: FieldType
    var isNullable: Bool
    var isSortable: Bool

    var operators: [ListFilter.Operator] {
        switch type.storage {
        case .integer: [.eq, .ne, .lt, .lte, .gt, .gte, .in] + (isNullable ? [.null] : [])
        case .text, .identifier: [.eq, .ne, .in] + (isNullable ? [.null] : [])
        case .textSet: [.has]
        case .json: []
        }
    }

    /// All that lists of an entity can sort and filter on, for a reader.
    static func all(of entity: EntitySchema, hiding: (FieldSchema) -> Bool) -> [ListColumn] {
        var columns = [
            ListColumn(name: "id", type: .reference(entity.name, onDelete: .restrict), isNullable: false, isSortable: true),
            ListColumn(name: "created_at", type: .instant, isNullable: false, isSortable: false),
            // In order of their last change, which is that of positions.
            ListColumn(name: "updated_at", type: .instant, isNullable: false, isSortable: true),
        ]
        for field in entity.fields where !hiding(field) {
            let isReference = field.type.storage == .identifier
            guard field.isIndexed || isReference || field.uniqueWith != nil, field.type.storage != .json else { continue }
            if case .text = field.type.storage, !field.isIndexed && field.uniqueWith == nil { continue }
            columns.append(
                ListColumn(
                    name: field.name, type: field.type, isNullable: !field.isRequired, isSortable: EntityTable.isSortable(field)))
        }
        return columns
    }
}

struct ListRequest: Sendable {
    static let limitDefault = 50
    static let limitMax = 200
    static let offsetMax = 10_000
    static let filtersMax = 100
    static let valuesMax = 100
    static let searchCharactersMax = 200
    /// Matches are counted up to here.
    static let countedMax = 10_000
    /// Of the records on a page; it ends with the one that passes it.
    static let pageBytesMax = 16 << 20

    var limit = ListRequest.limitDefault
    var offset = 0
    var cursor: String?
    var sort: ListColumn
    var isDescending = false
    var filters: [ListFilter] = []
    /// Words as a query of the database.
    var search: String?
    var deleted = DeletedRecords.exclude

    /// True when only `deleted` rows are left out, so that the number of live records is the total.
    var isUnfiltered: Bool { filters.isEmpty && search == nil && deleted == .exclude }

    /// Throws `bad_request` that names the parameter; `forbidden` for a field that others may sort and filter on.
    init(_ query: [(name: String, value: String)], entity: EntitySchema, hiding: (FieldSchema) -> Bool) throws(ErrorReply) {
        let columns = ListColumn.all(of: entity, hiding: hiding)
        sort = columns[0]
        let withheld = Set(ListColumn.all(of: entity) { $0.isSecret }.map(\.name)).subtracting(columns.map(\.name))
        var seen: Set<String> = []
        for (name, value) in query {
            // Two conditions on one field are a range; everything else comes once.
            let isFilter = !["limit", "offset", "cursor", "sort", "q", "deleted"].contains(name)
            if !isFilter, !seen.insert(name).inserted { throw Self.refuse(name, "comes once") }
            switch name {
            case "limit": limit = Int(try Self.number(name, value, 1...Int64(Self.limitMax)))
            case "offset": offset = Int(try Self.number(name, value, 0...Int64(Self.offsetMax)))
            case "cursor": cursor = value
            case "sort":
                isDescending = value.hasPrefix("-")
                let field = String(isDescending ? value.dropFirst() : value[...])
                if withheld.contains(field) { throw Self.forbid(name, field) }
                guard let column = columns.first(where: { $0.name == field && $0.isSortable }) else {
                    let sortable = columns.filter(\.isSortable).map(\.name)
                    throw Self.refuse(
                        name, "is one of \(sortable.joined(separator: ", ")), with - before it for descending order", sortable)
                }
                sort = column
            case "q":
                guard TextNormalization.scalarCount(value) <= Self.searchCharactersMax else {
                    throw Self.refuse(name, "has at most \(Self.searchCharactersMax) characters")
                }
                guard entity.fields.contains(where: { $0.isSearchable && !hiding($0) }) else {
                    throw Self.refuse(name, "does not apply: \(entity.name) has no searched fields")
                }
                guard let words = EntityTable.searchQuery(TextNormalization.singleLine(value)) else {
                    throw Self.refuse(name, "has at least one letter or digit")
                }
                search = words
            case "deleted": deleted = try DeletedRecords(value)
            default:
                guard filters.count < Self.filtersMax else { throw Self.refuse(name, "is one filter too many; at most \(Self.filtersMax)") }
                let field = String(name.prefix { $0 != "[" })
                if withheld.contains(field) { throw Self.forbid(name, field) }
                filters.append(try Self.filter(name, value, columns))
            }
        }
        if cursor != nil, seen.contains("offset") { throw Self.refuse("offset", "does not go with cursor; use one of them") }
    }

    private static func filter(_ name: String, _ value: String, _ columns: [ListColumn]) throws(ErrorReply) -> ListFilter {
        var field = name[...]
        var operation: ListFilter.Operator?
        if name.hasSuffix("]"), let open = name.firstIndex(of: "[") {
            field = name[..<open]
            let word = String(name[name.index(after: open)...].dropLast())
            guard let known = ListFilter.Operator(rawValue: word) else {
                let all = ListFilter.Operator.allCases.map(\.rawValue)
                throw refuse(name, "has no operator \(word); there are \(all.joined(separator: ", "))", all)
            }
            operation = known
        }
        guard let column = columns.first(where: { $0.name == field }), let usual = column.operators.first else {
            let names = columns.filter { !$0.operators.isEmpty }.map(\.name)
            throw refuse(name, "is neither a parameter of lists nor a field to filter on: \(names.joined(separator: ", "))", names)
        }
        let chosen = operation ?? usual
        guard column.operators.contains(chosen) else {
            let all = column.operators.map(\.rawValue)
            throw refuse(name, "\(field) is filtered with \(all.joined(separator: ", "))", all)
        }
        switch chosen {
        case .null:
            guard value == "true" || value == "false" else { throw refuse(name, "is true or false") }
            return ListFilter(column: column, operator: .null, values: [.bool(value == "true")])
        case .in:
            let parts = value.split(separator: ",", omittingEmptySubsequences: false)
            guard parts.count <= valuesMax else { throw refuse(name, "has at most \(valuesMax) values") }
            var values: [JSONValue] = []
            for part in parts { values.append(try stored(String(part), column.type, name)) }
            return ListFilter(column: column, operator: .in, values: values)
        default:
            return ListFilter(column: column, operator: chosen, values: [try stored(value, column.type, name)])
        }
    }

    /// The stored form of a value in a query: dates and instants also in ISO 8601, booleans also as words.
    private static func stored(_ text: String, _ type: FieldType, _ name: String) throws(ErrorReply) -> JSONValue {
        let raw: JSONValue
        let type = if case .set(let element, _) = type { element } else { type }
        switch type {
        case .bool where text == "true" || text == "false": raw = .bool(text == "true")
        case .integer, .money, .quantity, .basisPoints, .counter, .bool: raw = wholeNumber(text) ?? .string(text)
        case .date, .instant: raw = wholeNumber(text) ?? .string(text)
        default: raw = .string(text)
        }
        do {
            let value = try type.normalized(raw)
            guard !value.isNull else { throw refuse(name, "is empty; records without a value are found with [null]=true") }
            return value
        } catch let error as ValueRefusal {
            throw refuse(name, error.message)
        } catch let error as ErrorReply {
            throw error
        } catch {
            throw refuse(name, "cannot be read")
        }
    }

    private static func wholeNumber(_ text: String) -> JSONValue? {
        Decimals.parse(text, scale: 0).map { .integer($0) }
    }

    private static func number(_ name: String, _ text: String, _ range: ClosedRange<Int64>) throws(ErrorReply) -> Int64 {
        guard let number = Decimals.parse(text, scale: 0), range.contains(number) else {
            throw refuse(name, "is a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    private static func forbid(_ name: String, _ field: String) -> ErrorReply {
        ErrorReply(.forbidden, "\(name): your role is not shown \(field)", details: ["parameter": .string(name)])
    }

    static func refuse(_ name: String, _ message: String, _ choices: [String] = []) -> ErrorReply {
        var details: JSONObject = ["parameter": .string(name)]
        if !choices.isEmpty { details["choices"] = .array(choices.map { .string($0) }) }
        return ErrorReply(.badRequest, "\(name): \(message)", details: details)
    }

    // MARK: Cursor

    /// What a cursor belongs to: it goes on with the same list only.
    func fingerprint(of entity: EntitySchema) -> String {
        var parts = [entity.name, sort.name, isDescending ? "-" : "+", deleted.rawValue, search ?? ""]
        for filter in filters {
            parts.append("\(filter.column.name) \(filter.operator.rawValue) \(JSONValue.array(filter.values).canonicalText)")
        }
        let text = JSONValue.array(parts.map { .string($0) }).canonicalBytes()
        return String(Hex.encode(SHA256.hash(text)).prefix(16))
    }
}

/// The row after which a page begins.
struct ListPlace: Hashable, Sendable {
    /// Of the field that the list is sorted on; for `updated_at` the position.
    var value: JSONValue
    var id: Identifier

    private static let format = "list1"

    func sealed(_ seal: CursorSeal, tenant: Identifier, fingerprint: String) -> String {
        let parts: JSONValue = [.string(ListPlace.format), .string(tenant.text), .string(fingerprint), value, .string(id.text)]
        return seal.seal(parts.canonicalBytes())
    }

    /// Throws `invalid_cursor`.
    init(_ text: String, _ seal: CursorSeal, tenant: Identifier, fingerprint: String) throws(ErrorReply) {
        let bytes = try seal.open(text)
        guard let parts = (try? JSONValue(parsing: bytes))?.arrayValue, parts.count == 5, parts[0] == .string(ListPlace.format),
            parts[1] == .string(tenant.text), let id = parts[4].stringValue.flatMap({ Identifier($0) })
        else { throw seal.invalid }
        guard parts[2] == .string(fingerprint) else {
            throw ErrorReply(
                .invalidCursor, "this cursor belongs to another list: keep sort, filters, q and deleted as they were",
                details: ["parameter": "cursor"])
        }
        value = parts[3]
        self.id = id
    }

    init(value: JSONValue, id: Identifier) {
        self.value = value
        self.id = id
    }
}
