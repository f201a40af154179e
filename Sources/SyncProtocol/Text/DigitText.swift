// Plain decimal digits to numbers and back, for dates, instants and decimals.

enum DigitText {
    /// At most 18 digits and nothing else.
    static func number(_ digits: ArraySlice<UInt8>) -> Int64? {
        guard !digits.isEmpty, digits.count <= 18 else { return nil }
        var value: Int64 = 0
        for digit in digits {
            guard digit &- 0x30 < 10 else { return nil }
            value = value * 10 + Int64(digit &- 0x30)
        }
        return value
    }

    /// Zero-filled to `width`, longer if need be.
    static func append(_ value: UInt64, width: Int, to bytes: inout [UInt8]) {
        let digits = Array(String(value).utf8)
        for _ in 0..<max(0, width - digits.count) { bytes.append(0x30) }
        bytes.append(contentsOf: digits)
    }
}
