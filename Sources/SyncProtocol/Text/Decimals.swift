// Money, quantities and rates travel as integers of their smallest unit; people read and type decimals.

public enum Decimals {
    /// `"12.5"` at scale 2 is 1250. A minus sign, digits, and a point with digits after it; nothing else. More digits after
    /// the point than `scale` are refused rather than rounded, as is what does not fit in 64 bits.
    /// - Parameter scale: digits after the point, 0…18.
    public static func parse(_ text: String, scale: Int) -> Int64? {
        precondition((0...18).contains(scale), "scale out of range")
        var digits = Array(text.utf8)[...]
        let isNegative = digits.first == 0x2D
        if isNegative { digits.removeFirst() }
        let point = digits.firstIndex(of: 0x2E)
        let whole = digits[..<(point ?? digits.endIndex)]
        let fraction = point.map { digits[($0 + 1)...] } ?? []
        guard !whole.isEmpty, point == nil || !fraction.isEmpty, fraction.count <= scale else { return nil }
        // Accumulated as a negative value, because Int64.min has no positive counterpart.
        var value: Int64 = 0
        for digit in [whole, fraction].joined() {
            guard digit &- 0x30 < 10, shift(&value, Int64(digit &- 0x30)) else { return nil }
        }
        for _ in fraction.count..<scale {
            guard shift(&value, 0) else { return nil }
        }
        if isNegative { return value }
        return value == .min ? nil : -value
    }

    /// The inverse: 1250 at scale 2 is `"12.50"`.
    public static func format(_ value: Int64, scale: Int) -> String {
        precondition((0...18).contains(scale), "scale out of range")
        var digits: [UInt8] = []
        DigitText.append(value.magnitude, width: scale + 1, to: &digits)
        if scale > 0 { digits.insert(0x2E, at: digits.count - scale) }
        if value < 0 { digits.insert(0x2D, at: 0) }
        return String(decoding: digits, as: UTF8.self)
    }

    private static func shift(_ value: inout Int64, _ digit: Int64) -> Bool {
        let (product, productOverflow) = value.multipliedReportingOverflow(by: 10)
        let (difference, differenceOverflow) = product.subtractingReportingOverflow(digit)
        value = difference
        return !productOverflow && !differenceOverflow
    }
}
