// Turns the escaped bytes of an accepted string into plain UTF-8. Runs only for strings that hold an escape.

extension JSONScanner {
    /// Appends the plain UTF-8 of a string that `scanString` has accepted. Static, so that the output may be a part of a scanner.
    static func unescape(_ token: JSONStringToken, of bytes: UnsafeRawBufferPointer, into output: inout [UInt8]) {
        var place = token.start
        while place < token.end {
            let byte = bytes[place]
            guard byte == 0x5C else {
                output.append(byte)
                place += 1
                continue
            }
            let escape = bytes[place + 1]
            place += 2
            switch escape {
            case 0x62: output.append(0x08)
            case 0x66: output.append(0x0C)
            case 0x6E: output.append(0x0A)
            case 0x72: output.append(0x0D)
            case 0x74: output.append(0x09)
            case 0x75:
                var scalar = acceptedHex4(bytes, at: place)
                place += 4
                if scalar & 0xFC00 == 0xD800 {
                    scalar = 0x10000 + ((scalar & 0x3FF) << 10 | (acceptedHex4(bytes, at: place + 2) & 0x3FF))
                    place += 6
                }
                appendUTF8(scalar, to: &output)
            default: output.append(escape)
            }
        }
    }

    private static func acceptedHex4(_ bytes: UnsafeRawBufferPointer, at start: Int) -> UInt32 {
        var value: UInt32 = 0
        for place in start..<(start + 4) { value = value << 4 | UInt32(Hex.value(of: bytes[place]) ?? 0) }
        return value
    }

    private static func appendUTF8(_ scalar: UInt32, to output: inout [UInt8]) {
        func continuation(_ shift: UInt32) -> UInt8 { UInt8(0x80 | (scalar >> shift) & 0x3F) }
        switch scalar {
        case ..<0x80: output.append(UInt8(scalar))
        case ..<0x800:
            output.append(UInt8(0xC0 | scalar >> 6))
            output.append(continuation(0))
        case ..<0x10000:
            output.append(UInt8(0xE0 | scalar >> 12))
            output.append(continuation(6))
            output.append(continuation(0))
        default:
            output.append(UInt8(0xF0 | scalar >> 18))
            output.append(continuation(12))
            output.append(continuation(6))
            output.append(continuation(0))
        }
    }
}
