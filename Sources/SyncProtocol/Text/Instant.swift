// Points in time as Unix milliseconds and as ISO 8601 text (the profile of RFC 3339).

public enum Instant {
    private static let millisecondsPerDay: Int64 = 86_400_000

    /// Unix milliseconds of `YYYY-MM-DDThh:mm:ss[.f…](Z|±hh:mm)`. The zone is required: without it the instant is unknown.
    /// One to nine digits of fraction are read, those beyond milliseconds are cut off. No leap second, no 24:00.
    public static func milliseconds(fromISO8601 text: String) -> Int64? {
        let bytes = Array(text.utf8)
        guard bytes.count >= 20, let days = CalendarDate.days(in: bytes[...]), bytes[10] == 0x54,
            let minutes = clock(bytes[11..<16]), bytes[16] == 0x3A,
            let seconds = DigitText.number(bytes[17..<19]), seconds < 60
        else { return nil }
        var place = 19
        var fraction: Int64 = 0
        if bytes[place] == 0x2E {
            let end = bytes[(place + 1)...].firstIndex { $0 &- 0x30 >= 10 } ?? bytes.endIndex
            let digits = bytes[(place + 1)..<end]
            guard digits.count <= 9, let value = DigitText.number((digits.prefix(3) + [0x30, 0x30]).prefix(3)), !digits.isEmpty
            else { return nil }
            fraction = value
            place = end
        }
        guard let offset = zone(bytes[place...]) else { return nil }
        return days * millisecondsPerDay + (minutes - offset) * 60_000 + seconds * 1000 + fraction
    }

    /// `YYYY-MM-DDThh:mm:ss.sssZ`, always with three digits, so that texts sort like instants.
    public static func iso(fromMilliseconds milliseconds: Int64) -> String {
        let (days, remainder) = CalendarDate.floorDivide(milliseconds, millisecondsPerDay)
        let rest = remainder.magnitude
        var bytes = CalendarDate.isoBytes(fromDays: days)
        bytes.append(0x54)
        DigitText.append(rest / 3_600_000, width: 2, to: &bytes)
        bytes.append(0x3A)
        DigitText.append(rest / 60_000 % 60, width: 2, to: &bytes)
        bytes.append(0x3A)
        DigitText.append(rest / 1000 % 60, width: 2, to: &bytes)
        bytes.append(0x2E)
        DigitText.append(rest % 1000, width: 3, to: &bytes)
        bytes.append(0x5A)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// `hh:mm` as minutes.
    private static func clock(_ bytes: ArraySlice<UInt8>) -> Int64? {
        let start = bytes.startIndex
        guard bytes.count == 5, bytes[start + 2] == 0x3A,
            let hours = DigitText.number(bytes[start..<(start + 2)]), hours < 24,
            let minutes = DigitText.number(bytes[(start + 3)...]), minutes < 60
        else { return nil }
        return hours * 60 + minutes
    }

    /// Minutes east of UTC.
    private static func zone(_ bytes: ArraySlice<UInt8>) -> Int64? {
        switch bytes.first {
        case 0x5A: bytes.count == 1 ? 0 : nil
        case 0x2B: clock(bytes.dropFirst())
        case 0x2D: clock(bytes.dropFirst()).map { -$0 }
        default: nil
        }
    }
}
