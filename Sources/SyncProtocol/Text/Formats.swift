// The validated text types of the schema (email, phone, url, …). Checked on bytes, the same way on both sides, so that
// a replica never accepts what the server refuses.

import Foundation

public enum Formats {
    /// An ASCII mailbox: dot-atom local part of at most 64 bytes, `@`, a domain with at least one dot; 254 bytes in all.
    /// No quoted local parts, comments or address literals.
    public static func isEmail(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard bytes.count <= 254, let at = bytes.lastIndex(of: 0x40), (1...64).contains(at) else { return false }
        let local = bytes[..<at].split(separator: 0x2E, omittingEmptySubsequences: false)
        let domain = bytes[(at + 1)...]
        guard local.allSatisfy({ !$0.isEmpty && $0.allSatisfy(isAtomCharacter) }), domain.contains(0x2E),
            let top = domain.split(separator: 0x2E).last, !top.allSatisfy(isDigit)
        else { return false }
        return isDomain(domain)
    }

    /// E.164: `+` and 7 to 15 digits, the first not zero. No spaces.
    public static func isPhone(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        return (8...16).contains(bytes.count) && bytes[0] == 0x2B && bytes[1] != 0x30 && bytes[1...].allSatisfy(isDigit)
    }

    /// Lower-case letters, digits, `_` and `-`, starting with a letter or digit.
    public static func isSlug(_ text: String) -> Bool {
        guard let first = text.utf8.first, isLowerCase(first) || isDigit(first) else { return false }
        return text.utf8.allSatisfy { isLowerCase($0) || isDigit($0) || $0 == 0x5F || $0 == 0x2D }
    }

    /// 64 lower-case hexadecimal digits: a SHA-256.
    public static func isHex64(_ text: String) -> Bool {
        text.utf8.count == 64 && text.utf8.allSatisfy { isDigit($0) || (0x61...0x66).contains($0) }
    }

    /// ISO 4217 alphabetic code in use.
    public static func isCurrency(_ text: String) -> Bool { CodeLists.currencies.contains(text) }

    /// Every ISO 4217 alphabetic code in use, sorted.
    public static let currencies = CodeLists.currencies.sorted()
    /// Every ISO 3166-1 alpha-2 code, sorted.
    public static let countries = CodeLists.countries.sorted()

    /// ISO 3166-1 alpha-2.
    public static func isCountry(_ text: String) -> Bool { CodeLists.countries.contains(text) }

    /// An IANA time zone name. Where the machine has the time zone database the zone must exist in it.
    public static func isTimeZone(_ text: String) -> Bool {
        guard text.utf8.count <= 64, text.utf8.first.map(isLetter) == true else { return false }
        let parts = text.utf8.split(separator: 0x2F, omittingEmptySubsequences: false)
        let hasShape =
            parts.count <= 3
            && parts.allSatisfy { part in
                part.first.map(isLetter) == true
                    && part.allSatisfy { isAlphanumeric($0) || $0 == 0x5F || $0 == 0x2B || $0 == 0x2D }
            }
        guard hasShape else { return false }
        // Foundation also takes offsets ("GMT+0100") and other spellings for names; those are not in the database.
        if parts.count == 1 { return singleNames.contains(text) }
        return !hasTimeZoneDatabase || TimeZone(identifier: text) != nil
    }

    // MARK: Private

    private static let hasTimeZoneDatabase = TimeZone(identifier: "America/New_York") != nil

    /// The names without an area that still are in the database; legacy country names ("Japan") are not taken.
    private static let singleNames: Set<String> = [
        "UTC", "GMT", "UCT", "Zulu", "EST", "MST", "HST", "EST5EDT", "CST6CDT", "MST7MDT", "PST8PDT", "CET", "MET", "EET", "WET",
    ]

    /// Labels of letters, digits and inner hyphens, at most 63 bytes each and 253 together.
    static func isDomain(_ bytes: ArraySlice<UInt8>, allowsNonASCII: Bool = false) -> Bool {
        guard (1...253).contains(bytes.count) else { return false }
        return bytes.split(separator: 0x2E, omittingEmptySubsequences: false).allSatisfy { label in
            (1...63).contains(label.count) && label.first != 0x2D && label.last != 0x2D
                && label.allSatisfy { isAlphanumeric($0) || $0 == 0x2D || (allowsNonASCII && $0 >= 0x80) }
        }
    }

    /// `atext` of RFC 5322 §3.2.3.
    private static func isAtomCharacter(_ byte: UInt8) -> Bool {
        isAlphanumeric(byte) || "!#$%&'*+-/=?^_`{|}~".utf8.contains(byte)
    }

    static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }
    private static func isLowerCase(_ byte: UInt8) -> Bool { byte &- 0x61 < 26 }
    static func isLetter(_ byte: UInt8) -> Bool { (byte | 0x20) &- 0x61 < 26 }
    static func isAlphanumeric(_ byte: UInt8) -> Bool { isLetter(byte) || isDigit(byte) }
}
