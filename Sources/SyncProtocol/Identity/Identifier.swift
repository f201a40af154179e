// The 128-bit id of every record, replica, member and tenant (RFC 9562). Version 7 is made by whoever creates a record,
// version 5 by rule, so that two offline creations of the same link become one record.

public struct Identifier: Hashable, Sendable {
    public let high: UInt64
    public let low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    public static let zero = Identifier(high: 0, low: 0)

    /// The four bits that tell how the id was made: 7 by time, 5 by name, 4 at random.
    public var version: Int { Int(high >> 12 & 0xF) }

    /// 16 bytes, most significant first.
    public var bytes: [UInt8] {
        [high, low].flatMap { word in
            stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: word >> UInt64($0)) }
        }
    }
}

// MARK: - Text

extension Identifier: CustomStringConvertible {
    /// 36 characters, 8-4-4-4-12, any case; anything else is `nil`.
    public init?(_ text: some StringProtocol) {
        guard text.utf8.count == 36 else { return nil }
        let parsed = text.utf8.withContiguousStorageIfAvailable { Identifier(utf8: $0) }
        guard let identifier = parsed ?? Array(text.utf8).withUnsafeBufferPointer({ Identifier(utf8: $0) }) else { return nil }
        self = identifier
    }

    public init?(utf8 text: UnsafeBufferPointer<UInt8>) {
        guard text.count == 36, text[8] == 0x2D, text[13] == 0x2D, text[18] == 0x2D, text[23] == 0x2D else { return nil }
        guard let a = Self.digits(text, 0, 8), let b = Self.digits(text, 9, 13), let c = Self.digits(text, 14, 18),
            let d = Self.digits(text, 19, 23), let e = Self.digits(text, 24, 36)
        else { return nil }
        self.init(high: a << 32 | b << 16 | c, low: d << 48 | e)
    }

    @inline(__always)
    private static func digits(_ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int) -> UInt64? {
        var value: UInt64 = 0
        for index in start..<end {
            guard let digit = Hex.value(of: text[index]) else { return nil }
            value = value << 4 | UInt64(digit)
        }
        return value
    }

    /// 36 characters, lower case.
    public var text: String {
        String(unsafeUninitializedCapacity: 36) { output in
            var place = 0
            for nibble in 0..<32 {
                if nibble == 8 || nibble == 12 || nibble == 16 || nibble == 20 {
                    output[place] = 0x2D
                    place &+= 1
                }
                let word = nibble < 16 ? high : low
                output[place] = Hex.digit(UInt8(truncatingIfNeeded: word >> UInt64(60 - (nibble & 15) * 4)) & 15)
                place &+= 1
            }
            return place
        }
    }

    public var description: String { text }
}

// MARK: - Order

extension Identifier: Comparable {
    /// The order of the bytes, which is also that of `text`.
    public static func < (left: Identifier, right: Identifier) -> Bool {
        left.high == right.high ? left.low < right.low : left.high < right.high
    }
}

// MARK: - Making

extension Identifier {
    fileprivate static let largestTime: Int64 = 1 << 48 - 1
    private static let variant: UInt64 = 0x8000_0000_0000_0000

    /// Ordered by time. Of `random`, 12 bits of the first and 62 bits of the second word are used.
    /// - Parameter milliseconds: Unix time; held within 48 unsigned bits.
    public static func version7(milliseconds: Int64, random: (UInt64, UInt64)) -> Identifier {
        let time = UInt64(min(max(milliseconds, 0), largestTime))
        return Identifier(high: time << 16 | 0x7000 | random.0 & 0xFFF, low: variant | random.1 >> 2)
    }

    /// The same id for the same name, everywhere. Names are hashed as the UTF-8 bytes they have: normalise them before.
    public static func version5(namespace: Identifier, name: String) -> Identifier {
        let digest = SHA1.hash(namespace.bytes + Array(name.utf8))
        var words: [UInt64] = [0, 0]
        for index in 0..<16 { words[index / 8] = words[index / 8] << 8 | UInt64(digest[index]) }
        return Identifier(high: words[0] & ~0xF000 | 0x5000, low: words[1] & ~(3 << 62) | variant)
    }
}

/// Makes version 7 ids that only ever rise, also within one millisecond and when the clock steps back: then the previous
/// id is increased by a random step (RFC 9562 §6.2, method 2), which keeps them hard to guess.
public struct IdentifierGenerator: Sendable {
    private let random: @Sendable () -> UInt64
    private var milliseconds: Int64 = -1
    /// The 74 bits behind the time, as 12 and 62.
    private var upper: UInt64 = 0
    private var lower: UInt64 = 0

    public init(random: @escaping @Sendable () -> UInt64) { self.random = random }

    public mutating func next(milliseconds now: Int64) -> Identifier {
        let now = min(max(now, 0), Identifier.largestTime)
        if now > milliseconds {
            restart(at: now)
        } else {
            lower &+= (random() & 0xFFFF_FFFF) + 1
            if lower >> 62 != 0 {
                lower &= 1 << 62 - 1
                upper += 1
            }
            // A millisecond that is used up borrows from the next one.
            if upper > 0xFFF { restart(at: milliseconds + 1) }
        }
        return Identifier.version7(milliseconds: milliseconds, random: (upper, lower << 2))
    }

    private mutating func restart(at time: Int64) {
        milliseconds = time
        // The top bit stays free, so that a millisecond has room to count whatever was drawn.
        upper = random() & 0x7FF
        lower = random() >> 2
    }
}
