// Dates in header fields (RFC 9110 §5.6.7): the form that is sent, and with it two obsolete ones that a recipient must still read.
// Names are in English and case-sensitive, the zone is always UTC.

import Foundation
import SyncProtocol

struct HTTPDate: Sendable, Equatable {
    /// Month, day and time as RFC 3339 has them, behind the year.
    private let rest: String
    private let year: Year

    private enum Year: Sendable, Equatable {
        case whole(Int64)
        /// Of the century that is meant only the reader's own date tells.
        case lastTwoDigits(Int64)
    }

    private static let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let longDays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    private static let fiftyYears: Int64 = 50 * 365 * 86_400_000 + 12 * 86_400_000

    /// nil for anything else than one of the three forms, and for days and times that there are not. That the day of the week is the
    /// date's is not asked: the date says more.
    init?(_ text: String) {
        let words = text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        let (day, month, year, clock): (String, String, String, String)
        if words.count == 6, words[0].last == ",", HTTPDate.days.contains(String(words[0].dropLast())), words[5] == "GMT",
            words[1].utf8.count == 2, words[3].utf8.count == 4
        {
            // Sun, 06 Nov 1994 08:49:37 GMT
            (day, month, year, clock) = (words[1], words[2], words[3], words[4])
        } else if words.count == 4, words[0].last == ",", HTTPDate.longDays.contains(String(words[0].dropLast())), words[3] == "GMT" {
            // Sunday, 06-Nov-94 08:49:37 GMT
            let date = words[1].split(separator: "-", omittingEmptySubsequences: false).map(String.init)
            guard date.count == 3, date[0].utf8.count == 2, date[2].utf8.count == 2 else { return nil }
            (day, month, year, clock) = (date[0], date[1], date[2], words[2])
        } else if words.count == 6 || words.count == 5, HTTPDate.days.contains(words[0]) {
            // Sun Nov  6 08:49:37 1994
            let isShort = words.count == 6
            guard isShort ? words[2].isEmpty && words[3].utf8.count == 1 : words[2].utf8.count == 2, words.last?.utf8.count == 4 else {
                return nil
            }
            (day, month, year, clock) = (isShort ? "0" + words[3] : words[2], words[1], words[words.count - 1], words[words.count - 2])
        } else {
            return nil
        }
        guard let monthIndex = HTTPDate.months.firstIndex(of: month), HTTPDate.isNumber(day), HTTPDate.isNumber(year),
            let number = Int64(year)
        else { return nil }
        // A leap second is a time that clocks with sixty seconds a minute show as the one before it.
        let time = clock.hasSuffix(":60") ? clock.dropLast(2) + "59" : clock[...]
        rest = "-\(monthIndex < 9 ? "0" : "")\(monthIndex + 1)-\(day)T\(time)Z"
        self.year = year.utf8.count == 2 ? .lastTwoDigits(number) : .whole(number)
        // 2000 was a leap year, and so is every year of two digits that divides by four.
        guard time.utf8.count == 8, milliseconds(inYear: year.utf8.count == 2 ? 2000 + number : number) != nil else { return nil }
    }

    /// Unix milliseconds. A year of two digits is the last one that is not more than fifty years ahead of now.
    /// nil if its century has no such day.
    func milliseconds(nowMilliseconds now: Int64) -> Int64? {
        switch year {
        case .whole(let year): return milliseconds(inYear: year)
        case .lastTwoDigits(let digits):
            guard let thisYear = Int64(Instant.iso(fromMilliseconds: now).prefix(4)) else { return nil }
            let century = thisYear / 100 * 100
            return [100, 0, -100].lazy.compactMap { milliseconds(inYear: century + $0 + digits) }.first { $0 <= now + HTTPDate.fiftyYears }
        }
    }

    /// The form that is sent.
    static func text(secondsSince1970: Int) -> String {
        var time = time_t(secondsSince1970)
        var parts = tm()
        gmtime_r(&time, &parts)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let date = "\(two(parts.tm_mday)) \(months[Int(parts.tm_mon)]) \(parts.tm_year + 1900)"
        return "\(days[Int(parts.tm_wday)]), \(date) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT"
    }

    private func milliseconds(inYear year: Int64) -> Int64? {
        Instant.milliseconds(fromISO8601: HTTPDate.fourDigits(year) + rest)
    }

    private static func fourDigits(_ year: Int64) -> String {
        let text = String(max(0, year))
        return String(repeating: "0", count: max(0, 4 - text.utf8.count)) + text
    }

    private static func isNumber(_ text: String) -> Bool { !text.isEmpty && text.utf8.allSatisfy { $0 &- 0x30 < 10 } }
}
