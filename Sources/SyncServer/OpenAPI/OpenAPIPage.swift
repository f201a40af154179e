// `GET /v1/docs`: the same document for people, one page of HTML that loads nothing else and needs no script. A guide first, then
// every entity with its requests, states and fields, then what is beside records.

import SyncProtocol

struct OpenAPIPage {
    let document: OpenAPIDocument

    init(_ document: OpenAPIDocument) { self.document = document }

    private var entities: [EntitySchema] { document.schema.entities.filter(\.isServed) }

    private static let beside: [(id: String, title: String, isIn: @Sendable (String) -> Bool)] = [
        ("timeline", "Timeline", { $0 == "/v1/activity" }), ("reports", "Reports", { $0.hasPrefix("/v1/reports") }),
        ("consumers", "Consumers", { $0.hasPrefix("/v1/consumers") }),
        ("sync", "Sync", { $0.hasPrefix("/v1/sync") || $0 == "/v1/enroll" }), ("server", "Server", { _ in true }),
    ]

    var html: String {
        let guide = PageGuide(document: document).sections
        func links(_ all: [(id: String, title: String)]) -> String {
            "<ul>" + all.map { "<li><a href=\"#\($0.id)\">\(HTMLText.escaped($0.title))</a></li>" }.joined() + "</ul>"
        }
        return """
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
            <title>Tideline API</title><style>\(HTMLText.style)</style></head><body>
            <nav id="index"><h1>Tideline API</h1><p>Version \(HTMLText.escaped(Configuration.version))</p>
            \(links(guide.map { ($0.id, $0.title) }))
            <h2>Records</h2>\(links(entities.map { ($0.name, $0.name) }))
            <h2>Beside records</h2>\(links(OpenAPIPage.beside.map { ($0.id, $0.title) }))
            <p>For programs: <a href="/v1/openapi.json">openapi.json</a>, <a href="/v1/schema">schema</a></p></nav>
            <main>\(guide.map { section($0.id, $0.title, $0.html) }.joined())\(entities.map(section).joined())\(besideRecords)</main>
            <a class="index" href="#index">Index</a></body></html>
            """
    }

    private func section(_ id: String, _ title: String, _ html: String) -> String {
        "<section id=\"\(id)\"><h2>\(HTMLText.escaped(title))</h2>\(html)</section>"
    }

    // MARK: Entities

    private func section(_ entity: EntitySchema) -> String {
        let described = EntityPaths(entity: entity)
        let operations = described.paths.flatMap { path, item in
            ["get", "post", "patch", "delete"].compactMap { method in
                item[method].map { operation(method.uppercased(), path, $0, entity) }
            }
        }
        return section(
            entity.name, entity.name,
            about(entity) + operations.joined() + "<h3>Fields</h3>"
                + HTMLText.table(["field", "type", "limits", "notes"], fields(of: entity)) + states(of: entity))
    }

    /// Who may do what to it.
    private func about(_ entity: EntitySchema) -> String {
        let operations: [(AccessOperation, String)] = [
            (.read, "read"), (.create, "create"), (.update, "change"), (.delete, "delete"), (.restore, "restore"),
        ]
        let rows = Role.allCases.map { role in
            let may = operations.filter { entity.allows($0.0, role) }.map(\.1).joined(separator: ", ")
            var words = may.isEmpty ? "nothing that is not their own" : may
            if role == .field, let owner = entity.ownerField { words += "; more with records that name them as `\(owner)`" }
            return [HTMLText.code(role.rawValue), HTMLText.prose(words)]
        }
        return HTMLText.paragraph("What each role may do, as far as it sees the record and a request exists:")
            + HTMLText.table(["role", "may"], rows)
    }

    private func fields(of entity: EntitySchema) -> [[String]] {
        entity.fields.filter { !$0.isSecret }.map { field -> [String] in
            var notes: [String] = [field.policy.rawValue.split(separator: "_").joined(separator: " ")]
            if field.isRequired { notes.append("required") }
            if field.isIndexed { notes.append(EntityTable.isSortable(field) ? "filter, sort" : "filter") }
            if field.isSearchable { notes.append("searched") }
            if field.isRestricted { notes.append("not for role field") }
            if let value = field.defaultValue { notes.append("default \(value.canonicalText)") }
            let limits = field.json["references"].map { _ in field.referencedEntities.joined(separator: ", ") } ?? limits(field)
            return [
                HTMLText.code(field.name), HTMLText.escaped(field.type.name), HTMLText.escaped(limits),
                HTMLText.escaped(notes.joined(separator: "; ")),
            ]
        }
    }

    private func limits(_ field: FieldSchema) -> String {
        guard let object = field.json.objectValue else { return "" }
        var parts: [String] = []
        for name in ["min", "max", "min_length", "max_length", "min_count", "max_count"] {
            if let value = object[name]?.integerValue, value != .min, value != .max, !(name.hasPrefix("min_") && value == 0) {
                parts.append("\(name.split(separator: "_").joined(separator: " ")) \(value)")
            }
        }
        if let choices = object["choices"]?.arrayValue { parts.append(choices.compactMap(\.stringValue).joined(separator: ", ")) }
        return parts.joined(separator: ", ")
    }

    private func states(of entity: EntitySchema) -> String {
        guard let machine = entity.machine else { return "" }
        let rows = machine.transitions.map { transition in
            [
                HTMLText.code(transition.name), HTMLText.codes(transition.from), HTMLText.code(transition.to),
                HTMLText.codes(transition.arguments.map { $0.isRequired ? $0.name : $0.name + "?" }),
            ]
        }
        return "<h3>States</h3>" + HTMLText.paragraph("`\(machine.field)` begins as `\(machine.initial)` and changes by transitions only.")
            + HTMLText.table(["transition", "from", "to", "arguments"], rows)
    }

    // MARK: Beside records

    private var besideRecords: String {
        let paths =
            Route.all.map { ($0.method, "/" + $0.path.joined(separator: "/")) } + ConsumerPaths.all.map { ($0.method, $0.path) }
            + ReportPaths.all(document.schema).map { ("GET", $0.path) }
        return OpenAPIPage.beside.map { group in
            let own = paths.filter { _, path in OpenAPIPage.beside.first { $0.isIn(path) }?.id == group.id }
            return section(
                group.id, group.title,
                own.map { operation($0, $1, document.json["paths"]?[$1]?[$0.lowercased()], nil) }.joined())
        }.joined()
    }

    private func operation(_ method: String, _ path: String, _ operation: JSONValue?, _ entity: EntitySchema?) -> String {
        PageOperation(document: document, method: method, path: path, operation: operation ?? .null, entity: entity).html
    }
}
