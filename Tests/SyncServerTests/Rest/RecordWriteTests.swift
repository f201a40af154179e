// Records over REST: every write is a change set, every refusal says what is wrong.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct RecordWriteTests {
    private let rest: RestUnderTest

    init() throws { rest = try RestUnderTest() }

    @Test func record_livesItsLife() throws {
        let created = try rest.send(
            "POST", "/v1/client", ["name": " Harbor ", "tags": ["b", "a", "b"], "custom": [:], "billing_address": ["city": "Boston"]])
        #expect(created.status == 201, "\(created.text)")
        let id = try #require(created.data["id"]?.stringValue)
        #expect(created.header("Location") == "/v1/client/\(id)")
        #expect(created.data["name"] == "Harbor" && created.data["tags"] == ["a", "b"] && created.data["status"] == "active")
        #expect(created.json["outcome"]?["status"] == "accepted")
        let read = try rest.get("/v1/client/\(id)")
        #expect(read.status == 200 && read.data == created.data, "what a write answers is what a read answers")
        #expect(read.header("ETag") == created.header("ETag"))

        let patched = try rest.send(
            "PATCH", "/v1/client/\(id)", ["phone": "+1 555 0100", "tags": ["c", "a"], "kinds": ["add": ["supplier"]]])
        #expect(patched.status == 200, "\(patched.text)")
        #expect(patched.data["phone"] == "+15550100" && patched.data["tags"] == ["a", "c"])
        #expect(patched.data["kinds"] == ["customer", "supplier"])
        #expect(try rest.send("PATCH", "/v1/client/\(id)", [:]).json["outcome"]?["status"] != nil)

        let held = try rest.send("POST", "/v1/client/\(id)/transitions/hold")
        #expect(held.status == 200 && held.data["status"] == "on_hold", "\(held.text)")
        #expect(try rest.send("POST", "/v1/client/\(id)/transitions/hold").json["outcome"]?["status"] == "noop")

        let deleted = try rest.send("DELETE", "/v1/client/\(id)")
        #expect(deleted.status == 200 && deleted.data["deleted_at"]?.integerValue != nil)
        #expect(try rest.get("/v1/client/\(id)").status == 404)
        #expect(try rest.get("/v1/client/\(id)?deleted=include").data["name"] == "Harbor")
        #expect(try rest.send("PATCH", "/v1/client/\(id)", ["name": "x"]).fields == ["id record_deleted"])
        let restored = try rest.send("POST", "/v1/client/\(id)/restore")
        #expect(restored.status == 200 && restored.data["deleted_at"] == .null)
        #expect(try rest.get("/v1/client/\(id)").status == 200)
    }

    @Test func nameOfNothingVisible_isNoName() throws {
        for name in [" \u{200B}", "\u{2060}\u{FEFF}\u{AD}", "\u{E0041}", "\t\u{7}"] {
            let reply = try rest.send("POST", "/v1/client", ["name": .string(name)])
            #expect(reply.status == 400 && reply.fields == ["name required"], "\(reply.text)")
            let (id, _) = try rest.create("client", ["name": "Harbor", "legal_name": .string(name)])
            #expect(try rest.get("/v1/client/\(id)").data["legal_name"] == .null)
            #expect(try rest.send("PATCH", "/v1/client/\(id)", ["name": .string(name)]).fields == ["name required"])
            #expect(try rest.send("PATCH", "/v1/client/\(id)", ["tags": ["add": [.string(name)]]]).fields == ["tags invalid_format"])
        }
        let joined = "\u{1F468}\u{200D}\u{1F469} o\u{AD}k"
        #expect(try rest.get("/v1/client/\(try rest.create("client", ["name": .string(joined)]).id)").data["name"] == .string(joined))
    }

    @Test func write_entersTheFeed_underItsMember() throws {
        let id = try rest.create("client", ["name": "Harbor"]).id
        let row = try rest.server.connection.run(
            "SELECT actor_kind, actor, replica, kind FROM tideline.feed WHERE tenant = $1::uuid AND record = $2::uuid",
            .identifier(rest.tenant.id), .text(id))
        #expect(row.text(0, 0) == "member" && row.identifier(0, 1) == rest.tenant.owner && row.isNull(0, 2))
        #expect(row.text(0, 3) == "client.created")
        #expect(rest.server.announced.with { $0.last } == rest.tenant.id)
    }

    @Test func creation_takesTheIDOfItsAuthor_onceOnly() throws {
        let id = rest.server.newIdentifier().text
        #expect(try rest.send("POST", "/v1/client", ["id": .string(id), "name": "a"]).status == 201)
        let again = try rest.send("POST", "/v1/client", ["id": .string(id), "name": "b"])
        #expect(again.status == 409 && again.fields == ["id duplicate"])
        #expect(try rest.send("POST", "/v1/client", ["id": "x", "name": "b"]).fields == ["id invalid_format"])
    }

    @Test func link_hasTheIDThatFollows_andMergesASecondTime() throws {
        let client = try rest.create("client", ["name": "Harbor"]).id
        let contact = try rest.create("contact", ["last_name": "Ortiz"]).id
        let link: JSONObject = ["client": .string(client.uppercased()), "contact": .string(contact), "role": "Buyer"]
        let first = try rest.send("POST", "/v1/client_contact", .object(link))
        #expect(first.status == 201, "\(first.text)")
        let second = try rest.send("POST", "/v1/client_contact", .object(link))
        #expect(second.status == 200 && second.data["id"] == first.data["id"])
    }

    @Test func everythingWrong_isSaidAtOnce() throws {
        let reply = try rest.send(
            "POST", "/v1/client",
            [
                "name": "  ", "email": "no", "credit_limit": -5, "nickname": "x", "status": "archived", "kinds": [],
                "owner": .string(rest.server.newIdentifier().text),
            ])
        #expect(reply.status == 400 && reply.code == "validation_failed")
        #expect(
            reply.fields == [
                "credit_limit out_of_range", "email invalid_format", "kinds too_few", "name required", "nickname unknown_field",
                "owner reference_missing", "status read_only",
            ])
        let patch = try rest.create("client", ["name": "a"])
        let patched = try rest.send("PATCH", "/v1/client/\(patch.id)", ["name": nil, "phone": "x", "id": "y"])
        #expect(patched.fields == ["id read_only", "name required", "phone invalid_format"])
        let missing = try rest.send("PATCH", "/v1/client/\(patch.id)", ["owner": .string(rest.server.newIdentifier().text)])
        #expect(missing.status == 409 && missing.fields == ["owner reference_missing"], "right in itself: the member may come")
        #expect(try rest.tenant.rows("public.client") == 1)
        #expect(
            try rest.tenant.count(
                "SELECT count(*) FROM tideline.feed WHERE tenant = $1::uuid AND kind = 'sync.rejected'", .identifier(rest.tenant.id)) == 0)
    }

    @Test func bodies_areCheckedBeforeTheRecord() throws {
        let id = try rest.create("client", ["name": "a"]).id
        func patch(_ body: String, _ type: String? = nil) throws -> RestReply {
            try rest.send(
                "PATCH", "/v1/client/\(id)", Array(body.utf8), headers: type.map { [("Content-Type", $0)] } ?? [], token: rest.token.text)
        }
        #expect(try patch("{").status == 400)
        #expect(try patch("[]").code == "bad_request")
        #expect(try patch("").status == 400)
        #expect(try patch(#"{"name":"a","name":"b"}"#).status == 400)
        #expect(try patch(#"{"name":"a"}"#, "text/plain").code == "unsupported_media_type")
        #expect(try patch(#"{"name":"a"}"#, "application/json; charset=utf-8").status == 200)
        #expect(try patch(#"{"name":"a"}"#, "application/merge-patch+json").status == 200)
        let packed = try rest.send("PATCH", "/v1/client/\(id)", ["name": "a"], headers: [("Content-Encoding", "gzip")])
        #expect(packed.status == 415)
        #expect(try patch(#"{"notes":"\#(String(repeating: "x", count: WriteBody.bytesMax))"}"#).code == "payload_too_large")
        #expect(try rest.send("DELETE", "/v1/client/\(id)", ["x": 1]).status == 400)
        #expect(try rest.send("PATCH", "/v1/client/\(id)?limit=1", ["name": "b"]).status == 400)
        #expect(try rest.send("PUT", "/v1/client/\(id)").header("Allow") == "GET, HEAD, PATCH, DELETE")
        #expect(try rest.send("DELETE", "/v1/tenant/\(rest.tenant.id.text)").status == 405)
    }

    @Test func transition_checksArgumentsAndState() throws {
        let client = try rest.create("client", ["name": "Harbor"]).id
        let deal = try rest.create(
            "deal", ["title": "Roof", "client": .string(client), "currency": "USD", "owner": .string(rest.tenant.owner.text)])
        let path = "/v1/deal/\(deal.id)/transitions"
        #expect(try rest.send("POST", "\(path)/lose").fields == ["lost_reason required"])
        #expect(try rest.send("POST", "\(path)/fly").status == 404)
        #expect(try rest.send("POST", "\(path)/qualify", ["obsrved": "lead"]).fields == ["obsrved unknown_field"])
        let stale = try rest.send("POST", "\(path)/reopen", ["observed": "won"])
        #expect(stale.status == 409 && stale.fields == ["stage stale_transition"])
        let zero = try rest.send("POST", "\(path)/qualify")
        #expect(zero.data["stage"] == "qualified")
        #expect(try rest.send("POST", "\(path)/win").fields == ["amount guard_failed"])
        let lost = try rest.send("POST", "\(path)/lose", ["observed": "qualified", "arguments": ["reason": "price"]])
        #expect(lost.status == 200 && lost.data["lost_reason"] == "price", "\(lost.text)")
        #expect(try rest.send("DELETE", "/v1/client/\(client)").fields == ["id referenced"])
    }

    @Test func counter_changesByDifferences() throws {
        let part = try rest.create("part", ["sku": "valve_22", "name": "Valve", "on_hand_milli": 5000]).id
        #expect(try rest.send("PATCH", "/v1/part/\(part)", ["on_hand_milli": ["add": -1500]]).data["on_hand_milli"] == 3500)
        #expect(try rest.send("PATCH", "/v1/part/\(part)", ["on_hand_milli": 9]).fields == ["on_hand_milli invalid_format"])
        #expect(try rest.send("PATCH", "/v1/part/\(part)", ["sku": "other"]).fields == ["sku immutable"])
        #expect(try rest.send("POST", "/v1/part", ["sku": "valve_22", "name": "Twin"]).fields == ["sku duplicate"])
    }

    @Test func values_areTakenInFormsThatPeopleWrite() throws {
        let document = try rest.create("document", ["title": "Offer", "due_on": "2026-03-16"])
        #expect(try rest.get("/v1/document/\(document.id)").data["due_on"] == 20_528)
        let site = try rest.send(
            "POST", "/v1/site",
            [
                "client": .string(try rest.create("client", ["name": "x"]).id), "name": "Pier 9", "address": ["city": "Boston"],
                "active": false,
            ])
        #expect(site.data["active"] == 0, "\(site.text)")
    }

    @Test func freeFormValues_comeBackAsTheyWere_orAreRefused() throws {
        let path = "/v1/tenant/\(rest.tenant.id.text)"
        func nested(_ levels: Int) -> String { String(repeating: "[", count: levels) + "1" + String(repeating: "]", count: levels) }
        for text in [
            "1e30", "1.5", "-0", "1E400", "[[0.25]]", "{\"a\":1e1}", nested(FieldType.freeFormLevelsMax), nested(60),
        ] {
            let reply = try rest.send("PATCH", path, Array("{\"branding\":{\"color\":\(text)}}".utf8), token: rest.token.text)
            #expect(reply.status == 400 && reply.fields == ["branding invalid_format"], "\(text): \(reply.status) \(reply.text)")
        }
        for text in ["5.0", "-9223372036854775808", "{\"b\":null,\"a\":[true,\"\u{1F6A2}\"]}", nested(FieldType.freeFormLevelsMax - 1)] {
            let reply = try rest.send("PATCH", path, Array("{\"branding\":{\"color\":\(text)}}".utf8), token: rest.token.text)
            #expect(reply.status == 200, "\(text): \(reply.text)")
            let expected = try JSONValue(parsing: text == "5.0" ? "5" : text)
            #expect(try rest.get(path).data["branding"]?["color"] == expected)
            // What everybody else gets of it: the timeline, and with it replicas and consumers.
            #expect(try rest.get("/v1/activity?limit=1").rows[0]["changes"]?["branding"]?["new"]?["color"] == expected)
        }
    }

    // MARK: If-Match

    @Test func ifMatch_refusesWhatWasChangedSince() throws {
        let made = try rest.create("client", ["name": "Harbor"])
        func patch(_ tag: String, _ fields: JSONObject = ["name": "b"]) throws -> RestReply {
            try rest.send("PATCH", "/v1/client/\(made.id)", .object(fields), headers: [("If-Match", tag)])
        }
        // Something else happens: the record is still as it was read.
        try rest.create("client", ["name": "Other"])
        #expect(try patch(made.etag).status == 200)
        let late = try patch(made.etag)
        #expect(late.status == 412 && late.code == "precondition_failed")
        #expect(try patch(try #require(late.json["error"]?["etag"]?.stringValue)).status == 200)
        #expect(try patch("*").status == 200)
        #expect(try patch("W/\(try #require(rest.get("/v1/client/\(made.id)").header("ETag")))").status == 412)
        #expect(try patch("\"0.999999999\"").status == 412, "nobody can have read what has not happened")
        #expect(try patch("\"7.1\"").status == 412)
        for malformed in ["0.4", "\"0.4", "\"a\", b", "\"\"\"\""] { #expect(try patch(malformed).status == 400, "\(malformed)") }
        let both = "\"0.1\", \(try #require(rest.get("/v1/client/\(made.id)").header("ETag")))"
        #expect(try patch(both).status == 200)
        #expect(
            try rest.send("PATCH", "/v1/client/\(rest.server.newIdentifier().text)", ["name": "x"], headers: [("If-Match", "*")]).status
                == 404)
    }

    @Test func ifMatch_isTheKnowledgeOfTheEdit() throws {
        let client = try rest.create("client", ["name": "Harbor"])
        // What would go with it was made after it was read.
        try rest.create("site", ["client": .string(client.id), "name": "Pier 9", "address": ["city": "Boston"]])
        let refused = try rest.send("DELETE", "/v1/client/\(client.id)", headers: [("If-Match", client.etag)])
        #expect(refused.status == 409 && refused.fields == ["id delete_conflict"], "\(refused.text)")
        let document = try rest.create("document", ["title": "Offer"])
        try rest.create("document_line", ["document": .string(document.id), "label": "Valve", "price": 100])
        let issue = "/v1/document/\(document.id)/transitions/issue"
        #expect(try rest.send("POST", issue, headers: [("If-Match", document.etag)]).fields == ["$aggregate conflict"])
        let etag = try #require(rest.get("/v1/document/\(document.id)").header("ETag"))
        #expect(try rest.send("POST", issue, headers: [("If-Match", etag)]).status == 200)
        #expect(try rest.send("DELETE", "/v1/client/\(client.id)").status == 200, "without a tag everything up to now is known")
    }

    @Test func tags_fromBeforeAPromotion_doNotVouchForRestrictedFields() throws {
        let client = try rest.create("client", ["name": "Harbor"])
        try rest.send("PATCH", "/v1/client/\(client.id)", ["tax_number": "PT1"])
        let member = try rest.member(.field)
        let path = "/v1/client/\(client.id)"
        let seen = try rest.get(path, as: member.token)
        let tag = try #require(seen.header("ETag"))
        #expect(tag.hasSuffix(".open\"") && seen.data["tax_number"] == nil)
        #expect(try rest.get("/v1/client", as: member.token).json["as_of"]?.stringValue.map { "\"\($0)\"" } == tag)
        // As long as the role is the same, the tag says all there is to say.
        #expect(try rest.send("GET", path, headers: [("If-None-Match", tag)], as: member.token).status == 304)
        try rest.tenant.write([Change("member", member.id, .patch(fields: ["role": "manager"], was: ["role": "field"]))]).requireAccepted()
        func patch(_ fields: JSONObject, _ tag: String?) throws -> RestReply {
            try rest.send("PATCH", path, .object(fields), headers: tag.map { [("If-Match", $0)] } ?? [], as: member.token)
        }
        let again = try rest.send("GET", path, headers: [("If-None-Match", tag)], as: member.token)
        #expect(again.status == 200 && again.data["tax_number"] == "PT1", "what was cached lacks fields that are there now")
        #expect(try patch(["tax_number": "PT2"], tag).fields == ["tax_number conflict"])
        #expect(try rest.send("DELETE", path, headers: [("If-Match", tag)], as: member.token).fields == ["id delete_conflict"])
        #expect(try rest.get(path).data["tax_number"] == "PT1")
        #expect(try patch(["notes": "Key at desk"], tag).status == 200, "what was shown is known")
        let now = try #require(rest.get(path, as: member.token).header("ETag"))
        #expect(!now.contains("open"))
        #expect(try patch(["tax_number": "PT3"], "\(tag), \(now)").status == 200, "the tag that saw more speaks")
    }

    @Test func ifNoneMatch_savesTheBody() throws {
        let client = try rest.create("client", ["name": "Harbor"])
        try rest.create("client", ["name": "Other"])
        func read(_ tag: String) throws -> RestReply { try rest.send("GET", "/v1/client/\(client.id)", headers: [("If-None-Match", tag)]) }
        let same = try read(client.etag)
        #expect(same.status == 304 && same.response.body.isEmpty && same.header("ETag") != nil)
        try rest.send("PATCH", "/v1/client/\(client.id)", ["name": "b"])
        #expect(try read(client.etag).status == 200)
    }
}
