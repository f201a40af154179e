// Where the document and the server once said different things: each found by a property-based tester (scripts/api-check), and
// kept from coming back here.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct ContractTests {
    private let rest: RestUnderTest
    private let document = OpenAPIDocument(.testing).json

    init() throws { rest = try RestUnderTest() }

    // MARK: Links

    /// Operations by id, with the names of their parameters.
    private func operations() -> [String: Set<String>] {
        var found: [String: Set<String>] = [:]
        for item in document["paths"]?.objectValue?.values ?? [] {
            for operation in item.objectValue?.values ?? [] {
                guard let id = operation["operationId"]?.stringValue else { continue }
                let parameters = (item["parameters"]?.arrayValue ?? []) + (operation["parameters"]?.arrayValue ?? [])
                found[id] = Set(
                    parameters.compactMap { parameter in
                        let name = parameter["$ref"]?.stringValue?.split(separator: "/").last.map(String.init)
                        return parameter["name"]?.stringValue
                            ?? name.flatMap { document["components"]?["parameters"]?[$0]?["name"]?.stringValue }
                    })
            }
        }
        return found
    }

    private func links(_ operation: JSONValue?) -> [JSONValue] {
        (operation?["responses"]?.objectValue?.values ?? []).flatMap { $0["links"]?.objectValue?.values.map { $0 } ?? [] }
    }

    @Test func links_leadToOperations_withParametersTheyHave() throws {
        let operations = operations()
        var count = 0
        for item in document["paths"]?.objectValue?.values ?? [] {
            for operation in item.objectValue?.values ?? [] {
                for link in links(operation) {
                    count += 1
                    let id = try #require(link["operationId"]?.stringValue)
                    let parameters = try #require(operations[id], "\(id) is no operation")
                    for name in link["parameters"]?.objectValue?.keys ?? [] { #expect(parameters.contains(name), "\(id) has no \(name)") }
                }
            }
        }
        #expect(count > 60)
    }

    @Test func creations_linkToEverythingTheirRecordCanBeAsked() throws {
        for entity in Schema.testing.entities where entity.isServed && entity.restOperations.contains(.create) {
            let targets = Set(links(document["paths"]?["/v1/\(entity.name)"]?["post"]).compactMap { $0["operationId"]?.stringValue })
            var expected: Set<String> = []
            for operation in entity.restOperations where operation != .list && operation != .create {
                if operation == .transition {
                    for transition in entity.restTransitions { expected.insert("\(transition.name)_\(entity.name)") }
                } else {
                    expected.insert("\(operation.rawValue)_\(entity.name)")
                }
            }
            #expect(targets == expected, "\(entity.name)")
        }
    }

    // MARK: Requests

    @Test func entityTags_mayHoldCommas_andTheirListMayBeEmpty() throws {
        let made = try rest.create("client", ["name": "Harbor"])
        func status(_ tag: String) throws -> Int {
            try rest.send("PATCH", "/v1/client/\(made.id)", ["phone": "+15550100"], headers: [("If-Match", tag)]).status
        }
        #expect(try status("\"a,b\", W/\"c\",\(made.etag)") == 200)
        #expect(try status("\"a,b\"") == 412)
        #expect(try status("") == 412, "matches no place")
        #expect(try status(" , ,") == 412)
        for malformed in ["0.41", "\"0.41", "\"a\" \"b\"", "\"a b\"", "w/\"a\"", "*, \"a\""] {
            #expect(try status(malformed) == 400, "\(malformed)")
        }
        #expect(try status((0...EntityTag.tagsMax).map { "\"\($0)\"" }.joined(separator: ",")) == 400)
        let unchanged = try rest.send("GET", "/v1/client/\(made.id)", headers: [("If-None-Match", "")])
        #expect(unchanged.status == 200)
    }

    @Test func whatIsWrongInItself_isSaidBeforeTheEntityTag() throws {
        let client = try rest.create("client", ["name": "Harbor"])
        func answer(_ path: String, _ body: JSONValue) throws -> RestReply {
            try rest.send(path.isEmpty ? "PATCH" : "POST", "/v1/client/\(client.id)\(path)", body, headers: [("If-Match", "\"0.0\"")])
        }
        #expect(try answer("", ["phone": "x"]).status == 400)
        #expect(try answer("/transitions/hold", ["observed": false]).status == 400)
        #expect(try answer("/transitions/hold", ["arguments": ["why": "x"]]).status == 400)
        #expect(try answer("", ["phone": "+15550100"]).status == 412)
        #expect(try answer("/transitions/release", ["observed": "on_hold"]).status == 412, "before what depends on how things stand")
        #expect(try rest.get("/v1/client/\(client.id)").data["phone"] == nil || rest.get("/v1/client/\(client.id)").data["phone"] == .null)
    }

    @Test func wholeNumbers_mayBeWrittenWithAFraction() throws {
        let bytes = Array(#"{"name":"Harbor","payment_terms_days":30.0,"credit_limit":1077.00}"#.utf8)
        let made = try rest.send("POST", "/v1/client", bytes, token: rest.token.text)
        #expect(made.status == 201 && made.data["payment_terms_days"] == 30 && made.data["credit_limit"] == 1077, "\(made.text)")
        for wrong in ["30.5", "3e1", "30.", "-0.0001"] {
            let body = Array(#"{"name":"Harbor","payment_terms_days":\#(wrong)}"#.utf8)
            #expect(try rest.send("POST", "/v1/client", body, token: rest.token.text).status == 400, "\(wrong)")
        }
    }

    @Test func texts_areCountedAsTheyAreSent() throws {
        let long = String(repeating: "n", count: 200)
        #expect(try rest.send("POST", "/v1/client", ["name": .string(long)]).status == 201)
        let reply = try rest.send(
            "POST", "/v1/client", ["name": .string(" " + long), "email": "no", "tags": [.string("a" + String(repeating: " ", count: 40))]])
        #expect(reply.status == 400 && reply.fields == ["email invalid_format", "name too_long", "tags too_long"], "\(reply.text)")
        let client = try rest.create("client", ["name": " Harbor "]).id
        #expect(try rest.get("/v1/client/\(client)").data["name"] == "Harbor")
        let added = try rest.send("PATCH", "/v1/client/\(client)", ["tags": ["add": [.string(String(repeating: " ", count: 41) + "a")]]])
        #expect(added.fields == ["tags too_long"])
        // What is longer only until it is composed is not too long.
        #expect(try rest.send("PATCH", "/v1/client/\(client)", ["name": .string(String(repeating: "e\u{301}", count: 200))]).status == 200)
    }

    @Test func missingReferences_areConflicts_unlessSomethingIsWrongInItself() throws {
        let nobody = JSONValue.string(rest.server.newIdentifier().text)
        let missing = try rest.send("POST", "/v1/client", ["name": "Harbor", "owner": nobody])
        #expect(missing.status == 409 && missing.code == "conflict" && missing.fields == ["owner reference_missing"])
        let both = try rest.send("POST", "/v1/client", ["name": "", "owner": nobody])
        #expect(both.status == 400 && both.fields == ["name required", "owner reference_missing"])
        let custom = try rest.send("POST", "/v1/client", ["name": "Harbor", "custom": ["berth": "9"]])
        #expect(custom.status == 409 && custom.fields == ["custom.berth unknown_custom_field"], "\(custom.text)")
    }

    @Test func lists_takeEveryFilterAtOnce() throws {
        let columns = ListColumn.all(of: try #require(Schema.testing.entity("client"))) { $0.isSecret }
        let query = columns.filter { $0.operators.contains(.ne) }.flatMap { column in
            [ListFilter.Operator.ne, .in].map {
                "\(column.name)[\($0.rawValue)]=\(column.type.storage == .identifier ? rest.tenant.id.text : column.type == .instant ? "7" : column.name == "status" ? "active" : "x")"
            }
        }
        #expect(try rest.get("/v1/client?\(query.joined(separator: "&"))").status == 200)
        for entity in Schema.testing.entities where entity.isServed {
            let count = ListColumn.all(of: entity) { $0.isSecret }.reduce(0) { $0 + $1.operators.count }
            #expect(count <= ListRequest.filtersMax, "\(entity.name) has more filters than a list takes")
        }
    }

    @Test func times_areOfTheCalendar() throws {
        #expect(try rest.get("/v1/activity?until=-62135596800000").status == 200)
        #expect(try rest.get("/v1/activity?until=-62135596800001").status == 400)
        #expect(try rest.get("/v1/activity?since=\(HybridTimestamp.maximumMilliseconds + 1)").status == 400)
    }

    /// A wrong request says nothing about itself to those who may not make it.
    @Test func sync_judgesWhoAsks_beforeWhatIsAsked() throws {
        let replica = try rest.tenant.enroll()
        let stranger = AccessToken(tenant: rest.tenant.id, secret: [UInt8](repeating: 7, count: 32))
        let requests: [(method: String, target: String, body: String, status: Int)] = [
            ("GET", "/v1/sync/pull", "", 400), ("GET", "/v1/sync/pull?protocol=null", "", 400),
            ("GET", "/v1/sync/pull?protocol=2", "", 426),
            ("GET", "/v1/sync/pull?protocol=1&limit=0", "", 400), ("POST", "/v1/sync/push", "[]", 400),
            ("POST", "/v1/sync/push", #"{"sets":[]}"#, 400),
            ("POST", "/v1/sync/push", #"{"protocol":2,"sets":[]}"#, 426), ("POST", "/v1/sync/fork", "[null]", 400),
            ("POST", "/v1/sync/fork", #"{"counter":1}"#, 400), ("POST", "/v1/sync/fork", #"{"protocol":9}"#, 426),
            ("GET", "/v1/sync/digest?after=", "", 400), ("GET", "/v1/sync/records", "", 400), ("GET", "/v1/sync/activity?limit=x", "", 400),
        ]
        for (method, target, body, status) in requests {
            func answer(_ token: AccessToken) throws -> Int { try rest.send(method, target, Array(body.utf8), token: token.text).status }
            #expect(try answer(replica.token) == status, "\(method) \(target) \(body)")
            #expect(try answer(rest.token) == 403, "\(method) \(target) \(body)")
            #expect(try answer(stranger) == 401, "\(method) \(target) \(body)")
        }
        #expect(try rest.send("PATCH", "/v1/client/x?y=1", Array("[".utf8), token: stranger.text).status == 401)
        #expect(try rest.send("GET", "/v1/client/x?y=1", [], headers: [("If-None-Match", "x")], token: stranger.text).status == 401)
    }

    @Test func enrolment_isJudgedMemberByMember() throws {
        func enroll(_ body: String) throws -> RestReply { try rest.send("POST", "/v1/enroll", Array(body.utf8), token: nil) }
        #expect(try enroll("[null]").status == 400)
        #expect(try enroll(#"{"code":"x","label":"x","schema":1}"#).status == 400)
        #expect(try enroll(#"{"code":"x","label":"x","schema":1,"protocol":2}"#).status == 426)
        #expect(try enroll(#"{"code":"\#(String(repeating: "é", count: 200))","label":"x","schema":1.0,"protocol":1.0}"#).status == 404)
        for _ in 0..<EnrollmentLimit.failuresPerMinute { _ = try enroll(#"{"code":"x","label":"x","schema":1,"protocol":1}"#) }
        let limited = try enroll(#"{"code":"x","label":"x","schema":1,"protocol":1}"#)
        #expect(limited.status == 429 && limited.code == "too_many_requests" && limited.header("Retry-After") == "60")
        #expect(document["paths"]?["/v1/enroll"]?["post"]?["responses"]?["429"] != nil)
    }

    @Test func consumers_areRefusedForWhatIsWrong_andForHowThingsStand() throws {
        func post(_ path: String, _ body: JSONValue) throws -> RestReply { try rest.send("POST", "/v1/consumers\(path)", body) }
        #expect(try post("", ["name": "a", "kind": "pull"]).status == 201)
        for (path, body) in [
            ("", ["name": "a", "kind": "pull"]), ("", ["name": "b", "kind": "pull", "from": 1_000_000]),
            ("/a/ack", ["position": 1_000_000]),
            ("/a/replay", ["from": 1_000_000]),
        ] as [(String, JSONValue)] { #expect(try post(path, body).status == 409, "\(path) \(body)") }
        #expect(try rest.send("POST", "/v1/consumers/a/rotate-secret").status == 409)
        _ = try post("/a/pause", ["reason": "moving"])
        #expect(try rest.get("/v1/consumers/a/events").status == 409, "it is paused")
        for (path, body) in [
            ("", []), ("/a/pause", ["why": "x"]), ("/a/ack", []), ("/a/ack", ["position": -1]), ("/a/replay", ["from": []]),
        ]
            as [(String, JSONValue)]
        { #expect(try post(path, body).status == 400, "\(path) \(body)") }
        #expect(try rest.get("/v1/consumers?limit=1").status == 400)
    }

    @Test func emptyTexts_areNone_whereThereNeedBeNoValue() throws {
        let made = try rest.send(
            "POST", "/v1/contact", ["last_name": "Ortiz", "language": "", "email": "", "phone": "", "alt_phones": []])
        #expect(made.status == 201 && made.data["language"] == .null && made.data["email"] == .null, "\(made.text)")
        let schema = OpenAPIDocument(.testing).json["components"]?["schemas"]?["ContactCreate"]
        let check = JSONSchemaCheck(document: OpenAPIDocument(.testing).json)
        for (name, value) in [("language", ""), ("language", "pt"), ("email", ""), ("email", "a@b.example"), ("phone", "")] {
            let problems = check.problems(.string(value), try #require(schema?["properties"]?[name]))
            #expect(problems.isEmpty, "\(name) \(value): \(problems)")
        }
        #expect(!check.problems("p", try #require(schema?["properties"]?["language"])).isEmpty)
        #expect(try rest.send("POST", "/v1/contact", ["last_name": ""]).fields == ["last_name required"])
    }

    @Test func sets_areFull_forWhatIsWrongInItself_andForWhatIsThere() throws {
        func phones(_ range: ClosedRange<Int>) -> JSONValue { .array(range.map { .string("+155501\(10 + $0)") }) }
        let contact = try rest.create("contact", ["last_name": "Ortiz", "alt_phones": phones(1...3)]).id
        func patch(_ value: JSONValue) throws -> RestReply { try rest.send("PATCH", "/v1/contact/\(contact)", ["alt_phones": value]) }
        let tooMany = try patch(["add": phones(4...9)])
        #expect(tooMany.status == 400 && tooMany.fields == ["alt_phones too_many"], "six are more than any contact has")
        let full = try patch(["add": phones(4...6)])
        #expect(full.status == 409 && full.code == "conflict" && full.fields == ["alt_phones too_many"])
        #expect(try patch(["add": phones(4...5)]).status == 200)
        #expect(try patch(phones(1...6)).status == 400)
        // What is no list is no difference either, and not an empty one.
        for wrong in [["add": "+15550111"], ["remove": 1], ["add": .null], ["add": [:]]] as [JSONValue] {
            #expect(try patch(wrong).fields == ["alt_phones invalid_format"], "\(wrong)")
        }
        #expect(try patch(["remove": [0, "nothing of the kind"]]).status == 200)
    }
}
