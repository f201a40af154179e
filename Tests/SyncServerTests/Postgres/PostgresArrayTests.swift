import Testing

@testable import SyncServer

@Suite struct PostgresArrayTests {
    private func parse(_ text: String) -> [String?]?? {
        Array(text.utf8).withUnsafeBufferPointer { PostgresArray.parse($0) }
            .map { $0.map { $0.map { String(decoding: $0, as: UTF8.self) } } }
    }

    @Test func append_quotesEveryElement_andKeepsNulls() {
        var bytes: [UInt8] = []
        PostgresArray.append(["a", nil, "", "NULL", "q\"\\{},"].map { $0?.utf8 }, to: &bytes)
        #expect(String(decoding: bytes, as: UTF8.self) == #"{"a",NULL,"","NULL","q\"\\{},"}"#)
    }

    @Test func parse_readsQuotedBareAndNull() {
        #expect(parse(#"{a,"b c",NULL,"NULL","\"\\",""}"#) == ["a", "b c", nil, "NULL", "\"\\", ""])
        #expect(parse("{}") == [])
    }

    @Test(arguments: ["", "{", "a", "{{1},{2}}", "{\"a}", "{\"a\"b}", "{\"a\\}"])
    func parse_refuses_whatIsNoFlatArray(text: String) {
        #expect(parse(text) == .none)
    }
}
