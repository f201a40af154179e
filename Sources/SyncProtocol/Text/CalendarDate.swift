// Dates as day numbers (0 = 1970-01-01) and as ISO 8601 text, in the proleptic Gregorian calendar. Own arithmetic:
// formatters are slow, depend on locale data, and differ between platforms.

public enum CalendarDate {
    /// Days since 1970-01-01 of exactly `YYYY-MM-DD`; `nil` for any other shape and for days that do not exist.
    public static func days(fromISO text: String) -> Int64? {
        let bytes = Array(text.utf8)
        return bytes.count == 10 ? days(in: bytes[...]) : nil
    }

    /// `YYYY-MM-DD`; years outside of 0000…9999 get a sign (ISO 8601 expanded form), which `days(fromISO:)` does not read.
    public static func iso(fromDays days: Int64) -> String {
        String(decoding: isoBytes(fromDays: days), as: UTF8.self)
    }

    static func year(ofDays days: Int64) -> Int64 { civil(fromDays: days).year }

    /// The day in UTC.
    static func days(ofMilliseconds milliseconds: Int64) -> Int64 { floorDivide(milliseconds, 86_400_000).0 }

    // MARK: Shared with Instant

    /// The first ten bytes of a slice.
    static func days(in bytes: ArraySlice<UInt8>) -> Int64? {
        let start = bytes.startIndex
        guard bytes.count >= 10, bytes[start + 4] == 0x2D, bytes[start + 7] == 0x2D,
            let year = DigitText.number(bytes[start..<(start + 4)]),
            let month = DigitText.number(bytes[(start + 5)..<(start + 7)]), (1...12).contains(month),
            let day = DigitText.number(bytes[(start + 8)..<(start + 10)]), day >= 1, day <= length(ofMonth: month, year: year)
        else { return nil }
        return days(year: year, month: month, day: day)
    }

    static func isoBytes(fromDays days: Int64) -> [UInt8] {
        let (year, month, day) = civil(fromDays: days)
        var bytes: [UInt8] = []
        if year < 0 || year > 9999 { bytes.append(year < 0 ? 0x2D : 0x2B) }
        DigitText.append(year.magnitude, width: 4, to: &bytes)
        bytes.append(0x2D)
        DigitText.append(month.magnitude, width: 2, to: &bytes)
        bytes.append(0x2D)
        DigitText.append(day.magnitude, width: 2, to: &bytes)
        return bytes
    }

    // MARK: Arithmetic

    // Years are counted from March, so that the leap day is the last of its year; 400 years are one era of 146,097 days.

    private static let daysPerEra: Int64 = 146_097
    /// From 0000-03-01 to 1970-01-01.
    private static let daysToEpoch: Int64 = 719_468

    private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        let marchYear = month > 2 ? year : year - 1
        let (era, yearOfEra) = floorDivide(marchYear, 400)
        let dayOfYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * daysPerEra + dayOfEra - daysToEpoch
    }

    private static func civil(fromDays days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        // Divided before shifting, so that no day number overflows.
        let (rawEra, dayOfRawEra) = floorDivide(days, daysPerEra)
        let shifted = dayOfRawEra + daysToEpoch
        let era = rawEra + shifted / daysPerEra
        let dayOfEra = shifted % daysPerEra
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        return (era * 400 + yearOfEra + (month <= 2 ? 1 : 0), month, day)
    }

    private static func length(ofMonth month: Int64, year: Int64) -> Int64 {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Quotient rounded down and the remainder that goes with it, never negative.
    static func floorDivide(_ value: Int64, _ divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}
