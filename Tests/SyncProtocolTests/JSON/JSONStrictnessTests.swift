// What is accepted and what is refused, and with which code. Every case goes through all three ways of reading, which must agree.

import SyncProtocol
import TestSupport
import Testing

@Suite struct JSONStrictnessTests {
    struct Refusal: Sendable, CustomTestStringConvertible {
        var name: String
        var bytes: [UInt8]
        var code: JSONError.Code
        var offset: Int?

        init(_ name: String, _ text: String, _ code: JSONError.Code, at offset: Int? = nil) {
            self.init(name, bytes: Array(text.utf8), code, at: offset)
        }

        init(_ name: String, bytes: [UInt8], _ code: JSONError.Code, at offset: Int? = nil) {
            (self.name, self.bytes, self.code, self.offset) = (name, bytes, code, offset)
        }

        var testDescription: String { name }
    }

    static let accepted: [(text: String, canonical: String)] = [
        ("null", "null"), ("true", "true"), ("false", "false"), ("0", "0"), ("-1", "-1"), (" \t\r\n7 \t\r\n", "7"),
        ("9223372036854775807", "9223372036854775807"), ("-9223372036854775808", "-9223372036854775808"),
        ("-0", "-0"), ("0.0", "0.0"), ("-0.5", "-0.5"), ("1.50", "1.50"), ("1e5", "1e5"), ("1E+05", "1E+05"), ("0e-1", "0e-1"),
        ("123456789012345678901234567890.5", "123456789012345678901234567890.5"), ("99999999999999999999e0", "99999999999999999999e0"),
        (#""""#, #""""#), (#""a/b""#, #""a/b""#), (#""a\/b""#, #""a/b""#), (#""\"\\\b\f\n\r\t""#, #""\"\\\b\f\n\r\t""#),
        (#""\u0001\u001F\u001f""#, #""\u0001\u001f\u001f""#), (#""\u0041\u00e9\u20AC""#, #""Aé€""#),
        (#""\ud83d\ude00""#, #""😀""#), (#""\uDBFF\uDFFF""#, "\"\u{10FFFF}\""), (#""\uD800\uDC00""#, "\"\u{10000}\""),
        (
            "\"\u{7F}\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{FFFF}\u{10000}\"",
            "\"\u{7F}\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{FFFF}\u{10000}\""
        ),
        ("\"\u{FEFF}\u{2028}\"", "\"\u{FEFF}\u{2028}\""), ("[]", "[]"), ("[ ]", "[]"), ("[[[]],[]]", "[[[]],[]]"), ("[1 , 2]", "[1,2]"),
        ("{}", "{}"), ("{ }", "{}"), (#"{"b":1,"a":2}"#, #"{"a":2,"b":1}"#), (#"{"":0}"#, #"{"":0}"#),
        (#"{"a":{"a":{"a":1}}}"#, #"{"a":{"a":{"a":1}}}"#), (#"[{"a":1},{"a":2}]"#, #"[{"a":1},{"a":2}]"#),
        ("{\"e\u{301}\":1,\"é\":2}", "{\"e\u{301}\":1,\"é\":2}"),
        (#"{"aaaaaaaab":1,"aaaaaaaa":2,"aaaaaaaaa":3}"#, #"{"aaaaaaaa":2,"aaaaaaaaa":3,"aaaaaaaab":1}"#),
    ]

    static let refused: [Refusal] = [
        // n_: structure
        Refusal("empty", "", .truncated, at: 0), Refusal("white space only", " \n", .truncated, at: 2),
        Refusal("two values", "1 2", .trailingData, at: 2), Refusal("trailing bracket", "[]]", .trailingData, at: 2),
        Refusal("trailing comma in array", "[1,]", .syntax, at: 3), Refusal("trailing comma in object", #"{"a":1,}"#, .syntax, at: 7),
        Refusal("leading comma", "[,1]", .syntax), Refusal("double comma", "[1,,2]", .syntax), Refusal("missing comma", "[1 2]", .syntax),
        Refusal("lone comma", ",", .syntax), Refusal("missing colon", #"{"a" 1}"#, .syntax), Refusal("missing value", #"{"a":}"#, .syntax),
        Refusal("double colon", #"{"a"::1}"#, .syntax), Refusal("unquoted key", "{a:1}", .syntax), Refusal("number key", "{1:1}", .syntax),
        Refusal("single quotes", "{'a':1}", .syntax), Refusal("comma in place of colon", #"{"a",1}"#, .syntax),
        Refusal("mismatched close", "[1}", .syntax), Refusal("mismatched close of object", #"{"a":1]"#, .syntax),
        Refusal("open array", "[", .truncated), Refusal("open array after value", "[1", .truncated),
        Refusal("open array after comma", "[1,", .truncated),
        Refusal("open object", "{", .truncated), Refusal("open object after key", #"{"a""#, .truncated),
        Refusal("open object after colon", #"{"a":"#, .truncated),
        Refusal("open object after value", #"{"a":1"#, .truncated), Refusal("open object after comma", #"{"a":1,"#, .truncated),
        Refusal("line comment", "1 // one", .trailingData), Refusal("block comment", "/* */ 1", .syntax),
        Refusal("byte order mark", bytes: [0xEF, 0xBB, 0xBF, 0x31], .syntax, at: 0), Refusal("UTF-16", bytes: [0x31, 0x00], .trailingData),
        Refusal("no-break space", bytes: [0xC2, 0xA0, 0x31], .syntax), Refusal("form feed", bytes: [0x0C, 0x31], .syntax),
        // n_: literals and numbers
        Refusal("short literal", "tru", .truncated), Refusal("capital literal", "True", .syntax), Refusal("wrong literal", "nulL", .syntax),
        Refusal("long literal", "nullx", .trailingData), Refusal("NaN", "NaN", .syntax), Refusal("infinity", "-Infinity", .syntax),
        Refusal("leading zero", "01", .syntax), Refusal("leading zero in array", "[-012]", .syntax), Refusal("double zero", "00", .syntax),
        Refusal("plus", "+1", .syntax),
        Refusal("minus", "-", .truncated), Refusal("double minus", "--1", .syntax), Refusal("no fraction", "[1.]", .syntax),
        Refusal("no fraction at the end", "1.", .truncated),
        Refusal("no whole part", ".5", .syntax), Refusal("no exponent", "[1e]", .syntax),
        Refusal("signed empty exponent", "[1e+]", .syntax),
        Refusal("fraction of exponent", "1e1.5", .trailingData), Refusal("two points", "1.2.3", .trailingData),
        Refusal("hexadecimal", "0x1F", .trailingData),
        Refusal("full-width digit", "[１]", .syntax),
        Refusal("above Int64", "9223372036854775808", .integerOverflow, at: 0),
        Refusal("below Int64", "[-9223372036854775809]", .integerOverflow, at: 1),
        Refusal("twenty digits", "10000000000000000000", .integerOverflow),
        Refusal("a hundred digits", String(repeating: "9", count: 100), .integerOverflow),
        Refusal("negative overflow", "-" + String(repeating: "9", count: 100), .integerOverflow),
        // n_: strings
        Refusal("open string", #""abc"#, .truncated), Refusal("escape at the end", #""\"#, .truncated),
        Refusal("unknown escape", #""\a""#, .syntax),
        Refusal("escaped quote only", #"'a'"#, .syntax), Refusal("raw line feed", "\"a\nb\"", .syntax, at: 2),
        Refusal("raw tab", "\"\t\"", .syntax),
        Refusal("raw unit separator", bytes: [0x22, 0x1F, 0x22], .syntax),
        Refusal("control after eight bytes", "\"12345678\u{1}\"", .syntax, at: 9),
        Refusal("raw NUL", bytes: [0x22, 0x61, 0, 0x22], .nulCharacter, at: 2),
        Refusal("NUL outside", bytes: [0x5B, 0, 0x5D], .nulCharacter, at: 1),
        Refusal("escaped NUL", #""\u0000""#, .nulCharacter, at: 1), Refusal("escaped NUL in key", #"{"\u0000":1}"#, .nulCharacter),
        Refusal("short unicode escape", #""\u12""#, .syntax), Refusal("unicode escape at the end", #""\u12"#, .truncated),
        Refusal("bad hexadecimal", #""\u00g0""#, .syntax),
        Refusal("capital U", #""\U0041""#, .syntax),
        Refusal("lone high surrogate", #""\ud83d""#, .loneSurrogate, at: 1), Refusal("lone low surrogate", #""\ude00""#, .loneSurrogate),
        Refusal("high then text", #""\ud83dab""#, .loneSurrogate), Refusal("high then other escape", #""\ud83d\n""#, .loneSurrogate),
        Refusal("two highs", #""\ud83d\ud83d""#, .loneSurrogate), Refusal("swapped pair", #""\ude00\ud83d""#, .loneSurrogate),
        Refusal("surrogate cut", #""\ud83d\"#, .truncated),
        // n_: UTF-8
        Refusal("lone continuation", bytes: [0x22, 0x80, 0x22], .invalidUTF8, at: 1),
        Refusal("overlong slash", bytes: [0x22, 0xC0, 0xAF, 0x22], .invalidUTF8),
        Refusal("overlong two", bytes: [0x22, 0xC1, 0xBF, 0x22], .invalidUTF8),
        Refusal("overlong three", bytes: [0x22, 0xE0, 0x9F, 0xBF, 0x22], .invalidUTF8),
        Refusal("overlong four", bytes: [0x22, 0xF0, 0x8F, 0xBF, 0xBF, 0x22], .invalidUTF8),
        Refusal("encoded high surrogate", bytes: [0x22, 0xED, 0xA0, 0x80, 0x22], .invalidUTF8),
        Refusal("encoded low surrogate", bytes: [0x22, 0xED, 0xBF, 0xBF, 0x22], .invalidUTF8),
        Refusal("above 10FFFF", bytes: [0x22, 0xF4, 0x90, 0x80, 0x80, 0x22], .invalidUTF8),
        Refusal("five-byte form", bytes: [0x22, 0xF8, 0x88, 0x80, 0x80, 0x80, 0x22], .invalidUTF8),
        Refusal("FF", bytes: [0x22, 0xFF, 0x22], .invalidUTF8),
        Refusal("Latin-1", bytes: [0x22, 0xE9, 0x22, 0x20], .invalidUTF8),
        Refusal("cut sequence", bytes: [0x22, 0xE2, 0x82, 0x22], .invalidUTF8),
        Refusal("cut sequence at the end", bytes: [0x22, 0xE2, 0x82], .truncated),
        Refusal("bad bytes in key", bytes: [0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x31, 0x7D], .invalidUTF8),
        Refusal("bad second sequence", bytes: [0x22, 0xC3, 0xA9, 0xC3, 0x28, 0x22], .invalidUTF8, at: 3),
        // n_: duplicates
        Refusal("duplicate", #"{"a":1,"b":2,"a":3}"#, .duplicateKey, at: 13),
        Refusal("duplicate empty key", #"{"":1,"":1}"#, .duplicateKey),
        Refusal("duplicate by escape", #"{"a":1,"\u0061":2}"#, .duplicateKey),
        Refusal("escaped twice", #"{"\u0061":1,"\u0061":2}"#, .duplicateKey),
        Refusal("duplicate after a nested object", #"{"a":{"a":1,"b":2},"b":1,"a":3}"#, .duplicateKey),
        Refusal("duplicate inside", #"[{"x":{"k":1,"k":1}}]"#, .duplicateKey),
        Refusal("duplicate long key", #"{"abcdefghij":1,"abcdefghik":2,"abcdefghij":3}"#, .duplicateKey),
    ]

    @Test(arguments: accepted.map(\.text)) func text_isAccepted_whenValid(text: String) throws {
        let canonical = try #require(Self.accepted.first { Array($0.text.utf8) == Array(text.utf8) }?.canonical)
        let value = try JSONValue(parsing: text)
        #expect(value.canonicalBytes() == Array(canonical.utf8))
        #expect(try JSONReader.read(Array(text.utf8)) { try $0.readValue() } == value)
        let bytes = Array(text.utf8)
        let slice = try JSONReader.read(bytes) { try $0.skipValue() }
        #expect(try JSONValue(parsing: bytes[slice]) == value)
    }

    @Test(arguments: refused) func text_isRefused_whenInvalid(refusal: Refusal) {
        let tree = error { _ = try JSONValue(parsing: refusal.bytes) }
        let skipped = error { try JSONReader.read(refusal.bytes) { _ = try $0.skipValue() } }
        let pulled = error { try JSONReader.read(refusal.bytes) { try pull(&$0) } }
        #expect(tree?.code == refusal.code)
        #expect(skipped == tree)
        #expect(pulled == tree)
        if let offset = refusal.offset { #expect(tree?.offset == offset) }
    }

    @Test func everyPrefix_isTruncated_whenTheTextIsCut() throws {
        let bytes = Array(#"{"a":[true,false,null,-12,"é\n\ud83d\ude00"],"b":{}}"#.utf8)
        _ = try JSONValue(parsing: bytes)
        for length in 0..<bytes.count {
            #expect(error { _ = try JSONValue(parsing: bytes[..<length]) }?.code == .truncated, "cut at \(length)")
        }
    }

    @Test func noByteString_traps_whenItIsRandomOrDamaged() throws {
        let seed = UInt64.random(in: .min ... .max)
        var random = SeededRandom(seed: seed)
        let sample = Array(#"{"a":[1,-2.5e3,"x\u00e9\"é"],"b":{"c":null,"d":true}}"#.utf8)
        for _ in 0..<4000 {
            var bytes = sample
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
            }
            let tree = Result { try JSONValue(parsing: bytes) }
            let skipped = Result { try JSONReader.read(bytes) { try $0.skipValue() } }
            switch (tree, skipped) {
            case (.success(let value), .success): #expect(try JSONValue(parsing: value.canonicalBytes()) == value, "seed \(seed)")
            case (.failure(let a), .failure(let b)): #expect(a as? JSONError == b as? JSONError, "seed \(seed)")
            default: Issue.record("tree and skip disagree on \(bytes), seed \(seed)")
            }
        }
    }

    private func error(_ body: () throws -> Void) -> JSONError? {
        do {
            try body()
            return nil
        } catch { return error as? JSONError }
    }

    /// Reads everything through the pull interface alone.
    private func pull(_ reader: inout JSONReader) throws {
        switch try reader.peekKind() {
        case .object:
            try reader.beginObject()
            while try reader.nextKey() != nil { try pull(&reader) }
        case .array:
            try reader.beginArray()
            while try reader.nextElement() { try pull(&reader) }
        case .string: try reader.readStringBytes { _ in }
        case .number: _ = try reader.skipValue()
        case .bool: _ = try reader.readBool()
        case .null: try reader.readNull()
        }
    }
}
