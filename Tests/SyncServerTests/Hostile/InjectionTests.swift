// Texts that some database, shell or parser somewhere takes for more than text, through every name and every value that the server
// reads: each is refused with a 4xx or stored exactly as it is, and nothing else changes.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct InjectionTests {
    static let texts: [String] = [
        "'", "''", "\"", "\"\"", "`", "\\", "\\'", "\\\"", ";", "--", "/*", "*/", "#", "$", "$$", "$1", "$tag$x$tag$", ":", "::text", "?",
        "%", "_", "%s", "%n%n%n", "{}", "{", "}", "{a,b}", "{\"a\",NULL}", "{NULL}", "ARRAY['a']", "[]", "[1", "()", "(1,2)", "<", ">",
        "' OR '1'='1", "' OR 1=1 --", "\" OR \"\"=\"", "'; DROP TABLE public.client; --", "'); DELETE FROM tideline.feed; --",
        "x' UNION SELECT value FROM tideline.meta --", "'||(SELECT current_user)||'", "$$; DROP SCHEMA tideline CASCADE; $$", "E'\\x27'",
        "U&'\\0027'",
        "\\x27", "%27", "&#39;", "’ OR ’1’=’1", "＇ OR 1=1", "ʼ; DROP TABLE client; --", "＂", "\u{2028}'\u{2029}", "\u{202E}'", "e\u{301}'",
        "\u{FEFF}'", "'\u{FFFF}", "😀'", "'\u{0}'", "\u{1}'", "\t'", "'\n'", "'\r\n'",
        "null", "NULL", "true", "undefined", "NaN", "0", "-1", "1e999", "9223372036854775807", "9223372036854775808",
        "-9223372036854775808", "0x27", "1; SELECT pg_sleep(9)", "pg_sleep(9)", "(SELECT pg_sleep(9))",
        "a & b", "a | b", "!a", "a <-> b", "a:*", "'a':*", "a\\:*", "../../etc/passwd", "..%2f", "$(id)", "`id`", "|id",
        "<script>alert(1)</script>", "{{7*7}}", "${7*7}", "01900000-0000-7000-8000-00000000000c",
        "01900000-0000-7000-8000-00000000000c' OR '1'='1",
        "set_config('tideline.tenant','',false)", "RESET ROLE", "tideline_runtime", "public.client", "pg_catalog",
        String(repeating: "'", count: 200), String(repeating: "(", count: 3_000), String(repeating: "a", count: 5_000),
    ]

    /// What must be as it was: the shape of the database, who may do what in it, and everything of the other tenant. Roles are the
    /// cluster's, and other tests make some for databases of their own.
    private struct Surroundings: Equatable {
        var shape: String
        var other: String
    }

    private func surroundings(_ rest: RestUnderTest, _ other: RestUnderTest) throws -> Surroundings {
        let shape = try rest.server.connection.run(
            """
            SELECT (SELECT string_agg(n.nspname || '.' || c.relname || c.relkind::text || c.relrowsecurity::text || c.relforcerowsecurity::text, ',' ORDER BY 1) FROM pg_class c \
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('public', 'tideline')) || \
            (SELECT string_agg(p.proname || p.prosecdef::text || md5(p.prosrc), ',' ORDER BY 1) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
            WHERE n.nspname IN ('public', 'tideline')) || (SELECT string_agg(rolname || rolsuper::text || rolbypassrls::text, ',' ORDER BY 1) FROM pg_roles \
            WHERE rolname !~ '^(owner|app)_of_') || \
            (SELECT string_agg(key || value, ',' ORDER BY 1) FROM tideline.meta)
            """)
        let replica = try other.tenant.enroll()
        let digest = try other.send("GET", "/v1/sync/digest", [], token: replica.token.text)
        let entities = try required(digest.json["entities"]?.objectValue)
        // Its own replicas grow with each look.
        let text = entities.filter { $0.key != "replica" }.map { "\($0.key) \($0.value.canonicalText)" }.joined(separator: "\n")
        return Surroundings(shape: shape.text(0, 0) ?? "", other: text)
    }

    private static func encoded(_ text: String) -> String {
        text.utf8.map { byte in "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
    }

    /// Runs `body` for every text and looks at the surroundings before and behind.
    private func hold(_ body: (RestUnderTest, RestUnderTest) throws -> Void) throws {
        let rest = try RestUnderTest(isIsolated: true)
        let other = try rest.otherTenant()
        try other.create("client", ["name": "Theirs", "phone": "+15550142"])
        let before = try surroundings(rest, other)
        try body(rest, other)
        let after = try surroundings(rest, other)
        #expect(after == before)
        #expect(
            rest.server.logged.with { $0.filter { $0.level == .error } }.isEmpty,
            "\(rest.server.logged.with { $0.filter { $0.level == .error }.prefix(3) })")
    }

    private func check(_ reply: RestReply, _ what: @autoclosure () -> String) {
        // 503 would be a statement that was cancelled: one that slept, say.
        if !(200..<500).contains(reply.status) { Issue.record("\(what()): \(reply.status) \(reply.text.prefix(300))") }
    }

    private func request(
        _ rest: RestUnderTest, _ method: String, _ target: String, _ body: JSONValue? = nil, headers: [(name: String, value: String)] = [],
        token: AccessToken? = nil
    ) throws -> RestReply? {
        do {
            return try rest.send(method, target, body, headers: headers, as: token)
        } catch is HTTPRefusal {
            return nil  // A NUL in the target: refused before anybody saw it.
        }
    }

    // MARK: REST

    @Test func values_areStoredAsTheyAre_orRefused() throws {
        try hold { rest, _ in
            var stored = 0
            for text in Self.texts {
                guard
                    let reply = try request(
                        rest, "POST", "/v1/client",
                        [
                            "name": .string(text), "notes": .string(text), "tags": .array([.string(text)]),
                            "custom": .object(["k": .string(text)]),
                        ]) ?? nil
                else { continue }
                check(reply, "client \(text)")
                for (entity, field) in [("client", "name"), ("part", "name"), ("note", "body"), ("document", "title")] {
                    let fields: JSONObject =
                        entity == "part" ? [field: .string(text), "sku": .string("sku-\(stored)")] : [field: .string(text)]
                    let reply = try rest.send("POST", "/v1/\(entity)", .object(fields))
                    check(reply, "\(entity).\(field) \(text)")
                    guard reply.status == 201, let id = reply.data["id"]?.stringValue,
                        let type = rest.server.context.schema.entity(entity)?.field(field)?.type
                    else { continue }
                    stored += 1
                    let expected = try type.normalized(.string(text))
                    #expect(reply.data[field] == expected, "\(entity).\(field) \(text)")
                    #expect(try rest.get("/v1/\(entity)/\(id)").data[field] == expected, "\(entity).\(field) \(text)")
                    if let value = expected.stringValue, !value.isEmpty {
                        // Beside what the schema trims, not a byte is missing.
                        #expect(
                            text.contains(value) || value == text.precomposedStringWithCanonicalMapping || value.count <= text.count,
                            "\(text)")
                    }
                }
            }
            #expect(stored > 100, "most of these are just texts")
        }
    }

    /// Each field gets each shape, alone and in a record that lacks nothing else, new and there already.
    @Test func everyField_refusesOrStores() throws {
        try hold { rest, _ in
            var shapes: [String: Set<Int>] = [:]
            var patched = 0
            for entity in rest.server.context.schema.entities where entity.isServed {
                let whole = Self.wholeRecord(entity)
                var record: String?
                if let whole {
                    let reply = try rest.send("POST", "/v1/\(entity.name)", .object(whole))
                    record = reply.status == 201 ? reply.data["id"]?.stringValue : nil
                }
                for field in entity.fields {
                    for (number, text) in Self.texts.enumerated() where (number + field.name.utf8.count) % 6 == 0 {
                        let values: [JSONValue] = [.string(text), .array([.string(text)]), .object(JSONObject([(text, .string(text))]))]
                        let shape = (number / 6) % 3
                        shapes["\(entity.name).\(field.name)", default: []].insert(shape)
                        var body = whole ?? JSONObject()
                        body[field.name] = values[shape]
                        check(try rest.send("POST", "/v1/\(entity.name)", .object(body)), "\(entity.name).\(field.name) \(text)")
                        guard let record else { continue }
                        patched += 1
                        check(
                            try rest.send("PATCH", "/v1/\(entity.name)/\(record)", .object(JSONObject([(field.name, values[shape])]))),
                            "patch \(entity.name).\(field.name) \(text)")
                    }
                }
            }
            #expect(shapes.filter { $0.value.count < 3 }.isEmpty, "\(shapes.filter { $0.value.count < 3 }.keys.sorted())")
            #expect(patched > 300, "values must get past what is required")
        }
    }

    /// What a record needs so that nothing is missing; nil where that takes other records.
    private static func wholeRecord(_ entity: EntitySchema) -> JSONObject? {
        switch entity.name {
        case "client": ["name": "Harbor"]
        case "contact": ["first_name": "Nina", "last_name": "Ortiz"]
        case "part": ["sku": "valve", "name": "Valve"]
        case "document": ["title": "Offer"]
        case "custom_field": ["entity": "client", "key": "k", "label": "K", "type": "text"]
        default: nil
        }
    }

    @Test func names_areNames_orRefused() throws {
        try hold { rest, _ in
            let (id, etag) = try rest.create("client", ["name": "Harbor"])
            for text in Self.texts {
                let escaped = Self.encoded(text)
                let targets: [(String, String)] = [
                    ("GET", "/v1/\(escaped)"), ("POST", "/v1/\(escaped)"), ("GET", "/v1/\(escaped)/\(id)"),
                    ("GET", "/v1/client/\(escaped)"), ("PATCH", "/v1/client/\(escaped)"), ("DELETE", "/v1/client/\(escaped)"),
                    ("POST", "/v1/client/\(escaped)/restore"), ("POST", "/v1/client/\(id)/transitions/\(escaped)"),
                    ("POST", "/v1/deal/\(escaped)/transitions/\(escaped)"), ("GET", "/v1/consumers/\(escaped)"),
                    ("DELETE", "/v1/consumers/\(escaped)"), ("POST", "/v1/consumers/\(escaped)/pause"),
                    ("GET", "/v1/reports/\(escaped)"), ("GET", "/v1/consumers/\(escaped)/dead/\(escaped)"), ("GET", "/\(escaped)"),
                    ("POST", "/v1/client/\(id)/\(escaped)"),
                ]
                for (method, target) in targets {
                    guard let reply = try request(rest, method, target, method == "GET" ? nil : ["reason": .string(text)]) else { continue }
                    check(reply, "\(method) \(target) \(text)")
                    #expect(reply.status >= 400, "\(method) \(target)")
                }
                // Field names, custom fields and arguments.
                check(try rest.send("POST", "/v1/client", .object(JSONObject([("name", "x"), (text, "y")]))), "field name \(text)")
                check(
                    try rest.send("POST", "/v1/client", ["name": "x", "custom": .object(JSONObject([(text, .string(text))]))]),
                    "custom field \(text)")
                check(
                    try rest.send("PATCH", "/v1/client/\(id)", .object(JSONObject([(text, .string(text))])), headers: [("If-Match", etag)]),
                    "patched field \(text)")
                check(
                    try rest.send(
                        "PATCH", "/v1/client/\(id)", ["tags": .object(["add": .array([.string(text)]), "remove": .array([.string(text)])])]),
                    "tags \(text)")
            }
            #expect(try rest.get("/v1/client/\(id)").data["name"] == "Harbor")
        }
    }

    @Test func queries_findOrRefuse_andNeverSleep() throws {
        try hold { rest, _ in
            for number in 0..<3 { try rest.create("client", ["name": .string("Harbor \(number)"), "tags": ["vip"]]) }
            let total = try rest.get("/v1/client").rows.count
            let columns = ["name", "id", "tags", "owner", "created_at", "updated_at", "status"]
            for (number, text) in Self.texts.enumerated() {
                let escaped = Self.encoded(text)
                var targets = [
                    "limit", "offset", "cursor", "sort", "q", "deleted", escaped, "\(escaped)[eq]", "name[\(escaped)]", "custom.\(escaped)",
                ].map { "/v1/client?\($0)=\(escaped)" }
                targets += columns.flatMap { column in
                    ListFilter.Operator.allCases.map { "/v1/client?\(column)[\($0.rawValue)]=\(escaped)" }
                }
                targets += ["limit", "cursor", "anchor", "entity", "id", "category", "kind", "actor", "level", "since", "until", escaped]
                    .map { "/v1/activity?\($0)=\(escaped)" }
                targets += ["anchor=client:\(escaped)", "anchor=\(escaped):\(escaped)"].map { "/v1/activity?\($0)" }
                targets += rest.server.context.schema.reports.flatMap { report in
                    (report.arguments.map(\.name) + ["limit", "cursor", escaped]).map { "/v1/reports/\(report.name)?\($0)=\(escaped)" }
                }
                // Each text in a third of all places, each place with a third of the texts.
                for (place, target) in targets.enumerated() where (place + number) % 3 == 0 {
                    guard let reply = try request(rest, "GET", target) else { continue }
                    check(reply, "\(target) \(text)")
                    // A filter that is true of everything would be the classic one; "not equal" is.
                    if reply.status == 200, target.contains("[eq]") || target.contains("[in]") || target.contains("[has]") {
                        #expect(reply.rows.count < total, "\(target) \(text)")
                    }
                }
            }
        }
    }

    @Test func headers_areReadOrRefused() throws {
        try hold { rest, _ in
            let (id, _) = try rest.create("client", ["name": "Harbor"])
            for text in Self.texts where !text.utf8.contains(where: { $0 < 0x20 }) {
                for name in [
                    "If-Match", "If-None-Match", "Idempotency-Key", "Content-Type", "Accept", "X-Request-Id", "X-Forwarded-For", "Prefer",
                ] {
                    check(try rest.send("PATCH", "/v1/client/\(id)", ["phone": "+15550142"], headers: [(name, text)]), "\(name) \(text)")
                    check(try rest.send("GET", "/v1/client/\(id)", nil, headers: [(name, text)]), "\(name) \(text)")
                }
                #expect(try rest.send("GET", "/v1/client", [], headers: [("Authorization", text)], token: nil).status == 401)
            }
        }
    }

    // MARK: Consumers, enrolment, sync

    @Test func consumers_areNamedAndFiltered_byNamesOnly() throws {
        try hold { rest, _ in
            for text in Self.texts {
                for (name, value) in [
                    ("name", JSONValue.string(text)), ("url", .string(text)), ("url", .string("http://192.0.2.1/\(text)")),
                    ("filter", .string(text)), ("entities", .array([.string(text)])), ("kinds", .array([.string(text)])),
                    ("from", .string(text)), (text, .string(text)),
                ] {
                    var body: JSONObject = name == "url" ? ["name": "reader"] : ["name": "reader", "kind": "pull"]
                    body[name] = value
                    let reply = try rest.send("POST", "/v1/consumers", .object(body))
                    check(reply, "consumer \(name) \(text)")
                    if reply.status == 201, let made = reply.json["name"]?.stringValue {
                        check(try rest.send("DELETE", "/v1/consumers/\(Self.encoded(made))"), "remove \(made)")
                    }
                }
                for query in ["limit", "wait", "after"] {
                    if let reply = try request(rest, "GET", "/v1/consumers/reader/events?\(query)=\(Self.encoded(text))") {
                        check(reply, "events \(query) \(text)")
                    }
                }
            }
        }
    }

    @Test func enrolment_keepsWhatIsSaid_orRefusesIt() throws {
        try hold { rest, _ in
            var enrolled = 0
            for (number, text) in Self.texts.enumerated() {
                let body: (String, JSONValue) -> JSONValue = { name, value in
                    var all: JSONObject = ["code": "0000-0000-0000-0000", "label": "x", "platform": "linux", "protocol": 1, "schema": 1]
                    all[name] = value
                    return .object(all)
                }
                for name in ["code", "label", "platform", "protocol", "schema", text] {
                    // Each from another address: failed ones are counted, and refused unread in the end.
                    let reply = try rest.send(
                        "POST", "/v1/enroll", body(name, .string(text)).canonicalBytes(), token: nil,
                        peer: "192.0.2.\(number % 250)/\(name)")
                    check(reply, "enroll \(name) \(text)")
                    #expect(reply.status != 429, "nothing is refused for its number")
                }
                let code = try rest.tenant.code().text
                let reply = try? Enroll(context: rest.server.context, connection: rest.server.connection).run(
                    EnrollmentRequest(code: code, label: text, platform: "linux", schemaVersion: 1))
                if let reply {
                    enrolled += 1
                    let label = try rest.get("/v1/replica/\(reply.replica.text)").data["label"]?.stringValue
                    #expect(label.map { text.contains($0) || $0.count <= text.count } ?? true, "\(text)")
                }
            }
            #expect(enrolled > 50, "most texts are names of replicas")
        }
    }

    @Test func syncQueries_areReadOrRefused() throws {
        try hold { rest, _ in
            let replica = try rest.tenant.enroll()
            for text in Self.texts {
                let escaped = Self.encoded(text)
                var targets = ["protocol", "schema", "cursor", "limit", "wait", "outcomes_after", "versions_after", escaped].map {
                    "/v1/sync/pull?protocol=1&schema=1&\($0)=\(escaped)"
                }
                targets +=
                    ["entity", "after", "through", escaped].map { "/v1/sync/digest?entity=client&\($0)=\(escaped)" } + [
                        "/v1/sync/digest?entity=\(escaped)"
                    ]
                targets += [
                    "/v1/sync/records?entity=\(escaped)&ids=\(escaped)", "/v1/sync/records?entity=client&ids=\(escaped)",
                    "/v1/sync/records?entity=client&ids=\(escaped),\(escaped)",
                ]
                targets += ["after", "limit", "newest", "since"].map { "/v1/sync/activity?\($0)=\(escaped)" }
                for target in targets {
                    if let reply = try request(rest, "GET", target, token: replica.token) { check(reply, "\(target) \(text)") }
                }
                for name in ["counter", "first", "recognised", "cursor", text] {
                    var body: JSONObject = ["protocol": 1, "schema": 1, "counter": 9_000, "sets": []]
                    body[name] = .string(text)
                    for path in ["push", "fork"] {
                        check(
                            try rest.send("POST", "/v1/sync/\(path)", JSONValue.object(body).canonicalBytes(), token: replica.token.text),
                            "\(path) \(name) \(text)")
                    }
                }
            }
        }
    }

    @Test func pushedSets_areStoredAsTheyAre_orRejected() throws {
        try hold { rest, _ in
            let replica = try rest.tenant.enroll()
            var accepted = 0
            for text in Self.texts where !text.utf8.contains(0) {
                let id = rest.server.newIdentifier()
                let offers: [[Change]] = [
                    [
                        Change(
                            "client", id, .create(fields: ["name": .string(text), "notes": .string(text), "tags": .array([.string(text)])]))
                    ],
                    [Change(text, rest.server.newIdentifier(), .create(fields: ["name": "x"]))],
                    [Change("client", id, .patch(fields: JSONObject([(text, .string(text))]), was: JSONObject([(text, .string(text))])))],
                    [Change("client", id, .patch(fields: ["custom": .object(JSONObject([(text, .string(text))]))], was: JSONObject()))],
                    [Change("deal", id, .transition(name: text, observed: text, arguments: JSONObject([(text, .string(text))])))],
                ]
                for changes in offers {
                    let reply = try rest.send("POST", "/v1/sync/push", replica.body([replica.seal(changes)]), token: replica.token.text)
                    #expect(reply.status == 200, "\(text): \(reply.status) \(reply.text)")
                    guard let outcome = reply.json["outcomes"]?[0]?[1] else { continue }
                    if outcome["status"] == "accepted" { accepted += 1 }
                    let codes = (outcome["violations"]?.arrayValue ?? []).compactMap { $0["code"]?.stringValue }
                    #expect(!codes.contains("internal"), "\(text): \(outcome.canonicalText)")
                }
            }
            #expect(accepted > 20)
            // All of it reads back.
            replica.cursor = nil
            #expect(try replica.pull().reduce(0) { $0 + $1.rowCount } > accepted / 2)
        }
    }
}
