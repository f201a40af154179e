// `GET /v1/docs`: the same document for people, one page of HTML that loads nothing else and needs no script.

import SyncProtocol

struct OpenAPIPage {
    let document: OpenAPIDocument

    init(_ document: OpenAPIDocument) { self.document = document }

    private var entities: [EntitySchema] { document.schema.entities.filter(\.isServed) }

    var html: String {
        let links = entities.map { "<li><a href=\"#\($0.name)\">\(HTMLText.escaped($0.name))</a></li>" }.joined()
        return """
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
            <title>Tideline API</title><style>\(OpenAPIPage.style)</style></head><body>
            <nav><h1>Tideline API</h1><p>Version \(HTMLText.escaped(Configuration.version))</p>
            <ul><li><a href="#requests">Requests</a></li><li><a href="#errors">Errors</a></li></ul>
            <h2>Records</h2><ul>\(links)</ul>
            <h2>Beside records</h2><ul><li><a href="#timeline">Timeline</a></li><li><a href="#consumers">Consumers</a></li>\
            <li><a href="#sync">Sync</a></li><li><a href="#server">Server</a></li></ul>
            <p>For programs: <a href="/v1/openapi.json">openapi.json</a>, <a href="/v1/schema">schema</a></p></nav>
            <main>\(requests)\(errors)\(entities.map(section).joined())\(fixed)</main></body></html>
            """
    }

    // MARK: Parts

    private var requests: String {
        """
        <section id="requests"><h2>Requests</h2>
        <p>Send <code>Authorization: Bearer TOKEN</code>; <code>sync-server token create</code> makes one. Bodies are JSON.
        \(HTMLText.escaped(document.json["info"]?["description"]?.stringValue ?? ""))</p>
        <pre>curl -H "Authorization: Bearer $TOKEN" 'http://127.0.0.1:8080/v1/client?limit=2&amp;sort=-name'
        curl -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -H 'Idempotency-Key: import-17' \\
             -d '{"name":"Harbor Hotel Group"}' http://127.0.0.1:8080/v1/client</pre>
        <p>Lists answer <code>{data, total, has_more, next_cursor, as_of}</code>. <code>limit</code> is 1 to \(ListRequest.limitMax), \
        <code>offset</code> at most \(ListRequest.offsetMax); any further page by <code>cursor</code>.
        A write with <code>If-Match: ETAG</code> is refused with 412 when the record was changed after it was read, and an
        <code>Idempotency-Key</code> makes it safe to send it again.</p></section>
        """
    }

    private var errors: String {
        let statuses = Dictionary(grouping: ErrorCode.allCases, by: \.status).sorted { $0.key < $1.key }
        let rows = statuses.map { [String($0), $1.map { HTMLText.code($0.rawValue) }.joined(separator: " ")] }
        return """
            <section id="errors"><h2>Errors</h2><p><code>{"error":{"code","message","request_id","fields"?}}</code>; every field that \
            is wrong is among <code>fields</code>, with a code of its own. <code>request_id</code> is in the server's log.</p>
            \(HTMLText.table(["status", "code"], rows))</section>
            """
    }

    private var fixed: String {
        let paths = Route.all.map { ($0.method, "/" + $0.path.joined(separator: "/")) } + ConsumerPaths.all.map { ($0.method, $0.path) }
        let groups: [(id: String, title: String, isIn: (String) -> Bool)] = [
            ("timeline", "Timeline", { $0 == "/v1/activity" }), ("consumers", "Consumers", { $0.hasPrefix("/v1/consumers") }),
            ("sync", "Sync", { $0.hasPrefix("/v1/sync") || $0 == "/v1/enroll" }), ("server", "Server", { _ in true }),
        ]
        return groups.map { group in
            let own = paths.filter { _, path in groups.first { $0.isIn(path) }?.id == group.id }
            let operations = own.map { operation($0, $1, document.json["paths"]?[$1]?[$0.lowercased()], nil) }
            return "<section id=\"\(group.id)\"><h2>\(group.title)</h2>\(operations.joined())</section>"
        }.joined()
    }

    private func section(_ entity: EntitySchema) -> String {
        let operations = EntityPaths(entity: entity).paths.flatMap { path, item in
            ["get", "post", "patch", "delete"].compactMap { method in
                item[method].map { operation(method.uppercased(), path, $0, entity) }
            }
        }
        let fields = entity.fields.filter { !$0.isSecret }.map { field -> [String] in
            var notes: [String] = [field.policy.rawValue.split(separator: "_").joined(separator: " ")]
            if field.isRequired { notes.append("required") }
            if field.isIndexed { notes.append("filter, sort") }
            if field.isSearchable { notes.append("searched") }
            if field.isRestricted { notes.append("not for role field") }
            if let value = field.defaultValue { notes.append("default \(value.canonicalText)") }
            let limits = field.json["references"].map { _ in field.referencedEntities.joined(separator: ", ") } ?? limits(field)
            return [
                HTMLText.code(field.name), HTMLText.escaped(field.type.name), HTMLText.escaped(limits),
                HTMLText.escaped(notes.joined(separator: "; ")),
            ]
        }
        return """
            <section id="\(entity.name)"><h2>\(HTMLText.escaped(entity.name))</h2>\(operations.joined())
            <h3>Fields</h3>\(HTMLText.table(["field", "type", "limits", "notes"], fields))</section>
            """
    }

    private func limits(_ field: FieldSchema) -> String {
        guard let object = field.json.objectValue else { return "" }
        var parts: [String] = []
        for name in ["min", "max", "min_length", "max_length", "min_count", "max_count"] {
            if let value = object[name]?.integerValue, value != .min, value != .max {
                parts.append("\(name.split(separator: "_").joined(separator: " ")) \(value)")
            }
        }
        if let choices = object["choices"]?.arrayValue { parts.append(choices.compactMap(\.stringValue).joined(separator: ", ")) }
        return parts.joined(separator: ", ")
    }

    // MARK: Operations

    /// One line, and behind it parameters, body and answers.
    private func operation(_ method: String, _ path: String, _ operation: JSONValue?, _ entity: EntitySchema?) -> String {
        let parameters = (operation?["parameters"]?.arrayValue ?? []).compactMap { resolved($0) }
        let filters = parameters.filter { $0["in"] == "query" && isFilter($0["name"]?.stringValue ?? "", of: entity) }
        let rows = parameters.filter { !filters.contains($0) }.map { parameter in
            [
                HTMLText.code(parameter["name"]?.stringValue ?? ""), parameter["in"]?.stringValue ?? "",
                HTMLText.escaped(words(of: parameter["schema"])), HTMLText.escaped(parameter["description"]?.stringValue ?? ""),
            ]
        }
        var parts: [String] = []
        if let text = operation?["description"]?.stringValue { parts.append("<p>\(HTMLText.escaped(text))</p>") }
        parts.append(HTMLText.table(["parameter", "in", "value", "means"], rows))
        if !filters.isEmpty {
            let names = filters.compactMap { $0["name"]?.stringValue }.map { HTMLText.code($0) }
            parts.append("<p>Filters, each a value of the field's type: \(names.joined(separator: " "))</p>")
        }
        if let body = operation?["requestBody"]?["content"]?["application/json"]?["schema"].map({ resolved($0) ?? $0 }) {
            let alternatives = body["anyOf"]?.arrayValue ?? [body]
            for one in alternatives {
                let title = one["title"]?.stringValue.map { " (\(HTMLText.escaped($0)))" } ?? ""
                let example = one["examples"]?[0]?.canonicalText
                parts.append("<p>Body\(title)\(example == nil ? "." : ", for example")</p>")
                if let example { parts.append("<pre>\(HTMLText.escaped(example))</pre>") }
            }
        }
        let answers = (operation?["responses"]?.objectValue ?? JSONObject()).map { $0.0 }.sorted()
        parts.append("<p>Answers \(answers.map { HTMLText.code($0) }.joined(separator: " "))</p>")
        return """
            <details><summary><b class="\(method.lowercased())">\(method)</b> \(HTMLText.code(path)) \
            <span>\(HTMLText.escaped(operation?["summary"]?.stringValue ?? ""))</span></summary>\(parts.joined())</details>
            """
    }

    private func isFilter(_ name: String, of entity: EntitySchema?) -> Bool {
        entity != nil && !["limit", "offset", "cursor", "sort", "q", "deleted"].contains(name)
    }

    /// What a reference leads to.
    private func resolved(_ value: JSONValue) -> JSONValue? {
        guard let reference = value["$ref"]?.stringValue else { return value }
        var place: JSONValue? = document.json
        for part in reference.dropFirst(2).split(separator: "/") { place = place?[String(part)] }
        return place
    }

    /// A schema in a few words.
    private func words(of schema: JSONValue?) -> String {
        guard let schema else { return "" }
        if let choices = schema["enum"]?.arrayValue {
            let names = choices.map { $0.stringValue ?? $0.canonicalText }
            return names.count > 12 ? "one of \(names.count), such as \(names[0])" : names.joined(separator: ", ")
        }
        if let options = schema["anyOf"]?.arrayValue { return options.map { words(of: $0) }.joined(separator: " or ") }
        var text = schema["format"]?.stringValue ?? schema["const"]?.canonicalText ?? schema["type"]?.stringValue ?? "text"
        if text == "int64" { text = "integer" }
        if let low = schema["minimum"]?.integerValue {
            text += schema["maximum"]?.integerValue.map { " \(low) to \($0)" } ?? " from \(low)"
        }
        if let value = schema["default"] { text += ", default \(value.stringValue ?? value.canonicalText)" }
        return text
    }

    private static let style = """
        :root{--text:#1c2430;--back:#fff;--line:#dfe4ea;--soft:#f4f6f9;--link:#0b5cad}
        body{font:15px/1.55 system-ui,sans-serif;margin:0;color:var(--text);background:var(--back);display:flex}
        nav{position:sticky;top:0;height:100vh;overflow:auto;flex:0 0 13rem;padding:1rem 1.2rem;border-right:1px solid var(--line);box-sizing:border-box}
        nav h1{font-size:1.2rem;margin:.3rem 0}nav h2{font-size:.85rem;margin:1.2rem 0 .3rem;color:#68737f}nav ul{list-style:none;margin:0;padding:0}
        main{flex:1;min-width:0;max-width:62rem;padding:0 2rem 4rem}section{padding-top:1.2rem}h2{margin:.6rem 0}
        details{border:1px solid var(--line);border-radius:6px;margin:.35rem 0;padding:0 .8rem}details[open]{padding-bottom:.6rem}
        summary{cursor:pointer;padding:.45rem 0}summary span{color:#68737f;margin-left:.5rem}
        summary b{display:inline-block;width:4.2rem;font:600 12px ui-monospace,monospace}.get{color:#0b6e4f}.post{color:#0b5cad}.patch{color:#8a5a00}.delete{color:#b3261e}
        table{border-collapse:collapse;width:100%;font-size:14px;margin:.5rem 0}
        th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line)}th{font-weight:600;color:#68737f}
        code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}pre{background:var(--soft);padding:.8rem;overflow:auto;border-radius:6px;font:13px/1.5 ui-monospace,monospace}
        a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
        @media(max-width:50rem){body{display:block}nav{position:static;height:auto;border:0}main{padding:0 1rem 3rem}}
        @media(prefers-color-scheme:dark){:root{--text:#dbe2ea;--back:#12161c;--line:#2b333d;--soft:#1b212a;--link:#7cb8f5}.get{color:#5fd0a5}.post{color:#7cb8f5}.patch{color:#e0b050}.delete{color:#ff8a80}}
        """
}

/// Pieces of HTML.
private enum HTMLText {
    static func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            // Addresses in examples are to be read: nothing on the page looks like something to load.
            case "/" where result.hasSuffix("/"): result += "&#47;"
            default: result.append(character)
            }
        }
        return result
    }

    static func code(_ text: String) -> String { "<code>\(escaped(text))</code>" }

    /// Cells are HTML already. Empty without rows.
    static func table(_ head: [String], _ rows: [[String]]) -> String {
        guard !rows.isEmpty else { return "" }
        let headings = head.map { "<th>\(escaped($0))</th>" }.joined()
        let body = rows.map { "<tr>" + $0.map { "<td>\($0)</td>" }.joined() + "</tr>" }.joined()
        return "<table><thead><tr>\(headings)</tr></thead><tbody>\(body)</tbody></table>"
    }
}
