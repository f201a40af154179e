// Published vectors: NIST CAVS for SHA-256 and SHA-1, RFC 4231 for HMAC; and that streaming equals hashing at once.

import TestSupport
import Testing

@testable import SyncProtocol

@Suite struct DigestTests {
    private func ascii(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("d3", "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"),
        ("11af", "5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98"),
        ("b4190e", "dff2e73091f6c05e528896c4c831b9448653dc2ff043528f6769437bc7b975c2"),
        ("74ba2521", "b16aa56be3880d18cd41e68384cf1ec8c17680c45a02b1575dc1518923ae8b0e"),
    ])
    func sha256_matchesNIST_forShortMessages(message: String, digest: String) throws {
        #expect(Hex.encode(SHA256.hash(try #require(Hex.decode(message)))) == digest)
    }

    @Test func sha256_matchesFIPS_forLongMessages() {
        #expect(
            Hex.encode(SHA256.hash(ascii("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")))
                == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
        #expect(
            Hex.encode(SHA256.hash([UInt8](repeating: 0x61, count: 1_000_000)))
                == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    @Test func sha256_matchesNIST_inTheMonteCarloTest() throws {
        var seed = try #require(Hex.decode("6d1e72ad03ddeb5de891e572e2396f8da015d899ef0e79503152d6010a3fe691"))
        for expected in [
            "e93c330ae5447738c8aa85d71a6c80f2a58381d05872d26bdd39f1fcd4f2b788",
            "2e78f8c8772ea7c9331d41ed3f9cdf27d8f514a99342ee766ee3b8b0d0b121c0",
        ] {
            var last = [seed, seed, seed]
            for _ in 0..<1000 { last = [last[1], last[2], SHA256.hash(last[0] + last[1] + last[2])] }
            seed = last[2]
            #expect(Hex.encode(seed) == expected)
        }
    }

    // The digest over the digests of messages of 0…299 bytes, so that every length of padding is covered.
    @Test func digests_areRight_atEveryLengthAroundTheBlock() {
        var sha256: [UInt8] = []
        var sha1: [UInt8] = []
        for length in 0..<300 {
            let message = (0..<length).map { UInt8(truncatingIfNeeded: $0 * 31 + length) }
            sha256 += SHA256.hash(message)
            sha1 += SHA1.hash(message)
        }
        #expect(Hex.encode(SHA256.hash(sha256)) == "148b894486945a24e834868db010090f61da189d018f0bf543b188081480175d")
        #expect(Hex.encode(SHA1.hash(sha1)) == "b9d956d3a9b44baa2d20ff7053a790ca0c1c0797")
        #expect(Hex.encode(SHA1.hash(ascii("abc"))) == "a9993e364706816aba3e25717850c26c9cd0d89d")
    }

    @Test func streaming_equalsHashingAtOnce_howeverTheMessageIsCut() {
        let seed = UInt64.random(in: .min ... .max)
        var random = SeededRandom(seed: seed)
        let message = (0..<1000).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        var hash = SHA256()
        for _ in 0..<50 {
            var rest = message[...]
            while !rest.isEmpty {
                let part = rest.prefix(Int.random(in: 0...150, using: &random))
                rest = rest.dropFirst(part.count)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: hash.update(part)
                case 1: part.withUnsafeBytes { hash.update($0) }
                default: hash.update(part.lazy.map { $0 })
                }
            }
            #expect(hash.finalize() == SHA256.hash(message), "seed \(seed)")
        }
    }

    @Test func copies_ofAHash_goOnIndependently() {
        var one = SHA256()
        one.update(ascii("ab"))
        var two = one
        one.update(ascii("c"))
        two.update(ascii("d"))
        #expect(one.finalize() == SHA256.hash(ascii("abc")))
        #expect(two.finalize() == SHA256.hash(ascii("abd")))
    }

    @Test func hmac_matchesRFC4231() {
        let aa131 = [UInt8](repeating: 0xAA, count: 131)
        let cases: [([UInt8], [UInt8], String)] = [
            ([UInt8](repeating: 0x0B, count: 20), ascii("Hi There"), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (ascii("Jefe"), ascii("what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                [UInt8](repeating: 0xAA, count: 20), [UInt8](repeating: 0xDD, count: 50),
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"
            ),
            (Array(1...25), [UInt8](repeating: 0xCD, count: 50), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
            (
                aa131, ascii("Test Using Larger Than Block-Size Key - Hash Key First"),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
            ),
            (
                aa131,
                ascii(
                    "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm."
                ),
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"
            ),
        ]
        for (key, message, code) in cases { #expect(Hex.encode(HMACSHA256.authenticate(message, key: key)) == code) }
        #expect(
            Hex.encode(HMACSHA256.authenticate([], key: [])) == "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad")
    }
}
