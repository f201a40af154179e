// The validated text types, each with what it takes and what it refuses.

import Foundation
import SyncProtocol
import Testing

@Suite struct FormatsTests {
    struct Table: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var check: @Sendable (String) -> Bool
        var taken: [String]
        var refused: [String]
    }

    static let tables = [
        Table(
            testDescription: "email", check: Formats.isEmail,
            taken: [
                "a@b.co", "first.last+tag@sub.example.com", "o'neill@example.org", "x_y-z@1a.example", "a@xn--mnchen-3ya.de",
                String(repeating: "a", count: 64) + "@b.co",
            ],
            refused: [
                "", "a", "@b.co", "a@", "a@b", "a@@b.co", "a b@c.de", ".a@b.co", "a.@b.co", "a..b@c.de", "a@-b.co", "a@b-.co", "a@b..co",
                "a@.co", "a@b.co.",
                "a@1.2.3.4", "a@[1.2.3.4]", "\"a b\"@c.de", "a@b.co\n", "é@b.co", "a@é.co", String(repeating: "a", count: 65) + "@b.co",
                "a@" + String(repeating: "b", count: 64) + ".co", "a@" + String(repeating: "b.", count: 130) + "co",
            ]),
        Table(
            testDescription: "phone", check: Formats.isPhone, taken: ["+1234567", "+442071838750", "+123456789012345"],
            refused: [
                "", "+", "442071838750", "+123456", "+1234567890123456", "+0123456789", "+44 20 7183", "+44-207183", "+44a0718387",
                "++4420718387", "+４４２０７１８３８７",
            ]),
        Table(
            testDescription: "url", check: Formats.isURL,
            taken: [
                "http://example.com", "https://example.com/", "HTTPS://Example.COM/a/b?c=d&e=%20#f", "http://localhost:8080",
                "http://127.0.0.1/x", "http://[::1]:80/",
                "https://[2001:db8::1]", "https://example.com?x", "https://example.com#x", "https://de.example.org/wiki/Köln",
                "https://münchen.example/", "https://a.b/c:d@e",
            ],
            refused: [
                "", "http://", "https:///x", "http:/example.com", "example.com", "//example.com", "ftp://example.com",
                "javascript:alert(1)", "http://user@example.com",
                "http://u:p@example.com/", "http://exa mple.com", "http://example.com/a b", "http://example.com/\n", "http://example.com:0",
                "http://example.com:65536",
                "http://example.com:x", "http://example.com:", "http://-a.com", "http://a..com", "http://example.com/%zz",
                "http://example.com/%2", "http://[::1", "http://[1]/",
                "http://[::g]", "http://a.com/<script>", "http://a.com/\u{A0}", "http://a.com/\\b", "http://a.com#b#c",
                "http://a.com/" + String(repeating: "x", count: 2048),
            ]),
        Table(
            testDescription: "slug", check: Formats.isSlug, taken: ["a", "0", "net_30", "a-b_c", "9lives"],
            refused: ["", "A", "-a", "_a", "a b", "é", "a.b", "a/b", "a\n"]),
        Table(
            testDescription: "hex64", check: Formats.isHex64, taken: [String(repeating: "0a", count: 32)],
            refused: [
                "", String(repeating: "0A", count: 32), String(repeating: "0a", count: 31), String(repeating: "0a", count: 33),
                String(repeating: "0g", count: 32),
            ]),
        Table(
            testDescription: "currency", check: Formats.isCurrency, taken: ["USD", "EUR", "GBP", "JPY", "CHF", "ZWG", "XCG", "SLE", "XAU"],
            refused: ["", "usd", "US", "USDX", "DEM", "HRK", "BGN", "AAA", "EUR "]),
        Table(
            testDescription: "country", check: Formats.isCountry, taken: ["US", "GB", "DE", "SS", "AX", "ZW"],
            refused: ["", "us", "UK", "EU", "USA", "XX", "ZZ", "AN"]),
        Table(
            testDescription: "time zone", check: Formats.isTimeZone,
            taken: ["UTC", "Europe/Paris", "America/New_York", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "America/Port-au-Prince"],
            refused: [
                "", "GMT+0100", "+01:00", "Europe", "Europe/", "/Europe", "../etc/passwd", "Europe/../UTC", "Europe//Paris",
                "Europe/Par is", "a/b/c/d",
                "PST",
            ]),
    ]

    @Test(arguments: tables) func format_takesAndRefuses(table: Table) {
        for text in table.taken { #expect(table.check(text), "should take \(text)") }
        for text in table.refused { #expect(!table.check(text), "should refuse \(text)") }
    }

    @Test(.enabled(if: TimeZone(identifier: "America/New_York") != nil, "needs the time zone database"))
    func timeZone_mustExist_whereThereIsADatabase() {
        for name in ["Europe/Nowhere", "Mars/Base", "Europe/GMT+0100"] { #expect(!Formats.isTimeZone(name)) }
    }
}
