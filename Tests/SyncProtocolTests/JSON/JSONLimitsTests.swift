// Depth, size, and the cost of big objects.

import SyncProtocol
import Testing

@Suite struct JSONLimitsTests {
    private func nested(_ depth: Int, open: String, close: String, core: String) -> String {
        String(repeating: open, count: depth) + core + String(repeating: close, count: depth)
    }

    @Test(arguments: [("[", "]", "1"), (#"{"k":"#, "}", "1"), (#"[{"k":"#, "}]", "[]")])
    func depth_isRefused_beyondTheLimit(open: String, close: String, core: String) throws {
        let perLevel = open.hasPrefix("[{") ? 2 : 1
        let coreDepth = core == "[]" ? 1 : 0
        let limits = JSONLimits(maximumDepth: 10 * perLevel + coreDepth)
        let fits = Array(nested(10, open: open, close: close, core: core).utf8)
        _ = try JSONValue(parsing: fits, limits: limits)
        _ = try JSONReader.read(fits, limits: limits) { try $0.skipValue() }
        let tooDeep = Array(nested(11, open: open, close: close, core: core).utf8)
        #expect { try JSONValue(parsing: tooDeep, limits: limits) } throws: { ($0 as? JSONError)?.code == .depth }
        #expect { try JSONReader.read(tooDeep, limits: limits) { try $0.skipValue() } } throws: { ($0 as? JSONError)?.code == .depth }
    }

    @Test func depth_is64_byDefault() throws {
        _ = try JSONValue(parsing: nested(64, open: "[", close: "]", core: ""))
        #expect { try JSONValue(parsing: nested(65, open: "[", close: "]", core: "")) } throws: { ($0 as? JSONError)?.code == .depth }
        #expect { try JSONValue(parsing: String(repeating: "[", count: 1_000_000)) } throws: { ($0 as? JSONError)?.code == .depth }
    }

    @Test func depth_countsContainersOpenedByTheCaller_whenPulling() {
        let bytes = Array("[[[1]]]".utf8)
        #expect {
            try JSONReader.read(bytes, limits: JSONLimits(maximumDepth: 2)) { reader in
                try reader.beginArray()
                _ = try reader.nextElement()
                _ = try reader.skipValue()
            }
        } throws: { $0 as? JSONError == JSONError(code: .depth, offset: 2, message: "nested too deeply") }
    }

    @Test func size_isRefused_beyondTheLimit() throws {
        let limits = JSONLimits(maximumBytes: 5)
        #expect(try JSONValue(parsing: "[1,2]", limits: limits) == [1, 2])
        #expect { try JSONValue(parsing: "[1,23]", limits: limits) } throws: { ($0 as? JSONError)?.code == .tooLarge }
    }

    // With a quadratic search this many keys take minutes; the suite's time limit would show it.
    @Test(.timeLimit(.minutes(1))) func bigObject_isReadInLinearTime_andItsLastDuplicateIsFound() throws {
        let count = 60_000
        var writer = JSONWriter()
        writer.beginObject()
        for index in 0..<count {
            writer.key("custom_field_\(index)")
            writer.integer(index)
        }
        let open = writer.bytes
        writer.endObject()
        let value = try JSONValue(parsing: writer.bytes)
        #expect(value.objectValue?.count == count)
        #expect(value["custom_field_59999"] == 59_999)
        for key in ["custom_field_0", "custom_field_59999", #"\u0063ustom_field_77"#] {
            let duplicate = open + Array(#","\#(key)":0}"#.utf8)
            #expect { try JSONReader.read(duplicate) { try $0.skipValue() } } throws: {
                $0 as? JSONError == JSONError(code: .duplicateKey, offset: open.count + 1, message: "the object has this key already")
            }
        }
    }

    @Test(arguments: [15, 16, 17, 31, 32, 33, 63, 64, 65, 129])
    func duplicate_isFound_atEverySizeOfTheKeyTable(count: Int) throws {
        let members = (0..<count).map { #""key-number-\#($0)":{"a":1,"b":{"a":2}}"# }
        let text = "{" + members.joined(separator: ",")
        #expect(try JSONValue(parsing: text + "}").objectValue?.count == count)
        for index in [0, count / 2, count - 1] {
            #expect { try JSONValue(parsing: text + "," + members[index] + "}") } throws: { ($0 as? JSONError)?.code == .duplicateKey }
        }
    }
}
