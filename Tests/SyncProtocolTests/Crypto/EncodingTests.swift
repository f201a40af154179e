// Hex, Base64URL and the comparison of secrets.

import SyncProtocol
import TestSupport
import Testing

@Suite struct EncodingTests {
    @Test func hex_roundTrips_andRefusesEverythingElse() {
        let all = (UInt8.min ... .max).map { $0 }
        #expect(Hex.decode(Hex.encode(all)) == all)
        #expect(Hex.encode([0, 9, 10, 0xAB, 0xFF]) == "00090aabff")
        #expect(Hex.decode("AbFf") == [0xAB, 0xFF])
        #expect(Hex.decode("") == [])
        for text in ["a", "abc", "0g", "0x", " 0", "é", "/0", ":0", "@0", "`0"] { #expect(Hex.decode(text) == nil, "\(text)") }
    }

    @Test func base64URL_matchesRFC4648_withoutPadding() {
        let pairs = [
            ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE"), ("foobar", "Zm9vYmFy"),
        ]
        for (plain, text) in pairs {
            #expect(Base64URL.encode(Array(plain.utf8)) == text)
            #expect(Base64URL.decode(text) == Array(plain.utf8))
        }
        #expect(Base64URL.encode([0xFB, 0xEF, 0xFF]) == "--__")
    }

    @Test(arguments: ["Zg==", "Z", "Zm9vY", "Zh", "Zm9", "+/+/", "Zm 9", "Zm9v\n", "Zm9é"])
    func base64URL_isRefused_whenNotTheOneSpelling(text: String) { #expect(Base64URL.decode(text) == nil) }

    @Test func base64URL_roundTrips_forEveryLength() {
        let seed = UInt64.random(in: .min ... .max)
        var random = SeededRandom(seed: seed)
        for length in 0..<200 {
            let bytes = (0..<length).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            #expect(Base64URL.decode(Base64URL.encode(bytes)) == bytes, "seed \(seed)")
        }
    }

    @Test func constantTimeEqual_isEquality() {
        #expect(constantTimeEqual([], []))
        #expect(constantTimeEqual([1, 2, 3], [1, 2, 3]))
        #expect(!constantTimeEqual([1, 2, 3], [1, 2, 4]))
        #expect(!constantTimeEqual([0, 2, 3], [1, 2, 3]))
        #expect(!constantTimeEqual([1, 2], [1, 2, 3]))
    }
}
