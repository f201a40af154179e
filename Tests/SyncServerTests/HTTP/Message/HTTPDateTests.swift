// Dates of HTTP: three forms in, one out, and nothing that only looks like one.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct HTTPDateTests {
    private static let now = Instant.milliseconds(fromISO8601: "2026-03-16T08:00:00Z") ?? 0

    @Test(arguments: [
        ("Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"), ("Sunday, 06-Nov-94 08:49:37 GMT", "1994-11-06T08:49:37Z"),
        ("Sun Nov  6 08:49:37 1994", "1994-11-06T08:49:37Z"), ("Sun Nov 16 08:49:37 1994", "1994-11-16T08:49:37Z"),
        ("Mon, 29 Feb 2028 00:00:00 GMT", "2028-02-29T00:00:00Z"), ("Tuesday, 29-Feb-28 23:59:59 GMT", "2028-02-29T23:59:59Z"),
        ("Sat, 31 Dec 2016 23:59:60 GMT", "2016-12-31T23:59:59Z"), ("Fri, 01 Jan 9999 00:00:00 GMT", "9999-01-01T00:00:00Z"),
    ])
    func everyForm_isRead(text: String, moment: String) {
        #expect(HTTPDate(text)?.milliseconds(nowMilliseconds: Self.now) == Instant.milliseconds(fromISO8601: moment))
    }

    /// RFC 9110: what seems to be more than fifty years ahead is of the century before.
    @Test(arguments: [
        ("Sunday, 06-Nov-75 08:49:37 GMT", "2026-03-16T08:00:00Z", "2075-11-06T08:49:37Z"),
        ("Sunday, 06-Nov-76 08:49:37 GMT", "2026-03-16T08:00:00Z", "1976-11-06T08:49:37Z"),
        ("Sunday, 06-Nov-99 08:49:37 GMT", "2026-03-16T08:00:00Z", "1999-11-06T08:49:37Z"),
        ("Sunday, 06-Nov-26 08:49:37 GMT", "2026-03-16T08:00:00Z", "2026-11-06T08:49:37Z"),
        ("Sunday, 06-Nov-01 08:49:37 GMT", "2099-12-31T23:00:00Z", "2101-11-06T08:49:37Z"),
        ("Sunday, 29-Feb-00 08:49:37 GMT", "2099-12-31T23:00:00Z", "2000-02-29T08:49:37Z"),
    ])
    func yearOfTwoDigits_isOfTheCenturyThatIsNear(text: String, now: String, moment: String) throws {
        let now = try required(Instant.milliseconds(fromISO8601: now))
        #expect(HTTPDate(text)?.milliseconds(nowMilliseconds: now) == Instant.milliseconds(fromISO8601: moment))
    }

    @Test(arguments: [
        "", "soon", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 +0000",
        "sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 NOV 1994 08:49:37 GMT", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun,  6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT", "Sun, 06 Nov 01994 08:49:37 GMT", "Sun, 31 Nov 1994 08:49:37 GMT", "Sun, 29 Feb 2026 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:49 GMT", "Sun, 06 Nov 1994 08:49:61 GMT", "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, +6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov +994 08:49:37 GMT", "Sun, 06 Nov 1994  08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06-Nov-94 08:49:37 GMT", "Sunday, 06-Nov-1994 08:49:37 GMT", "Sunday, 6-Nov-94 08:49:37 GMT",
        "Sunday, 31-Feb-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994", "Sun Nov 06 08:49:37 94", "Sun Nov  6 08:49:37 1994 GMT", "Sun Nov  31 08:49:37 1994",
        "Sunday Nov  6 08:49:37 1994", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37Z00:00 GMT", "Ｓun, 06 Nov 1994 08:49:37 GMT",
        "Sun, ٠٦ Nov 1994 08:49:37 GMT",
    ])
    func anythingElse_isNoDate(text: String) {
        #expect(HTTPDate(text) == nil)
    }

    @Test func whatIsSent_isReadBack() {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        for _ in 0..<500 {
            let seconds = Int64.random(in: 0...253_402_300_799, using: &random)
            let text = HTTPDate.text(secondsSince1970: Int(seconds))
            #expect(HTTPDate(text)?.milliseconds(nowMilliseconds: Self.now) == seconds * 1000, "\(text)")
        }
    }
}
