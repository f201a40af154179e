// The OpenAPI document against the server it describes: requests are made from it, and replies are held against it.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct OpenAPITests {
    private let document = OpenAPIDocument(.testing).json
    private var check: JSONSchemaCheck { JSONSchemaCheck(document: document) }

    /// Every operation: method, path template, operation, with the parameters of its path.
    private func operations() -> [(method: String, path: String, operation: JSONValue, parameters: [JSONValue])] {
        (document["paths"]?.objectValue ?? JSONObject()).flatMap { path, item in
            ["get", "post", "patch", "delete"].compactMap { method in
                item[method].map { operation in
                    let parameters = (item["parameters"]?.arrayValue ?? []) + (operation["parameters"]?.arrayValue ?? [])
                    return (
                        method.uppercased(), path, operation, parameters.map { $0["$ref"]?.stringValue.flatMap(check.resolve) ?? $0 }
                    )
                }
            }
        }
    }

    @Test func document_isWhole() throws {
        #expect(document["openapi"] == "3.1.0")
        var ids: Set<String> = []
        for (method, path, operation, parameters) in operations() {
            let id = try #require(operation["operationId"]?.stringValue, "\(method) \(path)")
            #expect(ids.insert(id).inserted, "\(id) twice")
            #expect(operation["responses"]?.objectValue?.isEmpty == false)
            let named = Set(parameters.filter { $0["in"] == "path" }.compactMap { $0["name"]?.stringValue })
            let placed = Set(path.split(separator: "/").filter { $0.hasPrefix("{") }.map { String($0.dropFirst().dropLast()) })
            #expect(named == placed, "\(path)")
        }
        func references(_ value: JSONValue) -> [String] {
            switch value {
            case .object(let members):
                [members["$ref"]?.stringValue].compactMap { $0 } + members.values.flatMap(references)
            case .array(let items): items.flatMap(references)
            default: []
            }
        }
        for reference in Set(references(document)) { #expect(check.resolve(reference) != nil, "\(reference)") }
    }

    @Test func document_hasEveryRouteAndEveryEntity() throws {
        for route in Route.all {
            let path = "/" + route.path.joined(separator: "/")
            #expect(document["paths"]?[path]?[route.method.lowercased()] != nil, "\(route.method) \(path)")
        }
        for one in ConsumerPaths.all {
            let (method, path) = (one.method, one.path)
            let segments = path.replacing("{name}", with: "crm").replacing("{position}", with: "7").split(separator: "/").map(String.init)
            #expect(ConsumerRequests.Target(segments)?.methods.contains(method) == true, "\(method) \(path)")
        }
        for entity in Schema.testing.entities {
            #expect((document["paths"]?["/v1/\(entity.name)"] != nil) == entity.isServed, "\(entity.name)")
            #expect(!Route.all.contains { $0.path == ["v1", entity.name] }, "\(entity.name) is the path of something else")
        }
        #expect(!document.canonicalText.contains("password_hash"))
    }

    @Test func examples_areWhatTheirSchemasSay() throws {
        let schemas = try #require(document["components"]?["schemas"]?.objectValue)
        for (name, schema) in schemas {
            for example in schema["examples"]?.arrayValue ?? [] { #expect(check.problems(example, schema).isEmpty, "\(name)") }
        }
        for (method, path, operation, _) in operations() {
            let schema = operation["requestBody"]?["content"]?["application/json"]?["schema"]
            for example in schema?["examples"]?.arrayValue ?? [] {
                #expect(check.problems(example, try #require(schema)).isEmpty, "\(method) \(path)")
            }
        }
    }

    // MARK: The server against the document

    /// A value that the schema allows, or now and then one that it does not.
    private func value(_ schema: JSONValue, _ random: inout SeededRandom, depth: Int = 0) -> JSONValue {
        if Int.random(in: 0..<40, using: &random) == 0 {
            return [.null, 7, "x", [], [:], -1, .string(String(repeating: "y", count: 300)), true].randomElement(using: &random) ?? .null
        }
        if let reference = schema["$ref"]?.stringValue, let target = check.resolve(reference) {
            return value(target, &random, depth: depth)
        }
        if schema["type"] == nil, let options = schema["anyOf"]?.arrayValue, let one = options.randomElement(using: &random) {
            return value(one, &random, depth: depth)
        }
        if let choices = schema["enum"]?.arrayValue, let one = choices.randomElement(using: &random) { return one }
        if let constant = schema["const"] { return constant }
        let types = schema["type"]?.arrayValue?.compactMap(\.stringValue) ?? [schema["type"]?.stringValue].compactMap { $0 }
        switch types.randomElement(using: &random) {
        case "null": return .null
        case "boolean": return .bool(Bool.random(using: &random))
        case "integer":
            let (low, high) = (schema["minimum"]?.integerValue ?? .min, schema["maximum"]?.integerValue ?? .max)
            return .integer([low, high, low <= 1 && 1 <= high ? 1 : low].randomElement(using: &random) ?? low)
        case "array":
            let count = depth > 3 ? 0 : Int.random(in: 0...3, using: &random)
            return .array((0..<count).map { _ in schema["items"].map { value($0, &random, depth: depth + 1) } ?? .null })
        case "object":
            var object = JSONObject()
            let required = Set((schema["required"]?.arrayValue ?? []).compactMap(\.stringValue))
            for (name, schema) in schema["properties"]?.objectValue ?? JSONObject()
            where required.contains(name) || Int.random(in: 0..<4, using: &random) == 0 {
                object[name] = value(schema, &random, depth: depth + 1)
            }
            return .object(object)
        default: return .string(text(schema, &random))
        }
    }

    private func text(_ schema: JSONValue, _ random: inout SeededRandom) -> String {
        switch schema["format"]?.stringValue {
        case "uuid": return known.randomElement(using: &random) ?? ""
        case "email": return "a\(Int.random(in: 0..<99, using: &random))@b.example"
        case "uri": return "https://b.example/é?x=1"
        case "date": return "2026-03-16"
        case "date-time": return "2026-03-16T09:30:00Z"
        default: break
        }
        switch schema["pattern"]?.stringValue {
        case let pattern? where pattern.hasPrefix("^\\+"): return "+15550\(Int.random(in: 100...999, using: &random))"
        case let pattern? where pattern.hasPrefix("^[0-9a-f]{64}"): return String(repeating: "a", count: 64)
        case let pattern? where pattern.hasPrefix("^[a-z0-9]"): return "key_\(Int.random(in: 0..<99, using: &random))"
        default: break
        }
        let letters = ["a", "Z", "é", "e\u{301}", "🏗️", " ", "\"", "\\", "\n", "'", "%", "\u{7f}", "ﬁ", "\u{202e}"]
        let count = Int.random(in: 0...Int(min(schema["maxLength"]?.integerValue ?? 20, 30)), using: &random)
        return (0..<count).map { _ in letters.randomElement(using: &random) ?? "a" }.joined()
    }

    /// Ids that generated requests name: filled with what they create.
    private let known: [String]
    private let byEntity: [String: String]
    private let rest: RestUnderTest

    init() throws {
        rest = try RestUnderTest()
        let client = try rest.create("client", ["name": "Harbor"]).id
        let contact = try rest.create("contact", ["last_name": "Ortiz"]).id
        let deal = try rest.create(
            "deal", ["title": "Roof", "client": .string(client), "currency": "USD", "owner": .string(rest.tenant.owner.text)]
        ).id
        let part = try rest.create("part", ["sku": "valve", "name": "Valve"]).id
        let document = try rest.create("document", ["title": "Offer"]).id
        byEntity = [
            "client": client, "contact": contact, "deal": deal, "part": part, "document": document, "member": rest.tenant.owner.text,
            "tenant": rest.tenant.id.text,
        ]
        known = byEntity.values.sorted() + [rest.server.newIdentifier().text]
    }

    private func encoded(_ text: String) -> String {
        text.utf8.map { byte in
            let letter = UInt8(ascii: "a")...UInt8(ascii: "z")
            let digit = UInt8(ascii: "0")...UInt8(ascii: "9")
            return letter.contains(byte | 0x20) || digit.contains(byte)
                ? String(UnicodeScalar(byte)) : "%" + Hex.encode([byte]).uppercased()
        }.joined()
    }

    @Test func replies_areWhatTheDocumentSays_toGeneratedRequests() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("seed \(seed)")
        var random = SeededRandom(seed: seed)
        var statuses: [Int: Int] = [:]
        _ = try rest.send("POST", "/v1/consumers", ["name": "hook", "kind": "pull", "from": "beginning"])
        let all = operations().filter {
            !$0.path.hasPrefix("/v1/sync") && $0.path != "/v1/enroll" && !$0.path.hasSuffix("z")
        }
        for (method, template, operation, parameters) in all {
            for _ in 0..<6 {
                let own = byEntity[template.split(separator: "/").dropFirst().first.map(String.init) ?? ""]
                let id = Int.random(in: 0..<4, using: &random) > 0 ? own ?? known[0] : known.randomElement(using: &random) ?? known[0]
                var path = template.replacing("{id}", with: id).replacing("{name}", with: "hook").replacing("{position}", with: "3")
                var headers: [(name: String, value: String)] = []
                var query: [String] = []
                for parameter in parameters {
                    guard let name = parameter["name"]?.stringValue, let schema = parameter["schema"] else { continue }
                    let isRequired = parameter["required"] == true
                    guard isRequired || Int.random(in: 0..<6, using: &random) == 0 else { continue }
                    let value = value(schema, &random)
                    let parts = value.arrayValue?.map { $0.stringValue ?? $0.canonicalText }
                    let text = parts?.joined(separator: ",") ?? value.stringValue ?? value.canonicalText
                    switch parameter["in"]?.stringValue {
                    case "query": query.append("\(encoded(name))=\(encoded(text))")
                    case "header":
                        headers.append(
                            (
                                name,
                                name == "If-Match"
                                    ? "\"0.\(Int.random(in: 0...20, using: &random))\""
                                    : String(text.filter { $0.isASCII && $0 > " " && $0 < "\u{7f}" })
                            ))
                    default: break
                    }
                }
                if !query.isEmpty { path += "?" + query.joined(separator: "&") }
                let schema = operation["requestBody"]?["content"]?["application/json"]?["schema"]
                let body = schema.map { value($0, &random).canonicalBytes() } ?? []
                let reply = try rest.send(method, path, body, headers: headers, token: rest.token.text)
                statuses[reply.status, default: 0] += 1
                let request = "\(method) \(path) \(String(decoding: body.prefix(400), as: UTF8.self)) \(headers)"
                #expect(reply.status < 500, "seed \(seed): \(request): \(reply.text)")
                guard reply.status != 304 else { continue }
                var response = operation["responses"]?[String(reply.status)]
                #expect(response != nil, "seed \(seed): \(request) answers \(reply.status), which is not documented: \(reply.text)")
                if let reference = response?["$ref"]?.stringValue { response = check.resolve(reference) }
                let type = reply.header("Content-Type") ?? ""
                let documented = response?["content"]?.objectValue?.first { type.hasPrefix($0.key) }
                #expect(documented != nil, "seed \(seed): \(request) answers \(type)")
                guard type.contains("json"), let answer = documented?.value["schema"] else { continue }
                let problems = check.problems(reply.json, answer)
                #expect(problems.isEmpty, "seed \(seed): \(request): \(problems.prefix(3))")
            }
        }
        // The generator is worth nothing if everything it makes is refused.
        #expect((statuses[200] ?? 0) > 100 && (statuses[201] ?? 0) > 3 && (statuses[400] ?? 0) > 10, "\(statuses)")
    }

    @Test func page_isWhole_andLoadsNothing() throws {
        let page = try rest.get("/v1/docs")
        #expect(page.status == 200 && page.header("Content-Type") == "text/html; charset=utf-8")
        for part in ["http://cdn", "https://", "<script", "<link", "@import"] { #expect(!page.text.contains(part), "\(part)") }
        for entity in Schema.testing.entities {
            #expect(page.text.contains("id=\"\(entity.name)\"") == entity.isServed)
        }
        for tag in ["table", "section", "tr", "td", "code", "main"] {
            let (open, close) = (
                page.text.ranges(of: "<\(tag)>").count + page.text.ranges(of: "<\(tag) ").count, page.text.ranges(of: "</\(tag)>").count
            )
            #expect(open == close && open > 0, "\(tag): \(open) opened, \(close) closed")
        }
    }
}
