// Dates, times and amounts as people type them, beside the exact forms that scripts use.

import Foundation
import SyncProtocol

/// What time it is, here.
struct Moment: Sendable {
    var milliseconds: Int64
    var zone: TimeZone

    static var now: Moment { Moment(milliseconds: Int64((Date().timeIntervalSince1970 * 1000).rounded(.down)), zone: .current) }

    /// Days since 1970-01-01 on the calendar of this place.
    var today: Int64 { Self.day(of: milliseconds, in: zone) }

    static func day(of milliseconds: Int64, in zone: TimeZone) -> Int64 {
        let local = milliseconds + offset(at: milliseconds, in: zone)
        return local >= 0 ? local / 86_400_000 : (local - 86_399_999) / 86_400_000
    }

    /// The instant of a wall clock reading. In the hour that a clock change skips or repeats, one of the two possible.
    static func instant(day: Int64, minutes: Int64, in zone: TimeZone) -> Int64 {
        let wall = day * 86_400_000 + minutes * 60_000
        let guess = wall - offset(at: wall, in: zone)
        return wall - offset(at: guess, in: zone)
    }

    private static func offset(at milliseconds: Int64, in zone: TimeZone) -> Int64 {
        Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(milliseconds) / 1000))) * 1000
    }
}

enum DateWords {
    static let hint = "a date is 2026-03-16, 16 Mar 2026, 16.3.2026, today, tomorrow, yesterday, friday, +7d, -2w, +1m or -1y"
    static let timeHint = "a time is 2026-03-16T09:30:00Z, 2026-03-16 09:30 (here), today 14:00, now, -2h or +30min"

    /// The most days away that words reach; beyond it nobody counts days.
    private static let distanceMax: Int64 = 1_000_000

    /// Days since 1970-01-01.
    static func day(_ text: String, _ moment: Moment) -> Int64? {
        let words = text.lowercased().trimmingCharacters(in: .whitespaces)
        if let days = CalendarDate.days(fromISO: words) { return days }
        switch words {
        case "today": return moment.today
        case "tomorrow": return moment.today + 1
        case "yesterday": return moment.today - 1
        default: break
        }
        if let weekday = weekdays.firstIndex(where: { words == $0 || words == $0.prefix(3) }) {
            // 1970-01-01 was a Thursday. The next such day, today included.
            let today = ((moment.today + 3) % 7 + 7) % 7
            return moment.today + (Int64(weekday) - today + 7) % 7
        }
        if let (number, unit) = distance(words) {
            switch unit {
            case "d", "day", "days": return moment.today + number
            case "w", "week", "weeks": return moment.today + number * 7
            case "m", "month", "months": return shifted(moment.today, months: number)
            case "y", "year", "years": return shifted(moment.today, months: number * 12)
            default: return nil
            }
        }
        return written(words)
    }

    /// Milliseconds since 1970 UTC.
    static func instant(_ text: String, _ moment: Moment) -> Int64? {
        let words = text.trimmingCharacters(in: .whitespaces)
        if let exact = Instant.milliseconds(fromISO8601: words) { return exact }
        if words.lowercased() == "now" { return moment.milliseconds }
        if let (number, unit) = distance(words.lowercased()) {
            switch unit {
            case "h", "hour", "hours": return moment.milliseconds + number * 3_600_000
            case "min", "minute", "minutes": return moment.milliseconds + number * 60_000
            default: break
            }
        }
        // A day and a time of day, here.
        guard let gap = words.lastIndex(where: { $0 == " " || $0 == "T" || $0 == "t" }),
            let minutes = clock(words[words.index(after: gap)...]),
            let day = day(String(words[..<gap]), moment)
        else { return nil }
        return Moment.instant(day: day, minutes: minutes, in: moment.zone)
    }

    /// How far a day is, in words; nil when nobody would say it so.
    static func distance(of day: Int64, _ moment: Moment) -> String {
        let days = day - moment.today
        let weekday = weekdays[Int((((day + 3) % 7) + 7) % 7)]
        let name = weekday.prefix(1).uppercased() + weekday.dropFirst()
        switch days {
        case 0: return "\(name), today"
        case 1: return "\(name), tomorrow"
        case -1: return "\(name), yesterday"
        case 2...60: return "\(name), in \(days) days"
        case -60 ... -2: return "\(name), \(-days) days ago"
        default: return name
        }
    }

    private static let weekdays = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
    private static let months = [
        "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
    ]

    /// `+7d` or `-2w` as number and unit; the sign may be missing only where a unit follows.
    private static func distance(_ words: String) -> (number: Int64, unit: String)? {
        let sign: Int64 = words.hasPrefix("-") ? -1 : 1
        let rest = words.hasPrefix("-") || words.hasPrefix("+") ? words.dropFirst() : words[...]
        let digits = rest.prefix { ("0"..."9").contains($0) }
        let unit = rest.dropFirst(digits.count).trimmingCharacters(in: .whitespaces)
        guard let number = Int64(digits), number <= distanceMax, !unit.isEmpty, unit.allSatisfy(\.isLetter) else { return nil }
        return (sign * number, unit)
    }

    private static func shifted(_ day: Int64, months: Int64) -> Int64? {
        let parts = CalendarDate.iso(fromDays: day).split(separator: "-").compactMap { Int64($0) }
        guard parts.count == 3 else { return nil }
        let index = parts[0] * 12 + parts[1] - 1 + months
        guard index >= 0 else { return nil }
        // The last of a month that is too short.
        for dayOfMonth in stride(from: parts[2], to: 27, by: -1) {
            if let day = days(index / 12, index % 12 + 1, dayOfMonth) { return day }
        }
        return days(index / 12, index % 12 + 1, parts[2])
    }

    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64? {
        func filled(_ number: Int64, _ width: Int) -> String {
            String(repeating: "0", count: max(0, width - String(number).count)) + String(number)
        }
        return CalendarDate.days(fromISO: "\(filled(year, 4))-\(filled(month, 2))-\(filled(day, 2))")
    }

    /// `16 Mar 2026`, `March 16, 2026`, `16.3.2026`. Not `3/16/2026`: half of the world reads the other half's month as a day.
    private static func written(_ words: String) -> Int64? {
        let dotted = words.split(separator: ".", omittingEmptySubsequences: false)
        if dotted.count == 3, dotted.allSatisfy({ digits($0) != nil }), dotted[2].count == 4, let day = digits(dotted[0]),
            let month = digits(dotted[1]), let year = digits(dotted[2])
        {
            return days(year, month, day)
        }
        let parts = words.split(whereSeparator: { $0 == " " || $0 == "," })
        guard parts.count == 3, let year = digits(parts[2]), parts[2].count == 4 else { return nil }
        for (day, name) in [(parts[0], parts[1]), (parts[1], parts[0])] {
            let plain = day.hasSuffix(".") ? day.dropLast() : day
            guard let number = digits(plain), name.count >= 3,
                let month = months.firstIndex(where: { $0.hasPrefix(name.hasSuffix(".") ? name.dropLast() : name) })
            else { continue }
            return days(year, Int64(month) + 1, number)
        }
        return nil
    }

    private static func digits(_ text: Substring) -> Int64? {
        text.utf8.allSatisfy { (0x30...0x39).contains($0) } && text.utf8.count <= 4 ? Int64(text) : nil
    }

    /// `9:30` or `09:30` as minutes.
    private static func clock(_ text: Substring) -> Int64? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[1].count == 2, let hours = digits(parts[0]), let minutes = digits(parts[1]), hours < 24, minutes < 60
        else { return nil }
        return hours * 60 + minutes
    }
}

/// `1,250.50`, `$1250`, `1 250,50 EUR`: an amount, and the currency if it was named.
enum MoneyWords {
    static let hint = "an amount is 1250.00, 1,250.00, 1250.00 EUR or €1250"

    private static let symbols: [Character: Set<String>] = [
        "€": ["EUR"], "£": ["GBP"], "¥": ["JPY", "CNY"], "₹": ["INR"], "₩": ["KRW"], "₺": ["TRY"], "₫": ["VND"], "₪": ["ILS"], "₦": ["NGN"],
        "₱": ["PHP"], "₴": ["UAH"], "฿": ["THB"],
        "$": ["USD", "CAD", "AUD", "NZD", "SGD", "HKD", "MXN", "BRL", "ARS", "CLP", "COP", "TWD"],
    ]

    /// - Parameter currency: of the record, or the company's; it decides how many decimals there are and what a symbol may mean.
    /// - Returns: minor units, and the currency if it was written as a code.
    static func parse(_ text: String, currency: String?) -> (amount: Int64, code: String?)? {
        var rest = text.trimmingCharacters(in: .whitespaces)[...]
        var isNegative = false
        if rest.hasPrefix("-") || rest.hasPrefix("−") {
            isNegative = true
            rest.removeFirst()
        }
        var code: String?
        if let known = rest.first.flatMap({ symbols[$0] }) {
            if let currency, !known.contains(currency) { return nil }
            rest.removeFirst()
        } else if let known = rest.last.flatMap({ symbols[$0] }) {
            if let currency, !known.contains(currency) { return nil }
            rest.removeLast()
        } else if rest.prefix(3).allSatisfy(\.isLetter), Formats.isCurrency(rest.prefix(3).uppercased()) {
            code = rest.prefix(3).uppercased()
            rest.removeFirst(3)
        } else if rest.count > 3, rest.suffix(3).allSatisfy(\.isLetter), Formats.isCurrency(rest.suffix(3).uppercased()) {
            code = rest.suffix(3).uppercased()
            rest.removeLast(3)
        }
        guard let plain = withoutGroups(rest.trimmingCharacters(in: .whitespaces)),
            let amount = Decimals.parse(plain, scale: CurrencyDigits.of(code ?? currency)), !plain.hasPrefix("-"), amount != .min
        else { return nil }
        return (isNegative ? -amount : amount, code)
    }

    /// With a point for decimals and nothing between thousands.
    private static func withoutGroups(_ text: String) -> String? {
        if text.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == 0x2E }), text.filter({ $0 == "." }).count <= 1 { return text }
        let groups: Set<Character> = [",", ".", " ", "\u{A0}", "\u{202F}", "'", "’", "_"]
        let separators = text.filter { !("0"..."9").contains($0) }
        guard separators.allSatisfy(groups.contains),
            let last = text.lastIndex(where: { $0 == "," || $0 == "." }) ?? text.lastIndex(where: groups.contains)
        else { return nil }
        let decimals = text[text.index(after: last)...]
        let mark = text[last]
        // A lone comma before three digits separates thousands; the same mark twice does as well.
        let isDecimal =
            (mark == "," || mark == ".") && separators.filter { $0 == mark }.count == 1
            && !(mark == "," && decimals.count == 3 && Set(separators).count == 1)
        let whole = isDecimal ? text[..<last] : text[...]
        let parts = whole.split(whereSeparator: groups.contains)
        guard !whole.isEmpty, Set(whole.filter(groups.contains)).count <= 1, let first = parts.first,
            (1...3).contains(first.count) || parts.count == 1,
            parts.dropFirst().allSatisfy({ $0.count == 3 }), whole.filter(groups.contains).count == parts.count - 1
        else { return nil }
        return parts.joined() + (isDecimal ? "." + decimals : "")
    }
}
