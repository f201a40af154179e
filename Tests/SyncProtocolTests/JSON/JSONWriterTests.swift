// The writer puts commas, quotes and escapes; what it writes is read back by the strict reader.

import SyncProtocol
import Testing

@Suite struct JSONWriterTests {
    @Test func writer_putsCommasAndEscapes_inEveryPlace() throws {
        var writer = JSONWriter(reservingCapacity: 256)
        let name = "dyn\"amic"
        writer.beginObject()
        writer.key("empty")
        writer.beginObject()
        writer.endObject()
        writer.key(name)
        writer.beginArray()
        writer.beginArray()
        writer.endArray()
        writer.integer(1)
        writer.integer(Int64.min)
        writer.null()
        writer.bool(true)
        writer.string("a\nb")
        writer.raw(Array("[ 1 ]".utf8))
        writer.beginObject()
        writer.key("é")
        writer.value(["y": 1, "x": .decimal("0.10")])
        writer.endObject()
        writer.endArray()
        writer.key("last")
        writer.bool(false)
        writer.endObject()
        let expected =
            #"{"empty":{},"dyn\"amic":[[],1,-9223372036854775808,null,true,"a\nb",[ 1 ],{"é":{"x":0.10,"y":1}}],"last":false}"#
        #expect(String(decoding: writer.bytes, as: UTF8.self) == expected)
        _ = try JSONValue(parsing: writer.bytes)
    }

    @Test func fragments_areSeparated_whenWrittenOutsideOfAContainer() {
        var writer = JSONWriter()
        writer.key("a")
        writer.integer(1)
        writer.key("b")
        writer.string("")
        #expect(String(decoding: writer.bytes, as: UTF8.self) == #""a":1,"b":"""#)
    }

    @Test func everyScalarBelow128_survives_asStringAndKey() throws {
        for code in UInt8(1)..<128 {
            let text = "x\(Character(Unicode.Scalar(code)))"
            var writer = JSONWriter()
            writer.beginObject()
            writer.key(text)
            writer.string(text)
            writer.endObject()
            #expect(try JSONValue(parsing: writer.bytes) == .object(JSONObject([(text, .string(text))])))
        }
    }
}
