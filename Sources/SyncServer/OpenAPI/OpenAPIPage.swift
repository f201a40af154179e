// `GET /v1/docs`: the same document for people, one page of HTML that loads nothing else.

import SyncProtocol

struct OpenAPIPage {
    let document: OpenAPIDocument

    init(_ document: OpenAPIDocument) { self.document = document }

    var html: String {
        let entities = document.schema.entities.filter(\.isServed)
        let links = entities.map { "<a href=\"#\($0.name)\">\(escaped($0.name))</a>" }.joined(separator: " ")
        return """
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
            <title>Tideline API</title><style>\(OpenAPIPage.style)</style></head><body>
            <header><h1>Tideline API</h1>
            <p>Version \(escaped(Configuration.version)). For programs: <a href="/v1/openapi.json">openapi.json</a> · <a href="/v1/schema">schema</a></p>
            <nav><a href="#requests">requests</a> <a href="#timeline">timeline and sync</a> \(links)</nav></header>
            <main>\(requests)\(fixed)\(entities.map(section).joined())</main></body></html>
            """
    }

    private func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            default: result.append(character)
            }
        }
        return result
    }

    private func code(_ text: String) -> String { "<code>\(escaped(text))</code>" }

    private func table(_ head: [String], _ rows: [[String]]) -> String {
        guard !rows.isEmpty else { return "" }
        let headings = head.map { "<th>\(escaped($0))</th>" }.joined()
        let body = rows.map { "<tr>" + $0.map { "<td>\($0)</td>" }.joined() + "</tr>" }.joined()
        return "<table><thead><tr>\(headings)</tr></thead><tbody>\(body)</tbody></table>"
    }

    // MARK: Parts

    private var requests: String {
        let errors = ErrorCode.allCases.map { [code($0.rawValue), String($0.status)] }
        return """
            <section id="requests"><h2>Requests</h2>
            <p>Send <code>Authorization: Bearer TOKEN</code>; <code>sync-server token create</code> makes one. Bodies are JSON.
            \(escaped(document.json["info"]?["description"]?.stringValue ?? ""))</p>
            <pre>curl -H "Authorization: Bearer $TOKEN" 'http://127.0.0.1:8080/v1/client?limit=2&amp;sort=-name'
            curl -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -H 'Idempotency-Key: import-17' \\
                 -d '{"name":"Harbor Hotel Group"}' http://127.0.0.1:8080/v1/client</pre>
            <p>Lists answer <code>{data, total, has_more, next_cursor, as_of}</code>. <code>limit</code> is 1 to \(ListRequest.limitMax), \
            <code>offset</code> at most \(ListRequest.offsetMax); any further page by <code>cursor</code>.
            A write with <code>If-Match: ETAG</code> is refused with 412 when the record was changed after it was read.</p>
            <h3>Errors</h3><p><code>{"error":{"code","message","request_id","fields"?}}</code>; every field that is wrong is among \
            <code>fields</code>, with a code of its own.</p>\(table(["code", "status"], errors))</section>
            """
    }

    private var fixed: String {
        let paths = Route.all.map { ($0.method, "/" + $0.path.joined(separator: "/")) } + ConsumerPaths.all.map { ($0.method, $0.path) }
        let rows = paths.map { method, path in
            operationRow(method, path, document.json["paths"]?[path]?[method.lowercased()])
        }
        return "<section id=\"timeline\"><h2>Timeline, sync, server</h2>\(table(["request", "does", "parameters"], rows))</section>"
    }

    private func section(_ entity: EntitySchema) -> String {
        let paths = EntityPaths(entity: entity).paths
        let rows = paths.flatMap { path, operations in
            ["get", "post", "patch", "delete"].compactMap { method -> [String]? in
                operations[method].map { operationRow(method.uppercased(), path, $0) }
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
            return [code(field.name), escaped(field.type.name), escaped(limits), escaped(notes.joined(separator: "; "))]
        }
        return """
            <section id="\(entity.name)"><h2>\(escaped(entity.name))</h2>
            \(table(["request", "does", "parameters"], rows))<h3>Fields</h3>\(table(["field", "type", "limits", "notes"], fields))</section>
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

    private func operationRow(_ method: String, _ path: String, _ operation: JSONValue?) -> [String] {
        let parameters = (operation?["parameters"]?.arrayValue ?? []).compactMap { parameter -> String? in
            if let name = parameter["name"]?.stringValue { return name }
            let reference = parameter["$ref"]?.stringValue?.split(separator: "/").last.map(String.init)
            return reference.flatMap { document.json["components"]?["parameters"]?[$0]?["name"]?.stringValue }
        }
        let words = [operation?["summary"]?.stringValue, operation?["description"]?.stringValue].compactMap { $0 }
        return [
            code("\(method) \(path)"), escaped(words.joined(separator: ". ")), parameters.map(code).joined(separator: " "),
        ]
    }

    private static let style = """
        body{font:15px/1.5 system-ui,sans-serif;margin:0;color:#1c2430;background:#fff}header,main{max-width:70rem;margin:auto;padding:1rem}
        nav a{margin-right:.6rem;white-space:nowrap}section{border-top:1px solid #d8dee6;padding-top:1rem;margin-top:2rem}
        table{border-collapse:collapse;width:100%;font-size:14px}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid #edf0f4}
        code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}pre{background:#f4f6f9;padding:.8rem;overflow:auto}a{color:#0b5cad}
        @media(prefers-color-scheme:dark){body{background:#12161c;color:#dbe2ea}section,th,td{border-color:#2b333d}pre{background:#1b212a}a{color:#7cb8f5}}
        """
}
