// Cursors and tokens that were changed, cut, put together anew or taken from somebody else: a clear error, never data, never a 500.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct TamperingTests {
    /// A text in every way that is nearly it: each character another one, cut at both ends, longer, turned, encoded otherwise.
    private static func variants(of text: String) -> [String] {
        let characters = Array(text.utf8)
        func string(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
        var all: [String] = []
        for index in characters.indices {
            for replacement in [characters[index] ^ 1, characters[index] ^ 0x20, UInt8(ascii: "A"), UInt8(ascii: "_"), UInt8(ascii: "7")] {
                var changed = characters
                changed[index] = replacement
                guard replacement > 0x20, replacement < 0x7F else { continue }
                all.append(string(changed))
            }
            all.append(string(Array(characters[..<index])))
            all.append(string(Array(characters[index...].dropFirst())))
            if index > 0 { all.append(string(Array(characters[..<index]) + Array(characters[(index - 1)...]))) }
        }
        let base64 = text.replacing("-", with: "+").replacing("_", with: "/")
        all += [
            "\(text)A", "A\(text)", "\(text)=", "\(text)==", "\(text)\(text)", string(characters.reversed()), text.lowercased(),
            text.uppercased(), base64, base64 + "=", "\(text).\(text)", "%00", "null", "0", "-1",
        ]
        return Array(Set(all)).filter { $0 != text }
    }

    private static func encoded(_ text: String) -> String {
        String(
            text.utf8.flatMap { byte -> [Character] in
                let isPlain =
                    byte < 0x80
                    && (Character(Unicode.Scalar(byte)).isLetter || Character(Unicode.Scalar(byte)).isNumber || byte == 0x2D || byte == 0x5F
                        || byte == 0x2E)
                return isPlain ? [Character(Unicode.Scalar(byte))] : Array("%" + (byte < 16 ? "0" : "") + String(byte, radix: 16))
            })
    }

    /// A tenant with more than one page of everything.
    private func makeTenant(_ rest: RestUnderTest) throws -> (replica: ReplicaUnderTest, pull: String, list: String, timeline: String) {
        for number in 0..<4 { try rest.create("client", ["name": .string("Client \(number)")]) }
        let replica = try rest.tenant.enroll()
        _ = try replica.page(limit: 2)
        return (
            replica, try required(replica.cursor), try required(try rest.get("/v1/client?limit=2").next),
            try required(try rest.get("/v1/activity?limit=2").next)
        )
    }

    @Test func changedCursor_isRefused_byEveryReaderOfOne() throws {
        let rest = try RestUnderTest()
        let (replica, pull, list, timeline) = try makeTenant(rest)
        func refuses(_ target: String, _ cursor: String, token: String) throws {
            let reply = try rest.send("GET", "\(target)&cursor=\(Self.encoded(cursor))", [], token: token)
            #expect(reply.status == 400 && reply.code == "invalid_cursor", "\(target) \(cursor): \(reply.status) \(reply.text.prefix(200))")
        }
        let pulls = "/v1/sync/pull?protocol=1&schema=1"
        for cursor in Self.variants(of: pull) + [list, timeline] where !cursor.isEmpty {
            try refuses(pulls, cursor, token: replica.token.text)
        }
        for cursor in Self.variants(of: list) + [pull, timeline] where !cursor.isEmpty {
            try refuses("/v1/client?limit=2", cursor, token: rest.token.text)
        }
        for cursor in Self.variants(of: timeline) + [pull, list] where !cursor.isEmpty {
            try refuses("/v1/activity?limit=2", cursor, token: rest.token.text)
        }
        // And as they are they work.
        #expect(try rest.send("GET", "\(pulls)&cursor=\(pull)", [], token: replica.token.text).status == 200)
        #expect(try rest.get("/v1/client?limit=2&cursor=\(list)").status == 200)
        #expect(try rest.get("/v1/activity?limit=2&cursor=\(timeline)").status == 200)
    }

    @Test func pushWithAChangedCursor_storesNothing() throws {
        let rest = try RestUnderTest()
        let (replica, pull, list, _) = try makeTenant(rest)
        let sets = [replica.seal([Edit.client(rest.server.newIdentifier())])]
        let before = try rest.tenant.feedCount
        for cursor in Self.variants(of: pull).filter({ !$0.isEmpty }).prefix(120) + [list] {
            let body = PushRequest(schemaVersion: 1, cursor: cursor, sets: sets).bytes(replica: replica.id)
            let reply = try rest.send("POST", "/v1/sync/push", body, token: replica.token.text)
            #expect(reply.status == 400 && reply.code == "invalid_cursor", "\(cursor): \(reply.status) \(reply.text)")
        }
        #expect(try rest.tenant.feedCount == before)
        let body = PushRequest(schemaVersion: 1, cursor: pull, sets: sets).bytes(replica: replica.id)
        #expect(try rest.send("POST", "/v1/sync/push", body, token: replica.token.text).status == 200)
    }

    @Test func cursorOfAnotherTenant_isRefused_everywhere() throws {
        let rest = try RestUnderTest()
        let other = try rest.otherTenant()
        let (mine, theirs) = (try makeTenant(rest), try makeTenant(other))
        let uses = [
            ("/v1/sync/pull?protocol=1&schema=1", theirs.pull, mine.replica.token), ("/v1/client?limit=2", theirs.list, rest.token),
            ("/v1/activity?limit=2", theirs.timeline, rest.token),
        ]
        for (target, cursor, token) in uses {
            let reply = try rest.send("GET", "\(target)&cursor=\(cursor)", [], token: token.text)
            #expect(reply.status == 400 && reply.code == "invalid_cursor", "\(target): \(reply.text)")
        }
        // Of another replica of the tenant it is the same place in the same feed, and holds nothing that this one may not see.
        let second = try rest.tenant.enroll()
        #expect(try rest.send("GET", "/v1/sync/pull?protocol=1&schema=1&cursor=\(mine.pull)", [], token: second.token.text).status == 200)
    }

    /// A cursor that this server's own key did not seal, however well it is made.
    @Test func cursorSealedWithAnotherKey_isRefused() throws {
        let rest = try RestUnderTest()
        let replica = try makeTenant(rest).replica
        let forged = CursorSeal(key: [UInt8](repeating: 7, count: 32)).seal(
            Cursor(
                tenant: rest.tenant.id, mark: CheckpointMark(position: FeedPosition(epoch: 0, position: 0), fingerprint: ""),
                tombstoneFloor: 0, role: .owner))
        let reply = try rest.send("GET", "/v1/sync/pull?protocol=1&schema=1&cursor=\(forged)", [], token: replica.token.text)
        #expect(reply.code == "invalid_cursor")
    }

    // MARK: Tokens

    private static let targets = ["/v1/client", "/v1/sync/pull?protocol=1&schema=1", "/v1/activity", "/v1/consumers", "/v1/sync/digest"]

    @Test func changedToken_isNobodys() throws {
        let rest = try RestUnderTest()
        let other = try rest.otherTenant()
        let replica = try rest.tenant.enroll()
        let parts = rest.token.text.split(separator: "_", maxSplits: 2).map(String.init)
        let theirs = other.token.text.split(separator: "_", maxSplits: 2).map(String.init)
        // The secret of one tenant under the name of another; of one kind under another.
        let mixed = [
            "\(parts[0])_\(theirs[1])_\(parts[2])", "\(parts[0])_\(parts[1])_\(theirs[2])", "tdl__\(parts[2])", "tdl_\(parts[1])_",
            "\(parts[1])_\(parts[2])",
        ]
        for token in Self.variants(of: rest.token.text) + Self.variants(of: replica.token.text) + mixed {
            let reply = try rest.send("GET", Self.targets[abs(token.hashValue % Self.targets.count)], [], token: token)
            #expect(reply.status == 401 && reply.code == "unauthorized", "\(token): \(reply.status)")
            #expect(reply.header("WWW-Authenticate") == "Bearer")
        }
    }

    @Test func authorization_isRefused_inEveryOtherForm() throws {
        let rest = try RestUnderTest()
        let token = rest.token.text
        let forms = [
            "", "Bearer", "Bearer ", token, "Basic \(token)", "Bearer: \(token)", "Bearer=\(token)", "Bearer \(token) x",
            "Bearer \(token),", "Bearer \"\(token)\"", "Bearer\t\(token)", "Token \(token)", "Bearer \(token)\u{A0}",
            "Bearer Bearer \(token)", "Bearer \(String(repeating: "x", count: 10_000))", "Digest username=\"x\"", "Bearer ' OR 1=1 --",
            "Bearer tdl_\(String(repeating: "0", count: 32))_\(String(repeating: "A", count: 43))",
        ]
        for form in forms {
            let reply = try rest.send("GET", "/v1/client", [], headers: [("Authorization", form)], token: nil)
            #expect(reply.status == 401, "\(form): \(reply.status)")
        }
        for form in ["Bearer \(token)", "bearer \(token)", "BEARER  \(token) "] {
            #expect(try rest.send("GET", "/v1/client", [], headers: [("Authorization", form)], token: nil).status == 200, "\(form)")
        }
    }

    @Test func tokenOfOneKind_doesNotOpenWhatIsForTheOther() throws {
        let rest = try RestUnderTest()
        for target in [
            "/v1/sync/pull?protocol=1&schema=1", "/v1/sync/digest", "/v1/sync/activity",
            "/v1/sync/records?entity=client&ids=01900000-0000-7000-8000-00000000000c",
        ] {
            #expect(try rest.get(target).status == 403, "an API token at \(target)")
        }
        #expect(
            try rest.send(
                "POST", "/v1/sync/push", PushRequest(schemaVersion: 1, cursor: nil, sets: []).bytes(replica: rest.tenant.id),
                token: rest.token.text
            ).status == 403)
    }

    /// A record of another tenant is not there: not to read, not to change, not to refer to.
    @Test func idsOfAnotherTenant_areNothing() throws {
        let rest = try RestUnderTest()
        let other = try rest.otherTenant()
        let (id, etag) = try other.create("client", ["name": "Theirs"])
        let before = try other.get("/v1/client/\(id)").text
        #expect(try rest.get("/v1/client/\(id)").status == 404)
        #expect(try rest.send("PATCH", "/v1/client/\(id)", ["name": "Mine"], headers: [("If-Match", etag)]).status == 404)
        #expect(try rest.send("DELETE", "/v1/client/\(id)").status == 404)
        #expect(try rest.send("POST", "/v1/client/\(id)/restore").status == 404)
        #expect(
            try rest.send("POST", "/v1/deal", ["title": "x", "client": .string(id), "owner": .string(rest.tenant.owner.text)]).status >= 400
        )
        #expect(try rest.get("/v1/activity?anchor=client:\(id)").rows.isEmpty)
        let replica = try rest.tenant.enroll()
        let outcome = try replica.edit([Edit.patch("client", try required(Identifier(id)), ["name": "Mine"])])
        #expect(outcome.status == .rejected)
        #expect(try other.get("/v1/client/\(id)").text == before)
    }
}
