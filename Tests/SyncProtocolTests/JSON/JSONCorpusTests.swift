// Every class of text that parsers are known to disagree about, and the one reading of this one: what RFC 8259 says, and a refusal
// wherever it leaves a choice (protocol §1). JSONStrictnessTests holds single cases with their codes; here are the classes, generated.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@Suite struct JSONCorpusTests {
    struct Case: Sendable {
        var name: String
        var bytes: [UInt8]
        /// nil: accepted. An empty list: refused with whatever code.
        var codes: [JSONError.Code]?

        init(_ name: String, _ text: String, _ codes: [JSONError.Code]?) { self.init(name, Array(text.utf8), codes) }

        init(_ name: String, _ bytes: [UInt8], _ codes: [JSONError.Code]?) { (self.name, self.bytes, self.codes) = (name, bytes, codes) }
    }

    // MARK: Numbers

    /// RFC 8259 §6, written out: every number of these parts is one, and only numbers with all their parts are.
    private static let numbers: [Case] = {
        let signs = ["", "-"]
        let wholes = ["0", "1", "10", "9007199254740993", "9223372036854775807"]
        let fractions = ["", ".0", ".5", ".000000000000000000000000000001", "." + String(repeating: "3", count: 400)]
        let exponents = ["", "e0", "E0", "e+1", "E-1", "e00012", "e9999999999", "E-9999999999"]
        var cases: [Case] = []
        for sign in signs {
            for whole in wholes {
                for fraction in fractions {
                    for exponent in exponents { cases.append(Case("number", sign + whole + fraction + exponent, nil)) }
                }
            }
        }
        let broken = [
            "+1", "++1", "--1", "-+1", "01", "-01", "00", "-00", "0001", "1.", "-1.", ".1", "-.1", "1.e1", "1e", "1E", "1e+", "1e-",
            "1e++1", "1e1.0", "1.0e", "1ee1",
            "0x1", "0X1", "-0x1", "0o1", "0b1", "1_000", "1,000.0x", "1 000", "Infinity", "-Infinity", "inf", "NaN", "nan", "-NaN", "1/2",
            "1f", "1d", "1L", "1u", "$1", "１", "٣",
            "1e１", "−1", "- 1", "-\n1", "1 e1", "1. 5", "-foo", "0e", "0.e", ".", "-", "e1", "e", "1.2.3", "1-1", "1+1", "(1)", "1:",
            "2.e+3", "0.1.2", "-1x", "1a", "[-]",
            "9223372036854775808", "-9223372036854775809", String(repeating: "1", count: 500), "-" + String(repeating: "9", count: 40),
        ]
        return cases
            + broken.flatMap { text in
                [Case("number", text, []), Case("number in array", "[\(text)]", []), Case("number in object", "{\"a\":\(text)}", [])]
            }
    }()

    // MARK: Strings

    private static let strings: [Case] = {
        var cases: [Case] = []
        // Each control character raw is refused, escaped it is fine; NUL never.
        for byte in UInt8(0)...0x1F {
            cases.append(Case("raw control \(byte)", [0x22, byte, 0x22], byte == 0 ? [.nulCharacter] : [.syntax]))
            cases.append(
                Case("raw control \(byte) in key", [0x7B, 0x22, byte, 0x22, 0x3A, 0x31, 0x7D], byte == 0 ? [.nulCharacter] : [.syntax]))
            let digits = String(byte, radix: 16)
            let escape = "\"\\u" + String(repeating: "0", count: 4 - digits.count) + digits + "\""
            cases.append(Case("escaped control \(byte)", escape, byte == 0 ? [.nulCharacter] : nil))
        }
        // Of all bytes behind a backslash nine are escapes.
        for byte in UInt8.min...UInt8.max where byte != UInt8(ascii: "u") {
            let isEscape = Array("\"\\/bfnrt".utf8).contains(byte)
            cases.append(Case("escape \(byte)", [0x22, 0x5C, byte, 0x22], isEscape ? nil : []))
            cases.append(Case("escape \(byte) in key", [0x7B, 0x22, 0x5C, byte, 0x22, 0x3A, 0x31, 0x7D], isEscape ? nil : []))
        }
        for text in ["\\😀", "\\é", "\\u{0}", "\\ud800\\x", "\\uD800\\uD800\\x"] { cases.append(Case("escape \(text)", "\"\(text)\"", [])) }
        cases.append(Case("byte in an escape", [0x22, 0x5C, 0x75, 0x30, 0x30, 0xE5, 0x22], []))
        // Pairs of surrogates and halves of them.
        let high = "\\uD83D"
        let low = "\\uDE00"
        for (text, isFine) in [
            (high + low, true), (low + high, false), (high, false), (low, false), (high + high + low, false), (high + low + low, false),
            (high + "x" + low, false), (high + "\\n", false), (high + "\\u0041", false),
            ("\\uD800\\uDC00", true), ("\\uDBFF\\uDFFF", true), ("\\ud800\\ud800", false), ("\\uDFFF", false), ("\\uD7FF\\uE000", true),
            ("\\uFFFF\\uFFFE\\uFDD0", true),
        ] as [(String, Bool)] {
            cases.append(Case("surrogates", "\"\(text)\"", isFine ? nil : [.loneSurrogate]))
            cases.append(Case("surrogates in key", "{\"\(text)\":1}", isFine ? nil : [.loneSurrogate]))
        }
        for text in [
            "\\u", "\\u1", "\\u12", "\\u123", "\\u12G4", "\\u+123", "\\u 123", "\\u-001", "\\U0041", "\\u{41}", "\\x41", "\\101",
            "\\u00\u{E9}9", "\\uD83D\\u", "\\uD83D\\uDE0",
        ] {
            cases.append(Case("unicode escape \(text)", "\"\(text)\"", []))
        }
        for text in [
            "'a'", "`a`", "\u{201C}a\u{201D}", "\"a", "a\"", "\"\"\"", "\"a\"b\"", "\"\\\"", "\"\\\\\\\"", "\"a\\", "abc", "\\n",
            "\"a\" \"b\"", "u'a'", "b\"a\"", "\"a\nb\"", "\"a\tb\"", "\"\u{1}\"",
        ] {
            cases.append(Case("string \(text)", text, []))
        }
        for text in [
            "\"\u{7F}\"", "\"\u{80}\u{85}\u{A0}\"", "\"\u{2028}\u{2029}\"", "\"\u{FEFF}\"", "\"\u{200B}\u{202E}\u{2066}\"",
            "\"\u{10FFFF}\u{1FFFE}\"", "\"e\u{301}é\"", "\"/\\/\"", "\"\u{FFFD}\"", "\"{}[]:,\"", "\"//\"",
            "\"\(String(repeating: "a", count: 100_000))\"",
        ] {
            cases.append(Case("string", text, nil))
        }
        return cases
    }()

    // MARK: UTF-8

    /// Which sequences of two, three and four bytes are characters, by the table of RFC 3629 and by Swift's own decoder.
    private static let sequences: [Case] = {
        var cases: [Case] = []
        let leads = Array(UInt8(0x80)...0xFF)
        let seconds: [UInt8] = [0x00, 0x22, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF]
        for lead in leads {
            for second in seconds {
                for tail in [[], [0x80], [0xBF], [0x80, 0x80], [0xBF, 0xBF], [0x80, 0x41], [0x80, 0x80, 0x80]] as [[UInt8]] {
                    let bytes = [lead, second] + tail
                    guard !bytes.contains(0x22), !bytes.contains(0) else { continue }
                    cases.append(
                        Case(
                            "bytes \(bytes)", [0x22] + bytes + [0x22],
                            String(validating: bytes, as: UTF8.self) == nil ? [.invalidUTF8] : nil))
                }
            }
        }
        for (name, bytes) in [
            ("UTF-16 LE", [0xFF, 0xFE, 0x5B, 0, 0x5D, 0]), ("UTF-16 BE", [0xFE, 0xFF, 0, 0x5B, 0, 0x5D]),
            ("UTF-16 LE without mark", [0x5B, 0, 0x5D, 0]), ("UTF-16 BE without mark", [0, 0x5B, 0, 0x5D]),
            ("UTF-32", [0, 0, 0, 0x5B, 0, 0, 0, 0x5D]), ("UTF-8 mark", [0xEF, 0xBB, 0xBF, 0x7B, 0x7D]),
            ("UTF-8 mark alone", [0xEF, 0xBB, 0xBF]), ("half a mark", [0xEF, 0xBB, 0x7B, 0x7D]), ("UTF-7", Array("+AHsAfQ-".utf8)),
            ("Latin-1 text", [0x22, 0xE9, 0x22]), ("CESU-8", [0x22, 0xED, 0xA0, 0xBD, 0xED, 0xB8, 0x80, 0x22]),
            ("modified UTF-8 NUL", [0x22, 0xC0, 0x80, 0x22]), ("lone byte outside", [0xE5]), ("lone byte in array", [0x5B, 0xE5, 0x5D]),
        ] as [(String, [UInt8])] { cases.append(Case(name, bytes, [])) }
        return cases
    }()

    // MARK: Structure

    private static let structures: [Case] = {
        var cases: [Case] = []
        let fine = [
            "[]", "[ ]", "{}", "{ }", "[null,1,\"1\",{}]", "[[],[[]]]", "{\"a\":{}}", " [] ", "\t\r\n []\t\r\n ", "[\n1\n,\n2\n]",
            "{\"\":0}", "{\"a\":1,\"A\":2}", "{\"a\":1,\"a \":2}", "{\"é\":1,\"e\u{301}\":2}", "null", "true", "false", "\"\"", "0",
            "{\"__proto__\":1,\"constructor\":2}", "[1,2,3,4,5,6,7,8,9]", "{\"a\":[{\"a\":[{\"a\":1}]}]}",
        ]
        cases += fine.map { Case("structure \($0)", $0, nil) }
        let broken = [
            "", " ", "\n", "[", "]", "{", "}", "[}", "{]", "[[", "]]", "[]]", "{}}", "[][]", "{}{}", "[],", ",[]", "[,]", "[1,]", "[,1]",
            "[1,,2]", "[1 2]", "[1;2]", "[1:2]", "[\"a\":1]", "[\"a\",\n4\n,1,", "[1,\n1\n,1", "[{}", "[\"\"", "[\"a\"", "[true",
            "{,}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,\"a\":1}", "{\"a\":1,,\"b\":2}", "{\"a\" 1}", "{\"a\"::1}", "{\"a\":1 \"b\":2}",
            "{\"a\",1}", "{:1}", "{1:1}", "{a:1}", "{'a':1}", "{null:1}", "{[]:1}", "{\"a\":1:2}", "{\"a\"=1}", "{\"a\"=>1}",
            "{\"a\":\"b\"", "{\"a\":\"b\",",
            "{\"a\":\"b\"}#", "{\"a\":\"b\"}/", "{\"a\":\"b\"}//", "{\"a\":\"b\"}/**/", "/**/[]", "[/*a*/1]", "[1]//", "#[]", "<!-- -->[]",
            "<.>", "[<null>]", "[*]", "[a", "[\u{0}]", "\u{0}", "[1]\u{0}", "*", "[\\u000A\"\"]", "{\"\\u\"", "\\", "?", "$", "[\u{A0}]",
            "[\u{2060}]", "[\u{3000}1]", "[\u{B}1]", "[\u{C}1]", "\u{FEFF}[]", "[\u{85}]",
            "tru", "truE", "True", "TRUE", "nul", "Null", "nulll", "falsey", "fals", "undefined", "None", "[true false]", "[tru,1]",
            "nullnull", "true1", "[null1]", "[nul\u{6C}l]", "...", "[...]", "[1,...]", "function(){}", "new Date()", "/a/", "[\"a\"+\"b\"]",
            "[\"a\" \"b\"]", "0 1", "1 true", "{\"a\":true} \"x\"", "é", "[é]", "aå",
            String(repeating: "[{\"\":", count: 30), "-1.0.", "[1.8011670033376514H-308]", "{\"a\":/*comment*/\"b\"}", "[\"\",]",
        ]
        cases += broken.map { Case("structure \($0)", $0, []) }
        // Keys that are one key.
        for (one, other) in [
            ("a", "a"), ("a", "\\u0061"), ("", ""), ("\\n", "\\u000a"), ("/", "\\/"), ("😀", "\\ud83d\\ude00"), ("é", "\\u00e9"),
            (String(repeating: "k", count: 300), String(repeating: "k", count: 300)),
        ] {
            cases.append(Case("twice \(one)", "{\"\(one)\":1,\"\(other)\":2}", [.duplicateKey]))
            cases.append(
                Case(
                    "twice \(one), far apart", "{\"\(one)\":1,\((0..<40).map { "\"k\($0)\":{\"\(one)\":0}," }.joined())\"\(other)\":2}",
                    [.duplicateKey]))
        }
        // Depth, of arrays, objects and both, closed and open.
        for depth in [1, 63, 64, 65, 100, 500, 100_000] {
            let codes: [JSONError.Code]? = depth > 64 ? [.depth] : nil
            cases.append(Case("\(depth) arrays", String(repeating: "[", count: depth) + String(repeating: "]", count: depth), codes))
            cases.append(Case("\(depth) arrays, open", String(repeating: "[", count: depth), depth > 64 ? [.depth] : [.truncated]))
            cases.append(
                Case("\(depth) objects", String(repeating: "{\"a\":", count: depth) + "1" + String(repeating: "}", count: depth), codes))
            if depth % 2 == 0 {
                cases.append(
                    Case(
                        "\(depth) of both",
                        String(repeating: "[{\"a\":", count: depth / 2) + "1" + String(repeating: "}]", count: depth / 2), codes))
            }
        }
        return cases
    }()

    static let all: [Case] = [numbers, strings, sequences, structures].flatMap { $0 }

    // MARK: Tests

    @Test func everyText_hasItsOneReading() {
        for one in Self.all {
            let name = one.name.prefix(80)
            switch (Self.read(one.bytes), one.codes) {
            case (.success(let value), nil):
                let bytes = value.canonicalBytes()
                #expect(Self.read(bytes) == .success(value), "\(name): written again it is another value")
            case (.success, _?): Issue.record("\(name) is accepted: \(one.bytes.prefix(60))")
            case (.failure(let error), nil): Issue.record("\(name) is refused: \(error) \(one.bytes.prefix(60))")
            case (.failure(let error), let codes?): #expect(codes.isEmpty || codes.contains(error.code), "\(name): \(error)")
            }
            // Skipping a value and reading it are two machines with one opinion.
            let isSkippable = (try? JSONReader.read(one.bytes) { try $0.skipValue() }) != nil
            if isSkippable != (one.codes == nil) { Issue.record("\(name): skipping disagrees") }
        }
    }

    private static func read(_ bytes: [UInt8]) -> Result<JSONValue, JSONError> {
        Result { () throws(JSONError) in try JSONValue(parsing: bytes) }
    }

    @Test func text_isRefused_whenAnyByteIsMissingOrDoubled() {
        // Neither a number nor white space at the end, so that every shorter text is broken.
        for text in [#"{"a":[1,"é\ud83d\ude00\n",null],"b":{"c":true}}"#, #"["\\\"",[{"":-1.5e3}],false]"#] {
            let bytes = Array(text.utf8)
            guard case .success = Self.read(bytes) else {
                Issue.record("\(text) is refused")
                continue
            }
            for length in 0..<bytes.count {
                if case .success = Self.read(Array(bytes[..<length])) { Issue.record("\(text), cut at \(length)") }
                if case .success = Self.read(Array(bytes[length...].dropFirst())) { Issue.record("\(text), begun at \(length)") }
            }
            for byte in UInt8(0)...0xFF where !Array(" \t\r\n".utf8).contains(byte) {
                if case .success = Self.read(bytes + [byte]) { Issue.record("\(text) and \(byte)") }
            }
        }
    }

    /// Foundation is more lenient than this reader, so what it refuses is refused here too, and what both take is the same.
    @Test func damagedText_isNeverAccepted_whenFoundationRefusesIt() {
        let seed = UInt64.random(in: .min ... .max)
        var random = SeededRandom(seed: seed)
        let seeds = Self.all.filter { $0.bytes.count < 300 && $0.codes == nil }.map(\.bytes)
        let spice: [[UInt8]] = [
            "\"", "\\", "{", "}", "[", "]", ":", ",", "\\u", "\\ud83d", "e", "-", "0", "null", "\u{0}", "é", " ", "\"a\":",
        ].map { Array($0.utf8) }
        for round in 0..<4_000 {
            var bytes = seeds[Int.random(in: seeds.indices, using: &random)]
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let place = Int.random(in: 0...bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: if place < bytes.count { bytes[place] = UInt8.random(in: .min ... .max, using: &random) }
                case 1: bytes.insert(contentsOf: spice[Int.random(in: spice.indices, using: &random)], at: place)
                case 2: if place < bytes.count { bytes.remove(at: place) }
                default: bytes += seeds[Int.random(in: seeds.indices, using: &random)]
                }
            }
            guard case .success(let value) = Self.read(bytes) else { continue }
            #expect(Self.read(value.canonicalBytes()) == .success(value), "seed \(seed), round \(round)")
            // Numbers beyond a double are text to this reader and errors to Foundation.
            if Self.hasDecimal(value) { continue }
            if (try? JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)) == nil {
                Issue.record("seed \(seed), round \(round): accepted \(String(decoding: bytes, as: UTF8.self))")
            }
        }
    }

    private static func hasDecimal(_ value: JSONValue) -> Bool {
        switch value {
        case .decimal: true
        case .array(let elements): elements.contains(where: hasDecimal)
        case .object(let object): object.values.contains(where: hasDecimal)
        default: false
        }
    }

    @Test func keyTwice_isFound_amongVeryMany() throws {
        let text = "{" + (0..<200_000).map { "\"k\($0)\":0" }.joined(separator: ",")
        #expect(try JSONValue(parsing: text + "}").objectValue?.count == 200_000)
        #expect(throws: JSONError.self) { try JSONValue(parsing: text + ",\"k0\":1}") }
    }
}
