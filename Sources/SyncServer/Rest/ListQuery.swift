// The SQL of a list. Rows are in the order of one index that ends with the id, and a page starts at any row of it. A page is found
// on one of two courses, chosen by how many rows match and not by where it begins, so that the thousandth page costs what the first
// one does. Names come from the schema, values are parameters.

import SyncProtocol

struct ListQuery {
    let table: EntityTable
    let list: ListRequest
    let reader: ReaderAccess
    let tenant: Identifier

    /// Conditions beside the tenant, and their parameters from `$1` (the tenant) on.
    private var conditions: [String] = []
    private var parameters: [PostgresValue]
    /// The ids that a look-up found, as SQL: only these rows are read.
    private var source: String?
    /// Look-ups in indexes that only functions can use.
    private var pending: [LookUp] = []
    /// A search that found too much: what it is, and what it found before it gave up. That is enough to count among, where testing
    /// every row would take too long.
    private var wide: (look: LookUp, found: String)?

    /// How the rows of a page are found. Postgres cannot tell: it has no statistics about tenants, and its guess at how many rows match
    /// changes from page to page.
    enum Course {
        /// Along the index of the order, passing over what does not match.
        case walk
        /// Everything that matches, by its own index, and then put in order.
        case sort
    }

    private(set) var course = Course.walk
    /// Whether what matches can be found without looking at every row.
    private var hasIndexedCondition = false

    private struct LookUp {
        var statement: PostgresStatement
        var value: String
        /// It gives up beyond.
        var foundMax: Int
        /// True when testing a row costs much more than finding it.
        var isDear: Bool
        /// SQL for when it found too much, over the parameter of the value.
        var condition: @Sendable (String) -> String
    }

    init(table: EntityTable, list: ListRequest, reader: ReaderAccess, tenant: Identifier) {
        self.table = table
        self.list = list
        self.reader = reader
        self.tenant = tenant
        parameters = [.identifier(tenant)]
        switch list.deleted {
        case .exclude: conditions.append("t.deleted_at IS NULL")
        case .only: conditions.append("t.deleted_at IS NOT NULL")
        case .include: break
        }
        if let words = list.search {
            pending.append(
                LookUp(
                    statement: PostgresStatement(table.findWords, [.text(words)]), value: words, foundMax: EntityTable.foundByWordsMax,
                    isDear: true, condition: { table.matchesWords($0) ?? "false" }))
        }
        for filter in list.filters { add(filter) }
        if reader.rowCondition(of: table.entity, table: "t", parameter: "") != nil {
            let parameter = add(reader.parameter)
            if let condition = reader.rowCondition(of: table.entity, table: "t", parameter: parameter) { conditions.append(condition) }
            if let column = reader.memberColumn(of: table.entity) {
                conditions.append("\(ListQuery.column(column)) = \(add(.identifier(reader.member)))::uuid")
                hasIndexedCondition = true
            }
        }
    }

    private mutating func add(_ value: PostgresValue) -> String {
        parameters.append(value)
        return "$\(parameters.count)"
    }

    private static func column(_ name: String) -> String { "t." + PostgresIdentifier.quoted(name) }

    private mutating func add(_ filter: ListFilter) {
        let column = ListQuery.column(filter.column.name)
        hasIndexedCondition = hasIndexedCondition || ListQuery.isFoundByIndex(filter)
        switch filter.operator {
        case .null:
            conditions.append("\(column) IS \(filter.values[0].boolValue == true ? "" : "NOT ")NULL")
        case .has:
            let element = filter.values[0].stringValue ?? ""
            let condition: @Sendable (String) -> String = { "\(column) @> ARRAY[\($0)::text]" }
            if let field = table.indexedSets.first(where: { $0.name == filter.column.name }) {
                pending.append(
                    LookUp(
                        statement: PostgresStatement(table.findElement(field), [.text(element)]), value: element,
                        foundMax: EntityTable.foundMax, isDear: false, condition: condition))
            } else {
                conditions.append(condition(add(.text(element))))
            }
        case .in:
            let storage = filter.column.type.storage
            let parameter = add(
                storage == .integer
                    ? .integerArray(filter.values.compactMap(\.integerValue)) : .textArray(filter.values.compactMap(\.stringValue)))
            conditions.append("\(column) = ANY(\(parameter)::\(ListQuery.sqlType(storage))[])")
        case .ne:
            // A record without a value is not that value either.
            conditions.append("\(column) IS DISTINCT FROM \(scalar(filter))")
        case .eq: conditions.append("\(column) = \(scalar(filter))")
        case .lt: conditions.append("\(column) < \(scalar(filter))")
        case .lte: conditions.append("\(column) <= \(scalar(filter))")
        case .gt: conditions.append("\(column) > \(scalar(filter))")
        case .gte: conditions.append("\(column) >= \(scalar(filter))")
        }
    }

    private static func isFoundByIndex(_ filter: ListFilter) -> Bool {
        guard !["created_at", "updated_at"].contains(filter.column.name) else { return false }
        return switch filter.operator {
        case .eq, .in, .lt, .lte, .gt, .gte: true
        case .null: filter.values[0].boolValue == true
        case .ne, .has: false
        }
    }

    private mutating func scalar(_ filter: ListFilter) -> String { scalar(filter.values[0], filter.column.type.storage) }

    private mutating func scalar(_ value: JSONValue, _ storage: FieldType.Storage) -> String {
        "\(add(ListQuery.parameter(value)))::\(ListQuery.sqlType(storage))"
    }

    private static func parameter(_ value: JSONValue) -> PostgresValue {
        value.integerValue.map { .integer($0) } ?? .text(value.stringValue ?? "")
    }

    private static func sqlType(_ storage: FieldType.Storage) -> String {
        switch storage {
        case .integer: "bigint"
        case .identifier: "uuid"
        case .text, .textSet, .json: "text"
        }
    }

    // MARK: Look-ups

    var lookUps: [PostgresStatement] { pending.map(\.statement) }

    /// Takes what the look-ups found: ids to choose from, or so many that a filter finds a page of them at once.
    mutating func narrow(by results: [PostgresResult]) {
        for (look, result) in zip(pending, results) {
            guard !result.isEmpty, let ids = result.text(0, 0), let count = result.integer(0, 1) else { continue }
            if count > Int64(look.foundMax) {
                if look.isDear { wide = (look, ids) } else { conditions.append(look.condition(add(.text(look.value)))) }
            } else {
                let parameter = "\(add(.text(ids)))::uuid[]"
                if source == nil { source = parameter } else { conditions.append("t.id = ANY(\(parameter))") }
            }
        }
    }

    /// True when ``count`` may miss some.
    var countsAmongSome: Bool { wide != nil && source == nil }

    /// The search that found too much, as a condition after all.
    private mutating func testWords() { if let wide { conditions.append(wide.look.condition(add(.text(wide.look.value)))) } }

    /// Takes the course on which a page looks at fewer rows. To walk is to look at the rows between those that match, to sort at all
    /// that match.
    /// - Parameters:
    ///   - counted: What ``count`` found.
    ///   - live: Records of the entity.
    mutating func setCourse(counted: Int64, live: Int64) {
        if source != nil {
            course = .sort
        } else if wide != nil || !hasIndexedCondition || counted > Int64(ListRequest.countedMax) {
            course = .walk
        } else {
            let wanted = Int64(list.limit + 1 + list.offset)
            course = counted * counted <= wanted * max(live, counted) ? .sort : .walk
        }
    }

    /// To be run in the same transaction before ``page(after:)``. Without statistics about tenants, sorting all rows of one can look
    /// cheaper than a walk.
    var planning: PostgresStatement {
        PostgresStatement("SELECT set_config('enable_sort', $1, true)", [.text(course == .walk ? "off" : "on")])
    }

    // MARK: Statements

    /// The rows to choose from, as `t`. Ids are probed one by one: without statistics about tenants, walking all rows of one
    /// looks as cheap.
    private var rows: String {
        guard let source else {
            guard course == .sort else { return "\(table.name) t" }
            // OFFSET 0 keeps the order and the page's limit out of how these are found.
            return "(SELECT t.* FROM \(table.name) t WHERE \((["t.tenant = $1::uuid"] + conditions).joined(separator: " AND ")) OFFSET 0) t"
        }
        return """
            (SELECT r.* FROM unnest(\(source)) k(id) CROSS JOIN LATERAL \
            (SELECT c.* FROM \(table.name) c WHERE c.tenant = $1::uuid AND c.id = k.id OFFSET 0) r) t
            """
    }

    /// `(document, id, value sorted on as JSON)`, one row more than the page.
    func page(after place: ListPlace?) -> PostgresStatement {
        var query = self
        query.testWords()
        // Positions rise with the time of the last change, and have an index.
        let sorted = list.sort.name == "updated_at" ? "position" : list.sort.name
        let column = ListQuery.column(sorted)
        let (direction, beyond) = list.isDescending ? ("DESC", "<") : ("ASC", ">")
        let document = reader.hidesRestricted ? table.fieldRoleDocument : table.document
        let storage: FieldType.Storage = sorted == "position" ? .integer : list.sort.type.storage
        let limit = query.add(.integer(Int64(list.limit) + 1))

        let offset = list.offset > 0 ? " OFFSET \(query.add(.integer(Int64(list.offset))))::bigint" : ""
        /// Rows of one part of the order, from after a row of it.
        func part(_ number: Int, _ condition: String?, order: String) -> String {
            let filters = course == .sort && source == nil ? [] : query.conditions
            let all = (["t.tenant = $1::uuid"] + filters + [condition].compactMap { $0 }).joined(separator: " AND ")
            return """
                (SELECT \(number) AS part, t.id, \(column) AS value, \(document) AS document FROM \(rows) WHERE \(all) \
                ORDER BY \(order) LIMIT \(limit)::bigint\(offset))
                """
        }
        let byID = "t.id \(direction)"
        let value = "CASE WHEN value IS NULL THEN NULL ELSE to_json(value)::text END"

        if sorted == "id" {
            let condition = place.map { "t.id \(beyond) \(query.scalar(.string($0.id.text), .identifier))" }
            return query.statement("SELECT document, id, \(value) FROM \(part(0, condition, order: byID)) p ORDER BY p.id \(direction)")
        }
        let order = "\(column) \(direction), \(byID)"
        let outer = "ORDER BY p.part, p.value \(direction), p.id \(direction)"
        guard course == .walk, sorted != "position", list.offset == 0 else {
            // The database orders everything, nulls as Postgres does: last, or first when descending.
            let condition = place.map { place in
                // Every record has a position; asking whether it has would keep the index from being entered there.
                sorted == "position"
                    ? query.after(place, column, storage, beyond)
                    : query.after(place, column, storage, beyond, isDescending: list.isDescending)
            }
            return query.statement("SELECT document, id, \(value) FROM \(part(0, condition, order: order)) p \(outer)")
        }
        // Records without a value come last ascending and first descending; each part is one walk along the index.
        let isAmongNulls = place.map(\.value.isNull) ?? false
        var nullCondition = "\(column) IS NULL"
        if isAmongNulls, let place { nullCondition += " AND t.id \(beyond) \(query.scalar(.string(place.id.text), .identifier))" }
        var valueCondition = "\(column) IS NOT NULL"
        if let place, !isAmongNulls { valueCondition = query.after(place, column, storage, beyond) }
        let nullPart = list.isDescending ? 0 : 1
        var parts: [String] = []
        if list.isDescending ? (place == nil || isAmongNulls) : true { parts.append(part(nullPart, nullCondition, order: order)) }
        if list.isDescending ? true : !isAmongNulls { parts.append(part(1 - nullPart, valueCondition, order: order)) }
        return query.statement(
            "SELECT document, id, \(value) FROM (\(parts.joined(separator: " UNION ALL "))) p \(outer) LIMIT \(limit)::bigint")
    }

    /// Beyond a row in the order of value and id: a range of the index, and the id among equals.
    private mutating func after(_ place: ListPlace, _ column: String, _ storage: FieldType.Storage, _ beyond: String) -> String {
        let id = scalar(.string(place.id.text), .identifier)
        // Where a filter leaves one value, the index is entered at the id; asked for both, Postgres would begin at the value's first row.
        if list.filters.contains(where: { $0.operator == .eq && $0.column.name == list.sort.name }) { return "t.id \(beyond) \(id)" }
        let value = scalar(place.value, storage)
        return "(\(column), t.id) \(beyond) (\(value), \(id))"
    }

    /// The same in an order in which records without a value come last, or first when it descends.
    private mutating func after(
        _ place: ListPlace, _ column: String, _ storage: FieldType.Storage, _ beyond: String, isDescending: Bool
    ) -> String {
        guard place.value.isNull else {
            let condition = after(place, column, storage, beyond)
            return isDescending ? condition : "(\(condition) OR \(column) IS NULL)"
        }
        let condition = "\(column) IS NULL AND t.id \(beyond) \(scalar(.string(place.id.text), .identifier))"
        return isDescending ? "(\(condition) OR \(column) IS NOT NULL)" : condition
    }

    /// How many there are, up to ``ListRequest/countedMax`` and one.
    var count: PostgresStatement {
        var query = self
        if countsAmongSome, let wide {
            query.source = "\(query.add(.text(wide.found)))::uuid[]"
        } else {
            query.testWords()
        }
        let limit = query.add(.integer(Int64(ListRequest.countedMax) + 1))
        let all = (["t.tenant = $1::uuid"] + query.conditions).joined(separator: " AND ")
        return query.statement("SELECT count(*) FROM (SELECT 1 FROM \(query.rows) WHERE \(all) LIMIT \(limit)::bigint) counted")
    }

    private func statement(_ sql: String) -> PostgresStatement { PostgresStatement(sql, parameters) }
}
