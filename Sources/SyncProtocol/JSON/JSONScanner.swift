// The tokenizer under the reader and the tree: bytes in, validated token positions out. Nothing here makes a String.
// Strict RFC 8259, and stricter where two parsers could disagree: no duplicate keys, lone surrogates, NUL or big integers.

/// Where the content of a string lies: between the quotes, still escaped.
struct JSONStringToken {
    var start: Int
    var end: Int
    var hasEscape: Bool
}

struct JSONNumberToken {
    var start: Int
    var end: Int
    /// Present when the number is written as an integer; `nil` for fractions, exponents and `-0`.
    var integer: Int64?
}

/// Holds borrowed bytes: valid only inside the call that lent them.
struct JSONScanner {
    let bytes: UnsafeRawBufferPointer
    let end: Int
    /// Added to every offset that leaves the reader, so that offsets are indices of what the caller passed.
    let origin: Int
    let maximumDepth: Int
    var position = 0
    var keys = JSONKeyStack()

    init(_ buffer: UnsafeBufferPointer<UInt8>, origin: Int, limits: JSONLimits) throws(JSONError) {
        bytes = UnsafeRawBufferPointer(buffer)
        end = buffer.count
        self.origin = origin
        maximumDepth = limits.maximumDepth
        if buffer.count > limits.maximumBytes {
            throw JSONError(
                code: .tooLarge, offset: origin,
                message: "the text has \(buffer.count) bytes, the limit is \(limits.maximumBytes)")
        }
    }

    // MARK: Errors

    @inline(never)
    func failure(_ code: JSONError.Code, at offset: Int, _ message: StaticString) -> JSONError {
        JSONError(code: code, offset: origin + offset, message: "\(message)")
    }

    /// A byte that cannot stand here; the end of the input is told apart because more bytes might mend it.
    @inline(never)
    func unexpected(at offset: Int, expected: StaticString) -> JSONError {
        if offset >= end { return failure(.truncated, at: end, "the text ends too early") }
        if bytes[offset] == 0 { return failure(.nulCharacter, at: offset, "NUL is not allowed") }
        return failure(.syntax, at: offset, expected)
    }

    // MARK: White space and structure

    @inline(__always)
    mutating func skipWhiteSpace() {
        while position < end {
            let byte = bytes[position]
            guard byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 else { return }
            position &+= 1
        }
    }

    /// The next significant byte, not consumed; 0 at the end of input (NUL is never significant).
    @inline(__always)
    mutating func peek() -> UInt8 {
        skipWhiteSpace()
        return position < end ? bytes[position] : 0
    }

    mutating func expectEnd() throws(JSONError) {
        skipWhiteSpace()
        if position < end { throw failure(.trailingData, at: position, "data after the end of the value") }
    }

    // MARK: Literals

    mutating func scanLiteral(_ literal: StaticString) throws(JSONError) {
        let length = literal.utf8CodeUnitCount
        for index in 0..<length {
            guard position + index < end, bytes[position + index] == literal.utf8Start[index] else {
                throw unexpected(at: position + index, expected: "not a JSON value")
            }
        }
        position += length
    }

    // MARK: Numbers

    mutating func scanNumber() throws(JSONError) -> JSONNumberToken {
        let start = position
        var place = position
        let isNegative = bytes[place] == 0x2D
        if isNegative { place &+= 1 }
        guard place < end, isDigit(bytes[place]) else {
            throw unexpected(at: place, expected: "a number needs a digit here")
        }
        // Accumulated as a negative value, because Int64.min has no positive counterpart.
        var value: Int64 = 0
        var overflows = false
        let firstDigit = place
        while place < end, isDigit(bytes[place]) {
            let digit = Int64(bytes[place] &- 0x30)
            if place &- firstDigit < 18 {
                value = value &* 10 &- digit
            } else {
                let (product, productOverflow) = value.multipliedReportingOverflow(by: 10)
                let (difference, differenceOverflow) = product.subtractingReportingOverflow(digit)
                overflows = overflows || productOverflow || differenceOverflow
                value = difference
            }
            place &+= 1
        }
        if bytes[firstDigit] == 0x30, place &- firstDigit > 1 {
            throw failure(.syntax, at: firstDigit, "a number must not start with a zero")
        }
        var isInteger = true
        if place < end, bytes[place] == 0x2E {
            isInteger = false
            place = try scanDigits(from: place + 1)
        }
        if place < end, bytes[place] | 0x20 == 0x65 {
            isInteger = false
            place &+= 1
            if place < end, bytes[place] == 0x2B || bytes[place] == 0x2D { place &+= 1 }
            place = try scanDigits(from: place)
        }
        position = place
        if !isInteger || (isNegative && value == 0 && !overflows) {
            return JSONNumberToken(start: start, end: place, integer: nil)
        }
        if !isNegative {
            if value == .min { overflows = true } else { value = -value }
        }
        if overflows { throw failure(.integerOverflow, at: start, "the integer does not fit in 64 bits") }
        return JSONNumberToken(start: start, end: place, integer: value)
    }

    private func scanDigits(from start: Int) throws(JSONError) -> Int {
        var place = start
        while place < end, isDigit(bytes[place]) { place &+= 1 }
        if place == start { throw unexpected(at: place, expected: "a number needs a digit here") }
        return place
    }

    @inline(__always)
    private func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }

    // MARK: Strings

    /// Position is on the opening quote; afterwards it is behind the closing one.
    mutating func scanString() throws(JSONError) -> JSONStringToken {
        let start = position &+ 1
        var place = start
        var hasEscape = false
        while true {
            while place &+ 8 <= end {
                let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self))
                let special = specialBytes(word)
                if special != 0 {
                    place &+= special.trailingZeroBitCount >> 3
                    break
                }
                place &+= 8
            }
            guard place < end else { throw failure(.truncated, at: end, "the text ends inside a string") }
            let byte = bytes[place]
            if byte == 0x22 {
                position = place &+ 1
                return JSONStringToken(start: start, end: place, hasEscape: hasEscape)
            } else if byte == 0x5C {
                hasEscape = true
                place = try scanEscape(at: place)
            } else if byte >= 0x80 {
                place = try scanMultibyte(at: place)
            } else if byte >= 0x20 {
                place &+= 1
            } else if byte == 0 {
                throw failure(.nulCharacter, at: place, "NUL is not allowed")
            } else {
                throw failure(.syntax, at: place, "a control character in a string must be escaped")
            }
        }
    }

    /// High bit set in every byte that a string scan must look at: quote, backslash, control, non-ASCII.
    /// Borrows only travel upwards, so the lowest set bit is always exact.
    @inline(__always)
    private func specialBytes(_ word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let high: UInt64 = 0x8080_8080_8080_8080
        let quote = word ^ (ones &* 0x22)
        let backslash = word ^ (ones &* 0x5C)
        let control = word &- (ones &* 0x20)
        return (((quote &- ones) & ~quote) | ((backslash &- ones) & ~backslash) | (control & ~word) | word) & high
    }

    /// Checks a run of non-ASCII characters against the well-formed table of Unicode (no overlong forms, no surrogates).
    private func scanMultibyte(at start: Int) throws(JSONError) -> Int {
        var place = start
        while place < end, bytes[place] >= 0x80 {
            let lead = bytes[place]
            var lower: UInt8 = 0x80
            var upper: UInt8 = 0xBF
            let length: Int
            switch lead {
            case 0xC2...0xDF: length = 2
            case 0xE0: (length, lower) = (3, 0xA0)
            case 0xED: (length, upper) = (3, 0x9F)
            case 0xE1...0xEF: length = 3
            case 0xF0: (length, lower) = (4, 0x90)
            case 0xF1...0xF3: length = 4
            case 0xF4: (length, upper) = (4, 0x8F)
            default: throw failure(.invalidUTF8, at: place, "not well-formed UTF-8")
            }
            for index in 1..<length {
                guard place &+ index < end else { throw failure(.truncated, at: end, "the text ends inside a string") }
                let byte = bytes[place &+ index]
                guard byte >= lower, byte <= upper else { throw failure(.invalidUTF8, at: place, "not well-formed UTF-8") }
                (lower, upper) = (0x80, 0xBF)
            }
            place &+= length
        }
        return place
    }

    private func scanEscape(at start: Int) throws(JSONError) -> Int {
        guard start + 1 < end else { throw failure(.truncated, at: end, "the text ends inside a string") }
        switch bytes[start + 1] {
        case 0x22, 0x5C, 0x2F, 0x62, 0x66, 0x6E, 0x72, 0x74:
            return start + 2
        case 0x75:
            let unit = try scanHex4(at: start + 2)
            if unit == 0 { throw failure(.nulCharacter, at: start, "NUL is not allowed") }
            guard unit & 0xF800 == 0xD800 else { return start + 6 }
            guard unit < 0xDC00 else { throw failure(.loneSurrogate, at: start, "a low surrogate without its high one") }
            if start + 6 >= end || (bytes[start + 6] == 0x5C && start + 7 >= end) {
                throw failure(.truncated, at: end, "the text ends inside a string")
            }
            guard bytes[start + 6] == 0x5C, bytes[start + 7] == 0x75 else {
                throw failure(.loneSurrogate, at: start, "a high surrogate without its low one")
            }
            guard try scanHex4(at: start + 8) & 0xFC00 == 0xDC00 else {
                throw failure(.loneSurrogate, at: start, "a high surrogate without its low one")
            }
            return start + 12
        default:
            throw unexpected(at: start + 1, expected: "unknown escape")
        }
    }

    private func scanHex4(at start: Int) throws(JSONError) -> UInt32 {
        var value: UInt32 = 0
        for place in start..<(start + 4) {
            guard place < end, let digit = Hex.value(of: bytes[place]) else {
                throw unexpected(at: place, expected: "four hexadecimal digits must follow \\u")
            }
            value = value << 4 | UInt32(digit)
        }
        return value
    }

    // MARK: Text of tokens

    func slice(_ range: Range<Int>) -> UnsafeBufferPointer<UInt8> {
        UnsafeRawBufferPointer(rebasing: bytes[range]).assumingMemoryBound(to: UInt8.self)
    }

    func string(_ token: JSONStringToken) -> String {
        if !token.hasEscape { return String(decoding: slice(token.start..<token.end), as: UTF8.self) }
        var decoded: [UInt8] = []
        decoded.reserveCapacity(token.end - token.start)
        Self.unescape(token, of: bytes, into: &decoded)
        return String(decoding: decoded, as: UTF8.self)
    }
}
