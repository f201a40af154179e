import SyncProtocol
import Testing

@Suite struct ChangeSetTests {
    private let sample = ChangeSet(
        dot: Dot(replica: Identifier(high: 0x0190_0000_0000_7000, low: 0x8000_0000_0000_0001), counter: 3),
        clock: VectorClock(
            feed: FeedPosition(epoch: 0, position: 41), replicas: [Identifier(high: 0x0190_0000_0000_7000, low: 0x8000_0000_0000_0001): 2]),
        timestamp: HybridTimestamp(milliseconds: 1_773_648_000_000, logical: 1),
        changes: [
            Change(
                "client", Identifier(high: 1, low: 2),
                .patch(fields: ["phone": "+15550100", "tags": ["add": ["vip"], "remove": []]], was: ["notes": .null])),
            Change("deal", Identifier(high: 1, low: 3), .transition(name: "lose", observed: "lead", arguments: ["reason": "price"])),
        ])

    @Test func sealedBytes_areCanonicalAndRoundTrip() throws {
        let bytes = sample.sealedBytes()
        let text = String(decoding: bytes, as: UTF8.self)
        #expect(
            text
                == #"{"at":[1773648000000,1],"changes":[{"entity":"client","fields":{"phone":"+15550100","tags":{"add":["vip"],"remove":[]}},"#
                + #""id":"00000000-0000-0001-0000-000000000002","op":"patch","was":{"notes":null}},{"arguments":{"reason":"price"},"entity":"deal","#
                + #""id":"00000000-0000-0001-0000-000000000003","name":"lose","observed":"lead","op":"transition"}],"#
                + #""clock":{"01900000-0000-7000-8000-000000000001":2,"feed":[0,41]},"dot":["01900000-0000-7000-8000-000000000001",3]}"#)
        let again = try ChangeSet(sealed: bytes)
        #expect(again == sample)
        #expect(again.sealedBytes() == bytes)
    }

    @Test func setSealedAnew_keepsItsOrigin_howeverOften() throws {
        let (other, third) = (Identifier(high: 0x0190_0000_0000_7000, low: 0x8000_0000_0000_0002), Identifier(high: 7, low: 7))
        let hash = ChangeSet.hash(ofSealed: sample.sealedBytes())
        var moved = sample.resealed(by: other, hash: hash)
        moved.clock.replicas[other] = 2
        let bytes = moved.sealedBytes()
        let text = String(decoding: bytes, as: UTF8.self)
        #expect(
            text.hasSuffix(
                #""clock":{"01900000-0000-7000-8000-000000000002":2,"feed":[0,41]},"dot":["01900000-0000-7000-8000-000000000002",3],"#
                    + #""origin":["01900000-0000-7000-8000-000000000001","\#(hash)"]}"#))
        #expect(try ChangeSet(sealed: bytes) == moved)
        let again = moved.resealed(by: third, hash: ChangeSet.hash(ofSealed: bytes))
        #expect(again.origin == Origin(replica: sample.dot.replica, hash: hash))
        #expect(again.dot == Dot(replica: third, counter: 3))
        #expect((again.timestamp, again.changes) == (sample.timestamp, sample.changes))
        // What it says itself was never sealed before.
        #expect(sample.origin == nil)
    }

    @Test(arguments: [
        (#"{}"#, "dot"), (#"{"dot":["x",1],"clock":{"feed":[0,0]},"at":[1,0],"changes":[{}]}"#, "dot"),
        (#"{"dot":["01900000-0000-7000-8000-000000000001",0],"clock":{"feed":[0,0]},"at":[1,0],"changes":[{}]}"#, "dot"),
        (#"{"dot":["01900000-0000-7000-8000-000000000001",1],"clock":{},"at":[1,0],"changes":[{}]}"#, "clock"),
        (#"{"dot":["01900000-0000-7000-8000-000000000001",1],"clock":{"feed":[0,0]},"at":[-1,0],"changes":[{}]}"#, "at"),
        (#"{"dot":["01900000-0000-7000-8000-000000000001",1],"clock":{"feed":[0,0]},"at":[1,0],"changes":[]}"#, "changes"),
        (
            #"{"dot":["01900000-0000-7000-8000-000000000001",1],"clock":{"feed":[0,0]},"at":[1,0],"changes":[{"op":"delete","id":"x"}]}"#,
            "entity"
        ),
        (
            #"{"dot":["01900000-0000-7000-8000-000000000001",1],"clock":{"feed":[0,0]},"at":[1,0],"changes":[{}],"origin":["x"]}"#, "origin"
        ),
        (#"not json"#, "set"),
    ])
    func decoding_namesTheMember_whenMalformed(text: String, field: String) {
        #expect {
            _ = try ChangeSet(sealed: Array(text.utf8))
        } throws: { error in
            (error as? Violation)?.code == "invalid_syntax" && (error as? Violation)?.field == field
        }
    }

    @Test func outcome_roundTrips() {
        let outcome = Outcome(
            status: .accepted, positions: 4...6,
            superseded: [
                .init(
                    entity: "client", id: Identifier(high: 1, low: 2), field: "phone", yours: "a", kept: "b",
                    by: Identifier(high: 9, low: 9))
            ],
            rebased: true, warnings: [Violation(entity: "", id: nil, field: nil, code: .clockSkew, message: "late")])
        #expect(Outcome(json: outcome.json) == outcome)
        var repeated = outcome
        repeated.duplicateOf = Dot(replica: Identifier(high: 5, low: 5), counter: 9)
        #expect(Outcome(json: repeated.json) == repeated)
        repeated.timestamp = HybridTimestamp(milliseconds: 1_773_648_000_000, logical: 2)
        #expect(Outcome(json: repeated.json) == repeated)
        #expect(repeated.json["at"] == [1_773_648_000_000, 2])
        let rejected = Outcome.rejected([
            Violation(
                entity: "client", id: Identifier(high: 1, low: 2), field: "notes", code: .conflict, message: "m",
                parameters: ["base": .null])
        ])
        #expect(Outcome(json: rejected.json) == rejected)
    }
}
