// The tree: accessors, equality by bytes, objects in byte order, canonical text, and a round trip over random trees.

import SyncProtocol
import TestSupport
import Testing

@Suite struct JSONValueTests {
    @Test func literals_makeValues_andAccessorsReadThem() {
        let value: JSONValue = ["s": "text", "i": -7, "b": true, "n": nil, "a": [1, "two", [false]], "o": ["k": "v"]]
        #expect(value["s"]?.stringValue == "text")
        #expect(value["i"]?.integerValue == -7)
        #expect(value["b"]?.boolValue == true)
        #expect(value["n"]?.isNull == true)
        #expect(value["a"]?[2]?[0] == false)
        #expect(value["a"]?.arrayValue?.count == 3)
        #expect(value["o"]?.objectValue?.keys == ["k"])
        #expect(value["missing"] == nil)
        #expect(value[0] == nil)
        #expect(value["a"]?[3] == nil)
        #expect(value["a"]?[-1] == nil)
        #expect(value["s"]?["k"] == nil)
        #expect(value["i"]?.stringValue == nil)
        #expect(JSONValue.decimal("1.5").integerValue == nil)
    }

    @Test func canonicalText_isSortedCompactAndMinimal() {
        let value: JSONValue = ["b": [1, nil], "a": "q\"\\/\u{8}\u{C}\n\r\t\u{1}\u{1F}\u{7F}é😀", "": true, "ä": 1, "Z": .decimal("1.0")]
        #expect(value.canonicalText == #"{"":true,"Z":1.0,"a":"q\"\\/\b\f\n\r\t\u0001\u001f"# + "\u{7F}" + #"é😀","b":[1,null],"ä":1}"#)
        #expect(JSONValue.integer(.min).canonicalText == "-9223372036854775808")
        #expect(
            [0, 9, 10, -1, -10, .max].map { JSONValue.integer($0).canonicalText } == ["0", "9", "10", "-1", "-10", "9223372036854775807"])
    }

    @Test func keys_areOrderedByBytes_notByScalarsOrUTF16() throws {
        // U+FF61 precedes U+1F600 in UTF-8, and follows it in UTF-16.
        let value = try JSONValue(parsing: #"{"😀":1,"｡":2,"b":3,"aa":4,"a":5,"B":6}"#)
        #expect(value.objectValue?.keys == ["B", "a", "aa", "b", "｡", "😀"])
    }

    @Test func equality_isThatOfTheBytes_forCanonicallyEquivalentTexts() {
        let composed = "\u{E9}"
        let decomposed = "e\u{301}"
        #expect(composed == decomposed, "String itself takes them as equal")
        #expect(JSONValue.string(composed) != JSONValue.string(decomposed))
        #expect(JSONObject([(composed, 1)]) != JSONObject([(decomposed, 1)]))
        let both = JSONObject([(composed, 1), (decomposed, 2)])
        #expect(both.count == 2)
        #expect(both[composed] == 1)
        #expect(both[decomposed] == 2)
        #expect(Set<JSONValue>([.string(composed), .string(decomposed), .string(composed)]).count == 2)
        #expect(JSONValue.integer(1) != JSONValue.decimal("1"))
    }

    @Test func object_keepsOrderAndUniqueness_whenChanged() {
        var object = JSONObject([("c", 1), ("a", 2), ("c", 3), ("b", 4), ("a", 5)])
        #expect(object.keys == ["a", "b", "c"])
        #expect(object.values == [5, 4, 3])
        object["bb"] = 9
        object["a"] = nil
        object["zz"] = nil
        object["c"] = .null
        #expect(object.map(\.key) == ["b", "bb", "c"])
        #expect(object["c"] == .some(.null))
        #expect(object == ["c": nil, "bb": 9, "b": 4])
        #expect(object.hashValue == JSONObject([("b", 4), ("bb", 9), ("c", .null)]).hashValue)
        #expect(JSONObject().isEmpty)
    }

    @Test func decimalThatIsNoNumber_isWrittenAsAString_soThatOutputIsValid() throws {
        for text in ["nan", "", "1,5", "01", "1 ", "inf"] {
            #expect(try JSONValue(parsing: JSONValue.decimal(text).canonicalBytes()) == .string(text))
        }
        #expect(JSONValue.decimal("1.50e-3").canonicalText == "1.50e-3")
    }

    @Test func randomTrees_surviveTheRoundTrip() throws {
        let seed = UInt64.random(in: .min ... .max)
        var random = SeededRandom(seed: seed)
        for _ in 0..<500 {
            let value = tree(depth: 0, &random)
            let bytes = value.canonicalBytes()
            let parsed = try JSONValue(parsing: bytes)
            #expect(parsed == value, "seed \(seed)")
            #expect(parsed.hashValue == value.hashValue, "seed \(seed)")
            #expect(parsed.canonicalBytes() == bytes, "seed \(seed)")
            // Any spelling of the same value has the same canonical bytes.
            let loose = spelled(value, &random)
            #expect(try JSONValue(parsing: loose).canonicalBytes() == bytes, "seed \(seed): \(loose)")
            let range = try JSONReader.read(Array(loose.utf8)) { try $0.skipValue() }
            #expect(try JSONValue(parsing: Array(loose.utf8)[range]) == value, "seed \(seed)")
        }
    }

    private func tree(depth: Int, _ random: inout SeededRandom) -> JSONValue {
        switch Int.random(in: 0..<(depth > 4 ? 5 : 8), using: &random) {
        case 0: return .null
        case 1: return .bool(.random(using: &random))
        case 2: return .integer(Int64.random(in: .min ... .max, using: &random) >> Int64.random(in: 0..<63, using: &random))
        case 3: return .decimal(["-0", "0.5", "-1.25e10", "3E-7", "100.000"].randomElement(using: &random) ?? "-0")
        case 4: return .string(text(&random))
        case 5: return .array((0..<Int.random(in: 0..<6, using: &random)).map { _ in tree(depth: depth + 1, &random) })
        default:
            let count = Int.random(in: 0..<(Bool.random(using: &random) ? 4 : 24), using: &random)
            return .object(JSONObject((0..<count).map { _ in (text(&random), tree(depth: depth + 1, &random)) }))
        }
    }

    private func text(_ random: inout SeededRandom) -> String {
        let alphabet: [Unicode.Scalar] = [
            "a", "b", "Z", "0", " ", "/", "\"", "\\", "\n", "\u{1}", "\u{7F}", "é", "\u{301}", "€", "😀", "\u{10FFFF}",
        ]
        var scalars = String.UnicodeScalarView()
        for _ in 0..<Int.random(in: 0..<20, using: &random) { scalars.append(alphabet.randomElement(using: &random) ?? "a") }
        return String(scalars)
    }

    /// The value with random white space, escapes and member order.
    private func spelled(_ value: JSONValue, _ random: inout SeededRandom) -> String {
        let space = ["", "", " ", "\n\t", "\r\n"].randomElement(using: &random) ?? ""
        switch value {
        case .array(let elements):
            return space + "[" + elements.map { spelled($0, &random) }.joined(separator: ",") + space + "]"
        case .object(let object):
            let members = object.shuffled(using: &random).map { escaped($0.key, &random) + space + ":" + spelled($0.value, &random) }
            return "{" + space + members.joined(separator: space + ",") + "}" + space
        case .string(let text): return space + escaped(text, &random) + space
        default: return space + value.canonicalText + space
        }
    }

    private func escaped(_ text: String, _ random: inout SeededRandom) -> String {
        var output = "\""
        for unit in text.unicodeScalars {
            if Bool.random(using: &random) {
                for code in String(unit).utf16 {
                    let digits = String(code, radix: 16, uppercase: Bool.random(using: &random))
                    output += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                }
            } else {
                // By scalars: a combining mark and the quote before it are one Character.
                output.unicodeScalars += JSONValue.string(String(unit)).canonicalText.unicodeScalars.dropFirst().dropLast()
            }
        }
        return output + "\""
    }
}
