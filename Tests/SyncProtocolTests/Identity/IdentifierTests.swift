// Text, order, versions, and ids that only rise.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@Suite struct IdentifierTests {
    @Test func text_roundTrips_inAnyCase() throws {
        let text = "0189c2f0-1234-7abc-8def-0123456789ab"
        let identifier = try #require(Identifier(text))
        #expect(identifier == Identifier(high: 0x0189_c2f0_1234_7abc, low: 0x8def_0123_4567_89ab))
        #expect(identifier.text == text)
        #expect(identifier.description == text)
        #expect(Identifier(text.uppercased()) == identifier)
        #expect(Identifier("xx\(text)yy".dropFirst(2).dropLast(2)) == identifier)
        #expect(identifier.bytes == [0x01, 0x89, 0xc2, 0xf0, 0x12, 0x34, 0x7a, 0xbc, 0x8d, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab])
        #expect(Identifier.zero.text == "00000000-0000-0000-0000-000000000000")
        #expect(identifier.version == 7)
    }

    @Test(arguments: [
        "", "0189c2f0", "0189c2f012347abc8def0123456789ab", "0189c2f0-1234-7abc-8def-0123456789a", "0189c2f0-1234-7abc-8def-0123456789abc",
        "0189c2f0-1234-7abc-8def-0123456789ag", "{189c2f0-1234-7abc-8def-0123456789a}", "0189c2f01-234-7abc-8def-0123456789ab",
        "0189c2f0-1234-7abc-8def_0123456789ab", "0189c2f0-1234-7abc-8def-0123456789é", " 189c2f0-1234-7abc-8def-0123456789ab",
        "0189c2f0-1234-7abc-8def-01234567-9ab",
    ])
    func text_isRefused_whenMalformed(text: String) { #expect(Identifier(text) == nil) }

    @Test func text_agreesWithFoundation_forRandomIds() {
        for _ in 0..<300 {
            let uuid = UUID()
            #expect(Identifier(uuid.uuidString)?.text == uuid.uuidString.lowercased())
            #expect(Identifier(uuid.uuidString)?.version == 4)
        }
    }

    @Test func order_isThatOfTheBytes() {
        let seed = UInt64.random(in: .min ... .max)
        var random = SeededRandom(seed: seed)
        for _ in 0..<500 {
            let high = random.next()
            let a = Identifier(high: high, low: random.next())
            let b = Identifier(high: Bool.random(using: &random) ? high : random.next(), low: random.next())
            #expect((a < b) == a.bytes.lexicographicallyPrecedes(b.bytes), "seed \(seed)")
            #expect((a < b) == (a.text < b.text), "seed \(seed)")
        }
    }

    @Test func version5_matchesKnownIds() throws {
        let dns = try #require(Identifier("6ba7b810-9dad-11d1-80b4-00c04fd430c8"))
        let url = try #require(Identifier("6ba7b811-9dad-11d1-80b4-00c04fd430c8"))
        #expect(Identifier.version5(namespace: dns, name: "www.example.com").text == "2ed6657d-e927-568b-95e1-2665a8aea6a2")
        #expect(Identifier.version5(namespace: url, name: "https://example.com/ä").text == "afdef7ba-7312-5e42-ac2d-ed60cef58139")
        #expect(Identifier.version5(namespace: .zero, name: "").text == "e129f27c-5103-5c5c-844b-cdf0a15e160d")
    }

    @Test func version7_matchesTheRFC_andHoldsTimeWithinItsBits() {
        // RFC 9562, appendix A.6.
        let identifier = Identifier.version7(milliseconds: 0x017F_22E2_79B0, random: (0xCC3, 0x18C4_DC0C_0C07_398F << 2))
        #expect(identifier.text == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f")
        #expect(Identifier.version7(milliseconds: -5, random: (.max, .max)).text == "00000000-0000-7fff-bfff-ffffffffffff")
        #expect(Identifier.version7(milliseconds: .max, random: (0, 0)).text == "ffffffff-ffff-7000-8000-000000000000")
    }

    @Test func generator_rises_withinAMillisecondAndWhenTheClockStepsBack() {
        let seed = UInt64.random(in: .min ... .max)
        let source = LockedRandom(seed: seed)
        var generator = IdentifierGenerator(random: source.next)
        var random = SeededRandom(seed: seed)
        var now: Int64 = 1_760_000_000_000
        var last = Identifier.zero
        for _ in 0..<5000 {
            now += Int64.random(in: -20...20, using: &random) / 8
            let identifier = generator.next(milliseconds: now)
            #expect(identifier > last, "seed \(seed)")
            #expect(identifier.version == 7 && identifier.low >> 62 == 2, "seed \(seed)")
            last = identifier
        }
    }

    @Test func generator_takesTheTimeGiven_whenTheClockGoesOn() {
        var generator = IdentifierGenerator(random: { 42 })
        #expect(generator.next(milliseconds: 1000).high >> 16 == 1000)
        #expect(generator.next(milliseconds: 999).high >> 16 == 1000)
        #expect(generator.next(milliseconds: 1001).high >> 16 == 1001)
    }

    @Test func generator_rises_atTheEdgesOfItsBits() {
        var generator = IdentifierGenerator(random: { .max })
        var last = Identifier.zero
        for now in [Int64.min, -1, 0, 0, 5, 5, 4, 1 << 48 - 2, 1 << 48 - 2, 1 << 48 - 1, .max, .max, 0] {
            let identifier = generator.next(milliseconds: now)
            #expect(identifier > last)
            last = identifier
        }
    }
}

/// A seeded source that a sendable closure can share.
private final class LockedRandom: @unchecked Sendable {  // `random` is only touched under the lock
    private let lock = NSLock()
    private var random: SeededRandom

    init(seed: UInt64) { random = SeededRandom(seed: seed) }

    @Sendable func next() -> UInt64 { lock.withLock { random.next() } }
}
