// Days and instants against known values, against each other over long ranges, and at the ends of what fits.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@Suite struct CalendarTests {
    @Test(
        arguments: [
            ("1970-01-01", 0), ("1969-12-31", -1), ("2026-03-16", 20528), ("2000-02-29", 11016), ("2000-03-01", 11017),
            ("1900-03-01", -25508),
            ("0000-01-01", -719_528), ("0000-02-29", -719_469), ("0001-01-01", -719_162), ("9999-12-31", 2_932_896),
        ] as [(String, Int64)])
    func date_matchesKnownDayNumbers(text: String, days: Int64) {
        #expect(CalendarDate.days(fromISO: text) == days)
        #expect(CalendarDate.iso(fromDays: days) == text)
    }

    @Test(arguments: [
        "", "2026-3-16", "2026-02-29", "1900-02-29", "2026-04-31", "2026-00-10", "2026-13-01", "2026-01-00", "2026-01-32", "20260316",
        "2026/03/16", "+2026-03-16", "-001-01-01",
        "2026-03-16 ", " 2026-03-16", "2026-03-16T00:00:00Z", "２026-03-16", "2026-0a-16",
    ])
    func date_isRefused_whenMalformedOrNotReal(text: String) { #expect(CalendarDate.days(fromISO: text) == nil) }

    @Test func date_roundTrips_forEveryDayAroundThreeCenturyTurns() throws {
        let first = try #require(CalendarDate.days(fromISO: "1890-01-01"))
        let last = try #require(CalendarDate.days(fromISO: "2110-12-31"))
        var wrong: [Int64] = []
        var previous = ""
        for days in first...last {
            let text = CalendarDate.iso(fromDays: days)
            if CalendarDate.days(fromISO: text) != days || text <= previous { wrong.append(days) }
            previous = text
        }
        #expect(wrong.isEmpty)
    }

    @Test func date_agreesWithFoundation() throws {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = try #require(TimeZone(secondsFromGMT: 0))
        for days in stride(from: Int64(-20_000), to: 60_000, by: 379) {
            let parts = calendar.dateComponents([.year, .month, .day], from: Date(timeIntervalSince1970: Double(days) * 86_400))
            let (year, month, day) = try (#require(parts.year), #require(parts.month), #require(parts.day))
            #expect(CalendarDate.iso(fromDays: days) == "\(year)-\(month < 10 ? "0" : "")\(month)-\(day < 10 ? "0" : "")\(day)")
        }
    }

    @Test func date_isExpanded_beyondFourDigits() {
        #expect(CalendarDate.iso(fromDays: 2_932_897) == "+10000-01-01")
        #expect(CalendarDate.iso(fromDays: -719_529) == "-0001-12-31")
        #expect(CalendarDate.iso(fromDays: .max) == "+25252734927768524-07-27")
        #expect(CalendarDate.iso(fromDays: .min) == "-25252734927764585-06-07")
    }

    @Test(
        arguments: [
            ("1970-01-01T00:00:00Z", 0), ("1970-01-01T00:00:00.001Z", 1), ("1969-12-31T23:59:59.999Z", -1),
            ("2026-03-16T08:30:15.250Z", 1_773_649_815_250),
            ("2026-03-16T10:30:15.25+02:00", 1_773_649_815_250), ("2026-03-16T03:00:15.2509999-05:30", 1_773_649_815_250),
            ("2026-03-16T08:30:15.250123456Z", 1_773_649_815_250),
            ("2026-03-16T00:00:00-00:00", 1_773_619_200_000), ("2026-03-16T23:59:59+23:59", 1_773_619_259_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
        ] as [(String, Int64)])
    func instant_isRead_withItsZone(text: String, milliseconds: Int64) { #expect(Instant.milliseconds(fromISO8601: text) == milliseconds) }

    @Test(arguments: [
        "", "2026-03-16", "2026-03-16T08:30:15", "2026-03-16T08:30:15.250", "2026-03-16 08:30:15Z", "2026-03-16t08:30:15z",
        "2026-03-16T08:30Z", "2026-03-16T24:00:00Z",
        "2026-03-16T23:60:00Z", "2026-03-16T23:59:60Z", "2026-02-30T00:00:00Z", "2026-03-16T08:30:15.Z", "2026-03-16T08:30:15.1234567890Z",
        "2026-03-16T08:30:15,5Z",
        "2026-03-16T08:30:15+0200", "2026-03-16T08:30:15+02", "2026-03-16T08:30:15+24:00", "2026-03-16T08:30:15+02:60",
        "2026-03-16T08:30:15Zx", "2026-03-16T08:30:15.25", "2026-03-16T08:30:15+02:00Z",
        "2026-03-16T08-30-15Z", "2026-03-16T08:30:15.5",
    ])
    func instant_isRefused_whenMalformedOrWithoutZone(text: String) { #expect(Instant.milliseconds(fromISO8601: text) == nil) }

    @Test func instant_roundTrips_andSortsAsText() {
        let seed = UInt64.random(in: .min ... .max)
        var random = SeededRandom(seed: seed)
        for _ in 0..<2000 {
            let one = Int64.random(in: -62_167_219_200_000...253_402_300_799_999, using: &random)
            let other = Int64.random(in: -62_167_219_200_000...253_402_300_799_999, using: &random)
            #expect(Instant.milliseconds(fromISO8601: Instant.iso(fromMilliseconds: one)) == one, "seed \(seed)")
            #expect((one < other) == (Instant.iso(fromMilliseconds: one) < Instant.iso(fromMilliseconds: other)), "seed \(seed)")
        }
        #expect(Instant.iso(fromMilliseconds: -1) == "1969-12-31T23:59:59.999Z")
        #expect(Instant.iso(fromMilliseconds: .max) == "+292278994-08-17T07:12:55.807Z")
        #expect(Instant.iso(fromMilliseconds: .min) == "-292275055-05-16T16:47:04.192Z")
    }
}
