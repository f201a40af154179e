// Texts that exist once: whatever place holds one accounts for the write that it was part of.

public enum Tokens {
    /// `t17z`: found in any text, never part of another token.
    public static func token(_ number: Int) -> String { "t\(number)z" }

    /// Every token in some bytes.
    public static func found(in bytes: some Sequence<UInt8>) -> Set<String> {
        var found: Set<String> = []
        var digits: [UInt8]?
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "t"): digits = []
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digits?.append(byte)
            case UInt8(ascii: "z"):
                if let number = digits, !number.isEmpty { found.insert("t\(String(decoding: number, as: UTF8.self))z") }
                digits = nil
            default: digits = nil
            }
        }
        return found
    }
}
