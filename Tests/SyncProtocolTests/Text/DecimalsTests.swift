// Decimal text to integers of the smallest unit and back, exactly or not at all.

import SyncProtocol
import TestSupport
import Testing

@Suite struct DecimalsTests {
    @Test(
        arguments: [
            ("12.5", 2, 1250), ("12.50", 2, 1250), ("12", 2, 1200), ("-0.05", 2, -5), ("0", 0, 0), ("-0", 2, 0), ("007", 1, 70),
            ("1.234", 3, 1234),
            ("92233720368547758.07", 2, .max), ("-92233720368547758.08", 2, .min), ("9223372036854775807", 0, .max),
            ("0.000000000000000001", 18, 1), ("9", 18, 9_000_000_000_000_000_000),
        ] as [(String, Int, Int64)])
    func text_isParsed_exactly(text: String, scale: Int, value: Int64) { #expect(Decimals.parse(text, scale: scale) == value) }

    @Test(arguments: [
        ("", 2), ("-", 2), (".", 2), (".5", 2), ("5.", 2), ("1.234", 2), ("1.200", 2), ("1.0", 0), ("1e2", 2), ("+1", 2), ("1,5", 2),
        ("1 000", 2), (" 1", 2), ("1 ", 2), ("--1", 2),
        ("1.2.3", 4), ("1.-2", 2), ("0x10", 2), ("１", 2), ("NaN", 2), ("92233720368547758.08", 2), ("-92233720368547758.09", 2),
        ("9223372036854775808", 0), ("10", 18), ("99999999999999999999999", 0),
    ])
    func text_isRefused_whenItIsNoExactDecimal(text: String, scale: Int) { #expect(Decimals.parse(text, scale: scale) == nil) }

    @Test(
        arguments: [
            (1250, 2, "12.50"), (5, 2, "0.05"), (-5, 2, "-0.05"), (0, 2, "0.00"), (0, 0, "0"), (-7, 0, "-7"),
            (.min, 2, "-92233720368547758.08"), (.max, 18, "9.223372036854775807"), (.min, 0, "-9223372036854775808"),
        ] as [(Int64, Int, String)])
    func value_isFormatted_withAllDigitsOfItsScale(value: Int64, scale: Int, text: String) {
        #expect(Decimals.format(value, scale: scale) == text)
    }

    @Test func values_roundTrip_atEveryScale() {
        let seed = UInt64.random(in: .min ... .max)
        var random = SeededRandom(seed: seed)
        for scale in 0...18 {
            for _ in 0..<100 {
                let value = Int64.random(in: .min ... .max, using: &random) >> Int64.random(in: 0..<63, using: &random)
                #expect(Decimals.parse(Decimals.format(value, scale: scale), scale: scale) == value, "seed \(seed)")
            }
        }
    }
}
