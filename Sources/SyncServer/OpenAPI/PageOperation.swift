// One request on the page at `/v1/docs`: a line, and behind it an example to paste, parameters, body and answers.

import SyncProtocol

struct PageOperation {
    let document: OpenAPIDocument
    let method: String
    let path: String
    let operation: JSONValue
    /// nil for what is beside records.
    let entity: EntitySchema?

    private var id: String { operation["operationId"]?.stringValue ?? "\(method.lowercased())\(path)" }

    var html: String {
        """
        <details><summary><b class="\(method.lowercased())">\(method)</b> \(HTMLText.code(path)) \
        <span>\(HTMLText.escaped(operation["summary"]?.stringValue ?? ""))</span></summary><div id="\(id)">\(inside)</div></details>
        """
    }

    private var inside: String {
        var parts: [String] = []
        if let text = operation["description"]?.stringValue { parts.append(HTMLText.paragraph(text)) }
        parts.append(HTMLText.block(example))
        let parameters = (operation["parameters"]?.arrayValue ?? []).map(resolved)
        let filters = parameters.filter { $0["in"] == "query" && isFilter($0["name"]?.stringValue ?? "") }
        let rows = parameters.filter { !filters.contains($0) }.map { parameter in
            [
                HTMLText.code(parameter["name"]?.stringValue ?? ""), parameter["in"]?.stringValue ?? "",
                HTMLText.escaped(words(of: parameter["schema"])), HTMLText.escaped(parameter["description"]?.stringValue ?? ""),
            ]
        }
        if !rows.isEmpty { parts.append("<h4>Parameters</h4>" + HTMLText.table(["parameter", "in", "value", "means"], rows)) }
        if !filters.isEmpty { parts.append("<h4>Filters</h4>" + filterTable(filters)) }
        for body in bodies {
            guard let members = bodyTable(body), !members.isEmpty else { continue }
            let title = body["title"]?.stringValue.map { ": \($0)" } ?? ""
            parts.append("<h4>Body\(HTMLText.escaped(title))</h4>" + members)
        }
        parts.append("<h4>Answers</h4>" + answers)
        return parts.joined()
    }

    // MARK: Example

    private var bodies: [JSONValue] {
        guard let schema = operation["requestBody"]?["content"]?["application/json"]?["schema"].map(resolved) else { return [] }
        return schema["anyOf"]?.arrayValue?.map(resolved) ?? [schema]
    }

    private var example: String {
        let address = path.split(separator: "/").map { part -> String in
            switch part {
            case "{id}": "$ID"
            case "{name}": "$NAME"
            case "{position}": "$POSITION"
            default: String(part)
            }
        }.joined(separator: "/")
        var words = ["curl"]
        if operation["security"]?.arrayValue?.isEmpty != true { words.append("-H \"$auth\"") }
        if let body = bodies.first?["examples"]?[0] {
            words.append("-H \"$json\"")
            if method != "POST" { words.append("-X \(method)") }
            words.append("-d " + HTMLText.shellQuoted(body.canonicalText))
        } else if method != "GET" {
            words.append("-X \(method)")
        }
        let query = (operation["parameters"]?.arrayValue ?? []).map(resolved).filter { $0["in"] == "query" }
        let needed = query.filter { $0["required"] == true }.compactMap { parameter -> String? in
            guard let name = parameter["name"]?.stringValue else { return nil }
            let value = parameter["schema"]?["const"] ?? parameter["schema"]?["default"] ?? parameter["schema"]?["examples"]?[0]
            return "\(name)=\(value.map { $0.stringValue ?? $0.canonicalText } ?? "…")"
        }
        let usual = query.contains { $0["name"] == "limit" } ? ["limit=20"] : []
        let all = needed + usual
        words.append(all.isEmpty ? "$API/\(address)" : "\"$API/\(address)?\(all.joined(separator: "&"))\"")
        return words.joined(separator: " ")
    }

    // MARK: Parameters

    private func isFilter(_ name: String) -> Bool {
        entity != nil && !["limit", "offset", "cursor", "sort", "q", "deleted"].contains(name)
    }

    /// A field a row, with the operators it takes.
    private func filterTable(_ filters: [JSONValue]) -> String {
        var fields: [(name: String, operators: [String])] = []
        for filter in filters {
            let name = filter["name"]?.stringValue ?? ""
            let parts = name.split(separator: "[")
            let field = String(parts[0])
            let word = parts.count > 1 ? String(parts[1].dropLast()) : ""
            if fields.last?.name != field { fields.append((field, [])) }
            fields[fields.count - 1].operators.append(word)
        }
        return HTMLText.table(
            ["field", "as"],
            fields.map { name, operators in
                [HTMLText.code(name), HTMLText.codes(operators.map { $0.isEmpty ? "\(name)=" : "\(name)[\($0)]=" })]
            })
    }

    /// The members of a body, the needed ones first. nil if it is no object with named ones.
    private func bodyTable(_ schema: JSONValue) -> String? {
        guard let properties = schema["properties"]?.objectValue else { return nil }
        let required = Set((schema["required"]?.arrayValue ?? []).compactMap(\.stringValue))
        let all = properties.map { ($0, resolved($1)) }.sorted { (required.contains($0.0) ? 0 : 1) < (required.contains($1.0) ? 0 : 1) }
        return HTMLText.table(
            ["member", "value", "means"],
            all.map { name, value in
                [
                    HTMLText.code(name), HTMLText.escaped(words(of: value)),
                    HTMLText.escaped((required.contains(name) ? "Required. " : "") + (value["description"]?.stringValue ?? "")),
                ]
            })
    }

    private var answers: String {
        let responses = operation["responses"]?.objectValue ?? JSONObject()
        let usual = Set(OpenAPIDocument.anyRequest.map { String($0.status) })
        let rows = responses.map { ($0, resolved($1)) }.sorted { $0.0 < $1.0 }.filter {
            !usual.contains($0.0) || $0.0 == "413" && method != "GET"
        }
        return HTMLText.table(
            ["status", "means"],
            rows.map { status, response in
                let text = response["description"]?.stringValue ?? ""
                let isError = status.hasPrefix("4")
                return [
                    HTMLText.code(status),
                    isError ? "<a href=\"#errors\">\(HTMLText.codes(codes(status)))</a>" : HTMLText.escaped(text + headers(of: response)),
                ]
            })
    }

    private func headers(of response: JSONValue) -> String {
        let names = response["headers"]?.objectValue?.map { $0.0 } ?? []
        return names.isEmpty ? "" : "; with \(names.sorted().joined(separator: ", "))"
    }

    /// Codes of the server itself for a status; those of sync only where sync is meant.
    private func codes(_ status: String) -> [String] {
        let isSync = path.hasPrefix("/v1/sync") || path == "/v1/enroll"
        let ofSync: Set<ErrorCode> = [
            .codeInvalid, .codeExpired, .codeUsed, .counterGap, .fork, .resyncRequired, .schemaTooOld, .protocolUnsupported,
        ]
        return ErrorCode.allCases.filter { code in
            String(code.status) == status && (isSync || !ofSync.contains(code)) && (entity == nil || code != .newEpoch)
        }.map(\.rawValue)
    }

    // MARK: Schemas

    /// What a reference leads to.
    private func resolved(_ value: JSONValue) -> JSONValue {
        guard let reference = value["$ref"]?.stringValue else { return value }
        var place: JSONValue? = document.json
        for part in reference.dropFirst(2).split(separator: "/") { place = place?[String(part)] }
        return place ?? .null
    }

    /// A schema in a few words.
    private func words(of schema: JSONValue?) -> String {
        guard let schema = schema.map(resolved) else { return "" }
        if let choices = schema["enum"]?.arrayValue {
            let names = choices.map { $0.stringValue ?? $0.canonicalText }
            return names.count > 12 ? "one of \(names.count), such as \(names[0])" : names.joined(separator: ", ")
        }
        if let options = schema["anyOf"]?.arrayValue ?? schema["oneOf"]?.arrayValue, schema["type"] == nil {
            var texts: [String] = []
            for text in options.map({ words(of: $0) }) where !text.isEmpty && !texts.contains(text) { texts.append(text) }
            return texts.joined(separator: " or ")
        }
        let types = schema["type"]?.stringValue.map { [$0] } ?? schema["type"]?.arrayValue?.compactMap(\.stringValue) ?? []
        if types.count > 3 { return "any JSON" }
        var text = schema["format"]?.stringValue ?? schema["const"]?.canonicalText ?? (types.first { $0 != "null" } ?? types.first ?? "")
        if text == "int64" { text = "integer" }
        if text == "array" { text = "list of \(words(of: schema["items"]))" }
        if let low = schema["minimum"]?.integerValue, low != .min {
            text += schema["maximum"]?.integerValue.map { " \(low) to \($0)" } ?? " from \(low)"
        }
        if let most = schema["maxLength"]?.integerValue, schema["format"] == nil { text += " up to \(most) characters" }
        if let value = schema["default"] { text += ", default \(value.stringValue ?? value.canonicalText)" }
        return text + (types.contains("null") && types.count > 1 ? " or null" : "")
    }
}
