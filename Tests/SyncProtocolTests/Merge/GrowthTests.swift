// What one record may grow to by many small edits: each of them is allowed, and their sum is bounded.

import SyncProtocol
import TestSupport
import Testing

@Suite struct GrowthTests {
    let tenant = ModelTenant()
    let client: Identifier

    init() {
        client = tenant.newID()
        tenant.server([Change("client", client, .create(fields: ["name": "Harbor"]))])
    }

    private func patch(_ fields: JSONObject) -> Change { Change("client", client, .patch(fields: fields, was: [:])) }

    @discardableResult
    private func defineCustomFields(_ keys: [String], kind: String = "text") -> [Identifier] {
        let ids = keys.map { _ in tenant.newID() }
        for part in stride(from: 0, to: keys.count, by: 100) {
            tenant.server(
                (part..<min(part + 100, keys.count)).map {
                    let key = JSONValue.string(keys[$0])
                    let fields: JSONObject = ["entity": "client", "key": key, "label": key, "kind": .string(kind)]
                    return Change("custom_field", ids[$0], .create(fields: fields))
                })
        }
        return ids
    }

    /// Each of two writes is small enough, and what comes of them is not: the second goes back to its author.
    @Test func map_hasItsKeysAndBytes_andNoMore() {
        let keys = (0...200).map { "k\($0)" }
        let ids = defineCustomFields(keys.dropLast())
        var (a, b) = (ModelAuthor(tenant), ModelAuthor(tenant))
        func map(_ keys: some Sequence<String>, _ length: Int = 1) -> JSONObject {
            ["custom": .object(JSONObject(keys.map { ($0, .string(String(repeating: "x", count: length))) }))]
        }
        #expect(tenant.submit(a.seal([patch(map(keys.prefix(100)))], at: 1)).status == .accepted)
        // A definition that is deleted makes room for another one, and leaves its values where they are.
        tenant.server([Change("custom_field", ids[0], .delete)])
        defineCustomFields(keys.suffix(1))
        let many = tenant.submit(b.seal([patch(map(keys.suffix(101)))], at: 2))
        #expect(many.status == .rejected && many.violations.map(\.code) == ["too_many"])
        #expect(tenant.submit(b.seal([patch(map(keys[100..<200]))], at: 3)).status == .accepted)
        #expect(tenant.record("client", client)?["custom"].objectValue?.count == FieldType.mapKeysMax)
        // 120 times 2,000 characters, and some more.
        #expect(tenant.submit(a.seal([patch(map(keys[1..<121], 2_000))], at: 4)).status == .accepted)
        let long = tenant.submit(b.seal([patch(map(keys[121..<133], 2_000))], at: 5))
        #expect(long.status == .rejected && long.violations.map(\.code) == ["too_long"])
        #expect(long.violations.first?.parameters["max_bytes"] == .integer(Int64(FieldType.freeFormBytesMax)))
        let whole = tenant.submit(a.seal([patch(map(keys[1..<135], 2_000))], at: 6))
        #expect(whole.status == .rejected && whole.violations.map(\.code) == ["too_long"])
    }

    /// Keys that are not there have versions, for whoever still writes to one; nobody makes a record grow with them.
    @Test func removedKeys_areRemembered_theNewestTwoHundred() {
        var (a, b) = (ModelAuthor(tenant), ModelAuthor(tenant))
        defineCustomFields(["k7", "k399"])
        for part in 0..<4 {
            let keys = (part * 100..<part * 100 + 100).map { ("k\($0)", JSONValue.null) }
            tenant.submit(a.seal([patch(["custom": .object(JSONObject(keys))])], at: Int64(1_000 + part)))
        }
        let versions = tenant.record("client", client)?.versions.keys["custom"]
        #expect(versions?.count == 200 && versions?["k399"] != nil && versions?["k7"] == nil)
        // The removal of one is later than a write of long ago, that of the other is not remembered.
        tenant.submit(b.seal([patch(["custom": ["k399": "late", "k7": "late"]])], at: 10))
        #expect(tenant.record("client", client)?["custom"] == ["k7": "late"])
    }

    /// A clock that leaves out what its own replica did before makes each add look concurrent with the last.
    @Test func addsOfOneReplica_areOneVersion_howeverLittleItsClocksClaim() {
        var author = ModelAuthor(tenant)
        for number in 0..<50 {
            var set = author.seal([patch(["tags": ["add": ["hotel"], "remove": []]])], at: Int64(number))
            set.clock = VectorClock()
            #expect(tenant.submit(set).status == .accepted)
        }
        #expect(tenant.record("client", client)?.versions.elements["tags"]?["hotel"]?.map(\.dot?.counter) == [50])
        // Another replica's add is another version, and a remove that knows one of them leaves the other.
        var other = ModelAuthor(tenant)
        var set = other.seal([patch(["tags": ["add": ["hotel"], "remove": []]])], at: 100)
        set.clock = VectorClock()
        tenant.submit(set)
        #expect(tenant.record("client", client)?.versions.elements["tags"]?["hotel"]?.count == 2)
        tenant.submit(author.seal([patch(["tags": ["add": [], "remove": ["hotel"]]])], at: 101))
        #expect(tenant.record("client", client)?.elements("tags") == ["hotel"])
    }
}
