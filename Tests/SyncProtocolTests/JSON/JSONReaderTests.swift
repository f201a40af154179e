// The pull interface: order of calls, raw slices, borrowed strings, and what happens when the type is another.

import SyncProtocol
import Testing

@Suite struct JSONReaderTests {
    private func read<R>(_ text: String, _ body: (inout JSONReader) throws -> R) throws -> R {
        try JSONReader.read(Array(text.utf8), body)
    }

    @Test func envelope_isRead_withRawSlicesOfTheRest() throws {
        let bytes = Array(#" {"id" : "x\u0031", "n": -5, "fields" : {"b" : [1, 2.50], "a":"é"} , "ok":true,"no":null} "#.utf8)
        var seen: [String] = []
        var raw: ArraySlice<UInt8> = []
        try JSONReader.read(bytes) { reader in
            try reader.beginObject()
            while let key = try reader.nextKey() {
                seen.append(key)
                switch key {
                case "id": #expect(try reader.readString() == "x1")
                case "n": #expect(try reader.readInteger() == -5)
                case "fields": raw = bytes[try reader.skipValue()]
                case "ok": #expect(try reader.readBool())
                default:
                    #expect(try reader.peekKind() == .null)
                    #expect(try reader.readIfNull())
                }
            }
        }
        #expect(seen == ["id", "n", "fields", "ok", "no"])
        #expect(String(decoding: raw, as: UTF8.self) == #"{"b" : [1, 2.50], "a":"é"}"#)
    }

    @Test func offsets_areIndicesOfTheSlice_whenASliceIsRead() throws {
        let bytes = Array(#"xxxx{"a": [1] }yy"#.utf8)
        let slice = bytes[4..<15]
        let range = try JSONReader.read(slice) { reader in
            #expect(reader.offset == 4)
            try reader.beginObject()
            _ = try reader.nextKey()
            let range = try reader.skipValue()
            #expect(try reader.nextKey() == nil)
            return range
        }
        #expect(Array(slice[range]) == Array("[1]".utf8))
        #expect { try JSONValue(parsing: bytes[4..<16]) } throws: { ($0 as? JSONError)?.offset == 15 }
    }

    @Test func unreadValues_areSkippedAndValidated_whenTheCallerMovesOn() throws {
        let keys = try read(#"{"a":{"x":[1,2]},"b":"s","c":3}"#) { reader in
            try reader.beginObject()
            var keys: [String] = []
            while let key = try reader.nextKey() { keys.append(key) }
            return keys
        }
        #expect(keys == ["a", "b", "c"])
        let count = try read("[[1],{},3]") { reader in
            try reader.beginArray()
            var count = 0
            while try reader.nextElement() { count += 1 }
            return count
        }
        #expect(count == 3)
        #expect {
            try read(#"{"a":{"x":1,"x":2},"b":1}"#) { reader in
                try reader.beginObject()
                while try reader.nextKey() != nil {}
            }
        } throws: { ($0 as? JSONError)?.code == .duplicateKey }
    }

    @Test func trailingData_isRefused_whenTheBodyStopsEarly() {
        #expect {
            try read("[1,2]") { reader in
                try reader.beginArray()
                _ = try reader.nextElement()
                _ = try reader.readInteger()
            }
        } throws: { ($0 as? JSONError)?.code == .trailingData }
        #expect { try read("1") { _ in } } throws: { ($0 as? JSONError)?.code == .trailingData }
    }

    @Test func stringBytes_areTheInputItself_whenThereIsNoEscape() throws {
        let bytes = Array(#"["plain é","esc\taped\ud83d\ude00",""]"#.utf8)
        try bytes.withUnsafeBufferPointer { input in
            try JSONReader.read(input) { reader in
                try reader.beginArray()
                _ = try reader.nextElement()
                try reader.readStringBytes { lent in
                    #expect(Array(lent) == Array("plain é".utf8))
                    #expect(lent.baseAddress == input.baseAddress.map { $0 + 2 })
                }
                _ = try reader.nextElement()
                #expect(try reader.readStringBytes { Array($0) } == Array("esc\taped😀".utf8))
                _ = try reader.nextElement()
                #expect(try reader.readStringBytes { $0.count } == 0)
                #expect(try !reader.nextElement())
            }
        }
    }

    @Test(arguments: [#""s""#, "1", "1.5", "-0", "true", "null", "[]", "{}"])
    func otherType_isUnexpected_andSyntaxErrorsStaySyntaxErrors(text: String) throws {
        let kind = try read(text) { reader in
            let kind = try reader.peekKind()
            _ = try reader.skipValue()
            return kind
        }
        func code(_ body: (inout JSONReader) throws -> Void) -> JSONError.Code? {
            do {
                try read(text, body)
                return nil
            } catch { return (error as? JSONError)?.code }
        }
        #expect(code { _ = try $0.readString() } == (kind == .string ? nil : .unexpectedType))
        #expect(code { try $0.readStringBytes { _ in } } == (kind == .string ? nil : .unexpectedType))
        #expect(code { _ = try $0.readInteger() } == (text == "1" ? nil : .unexpectedType))
        #expect(code { _ = try $0.readBool() } == (kind == .bool ? nil : .unexpectedType))
        #expect(code { try $0.readNull() } == (kind == .null ? nil : .unexpectedType))
        if kind != .object { #expect(code { try $0.beginObject() } == .unexpectedType) }
        if kind != .array { #expect(code { try $0.beginArray() } == .unexpectedType) }
        #expect { try read("?") { try $0.readNull() } } throws: { ($0 as? JSONError)?.code == .syntax }
        #expect { try read("") { _ = try $0.readString() } } throws: { ($0 as? JSONError)?.code == .truncated }
    }

    @Test func errorsOfTheCaller_passThroughUnchanged() {
        struct Stop: Error, Equatable {}
        #expect(throws: Stop()) { try read("1") { _ in throw Stop() } }
        #expect(throws: Stop()) { try read(#""a""#) { try $0.readStringBytes { _ in throw Stop() } } }
    }
}
