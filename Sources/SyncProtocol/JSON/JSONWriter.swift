// Writes JSON bytes directly, in canonical escapes, without a tree in between. Commas are put automatically.

/// Appends JSON to `bytes`. Values that follow each other outside of a container are separated by commas too, so that a
/// fragment of members or elements can be written.
public struct JSONWriter: Sendable {
    public var bytes: [UInt8]
    /// Every value ends by setting this, every opening and key by clearing it: no stack of containers is needed.
    private var needsComma = false

    public init(reservingCapacity capacity: Int = 0) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    public mutating func beginObject() { open(0x7B) }
    public mutating func endObject() { close(0x7D) }
    public mutating func beginArray() { open(0x5B) }
    public mutating func endArray() { close(0x5D) }

    public mutating func key(_ key: StaticString) {
        separate()
        if key.hasPointerRepresentation {
            appendQuoted(UnsafeBufferPointer(start: key.utf8Start, count: key.utf8CodeUnitCount))
        } else {
            appendQuoted(key.description)
        }
        endKey()
    }

    // A literal must find the overload above, which makes no String.
    @_disfavoredOverload
    public mutating func key(_ key: String) {
        separate()
        appendQuoted(key)
        endKey()
    }

    public mutating func null() { scalar("null") }
    public mutating func bool(_ value: Bool) { scalar(value ? "true" : "false") }
    public mutating func integer(_ value: Int) { integer(Int64(value)) }

    public mutating func integer(_ value: Int64) {
        separate()
        appendDigits(value)
        needsComma = true
    }

    public mutating func string(_ value: String) {
        separate()
        appendQuoted(value)
        needsComma = true
    }

    public mutating func value(_ value: JSONValue) {
        switch value {
        case .null: null()
        case .bool(let flag): bool(flag)
        case .integer(let number): integer(number)
        case .decimal(let text): isNumber(text) ? raw(text.utf8) : string(text)
        case .string(let text): string(text)
        case .array(let elements):
            beginArray()
            for element in elements { self.value(element) }
            endArray()
        case .object(let object):
            beginObject()
            for (name, member) in object {
                key(name)
                self.value(member)
            }
            endObject()
        }
    }

    /// One value that is valid JSON already, for example a slice from `JSONReader.skipValue`. It is not checked.
    public mutating func raw(_ bytes: some Collection<UInt8>) {
        separate()
        self.bytes.append(contentsOf: bytes)
        needsComma = true
    }

    // MARK: Private

    @inline(__always)
    private mutating func separate() {
        if needsComma { bytes.append(0x2C) }
    }

    private mutating func open(_ bracket: UInt8) {
        separate()
        bytes.append(bracket)
        needsComma = false
    }

    private mutating func close(_ bracket: UInt8) {
        bytes.append(bracket)
        needsComma = true
    }

    private mutating func endKey() {
        bytes.append(0x3A)
        needsComma = false
    }

    private mutating func scalar(_ literal: StaticString) {
        separate()
        bytes.append(contentsOf: UnsafeBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount))
        needsComma = true
    }

    private mutating func appendDigits(_ value: Int64) {
        if value >= 0, value < 10 {
            bytes.append(0x30 &+ UInt8(truncatingIfNeeded: value))
            return
        }
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            var rest = value.magnitude
            var first = 20
            repeat {
                first &-= 1
                digits[first] = 0x30 &+ UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            } while rest != 0
            if value < 0 {
                first &-= 1
                digits[first] = 0x2D
            }
            bytes.append(contentsOf: UnsafeBufferPointer(rebasing: digits[first...]))
        }
    }

    private mutating func appendQuoted(_ text: String) {
        let isDone: Void? = text.utf8.withContiguousStorageIfAvailable { appendQuoted($0) }
        if isDone == nil { Array(text.utf8).withUnsafeBufferPointer { appendQuoted($0) } }
    }

    private mutating func appendQuoted(_ text: UnsafeBufferPointer<UInt8>) {
        bytes.append(0x22)
        var first = 0
        var place = 0
        while place < text.count {
            let byte = text[place]
            if byte >= 0x20, byte != 0x22, byte != 0x5C {
                place &+= 1
                continue
            }
            bytes.append(contentsOf: UnsafeBufferPointer(rebasing: text[first..<place]))
            appendEscape(byte)
            place &+= 1
            first = place
        }
        bytes.append(contentsOf: UnsafeBufferPointer(rebasing: text[first...]))
        bytes.append(0x22)
    }

    private mutating func appendEscape(_ byte: UInt8) {
        bytes.append(0x5C)
        switch byte {
        case 0x22, 0x5C: bytes.append(byte)
        case 0x08: bytes.append(0x62)
        case 0x0C: bytes.append(0x66)
        case 0x0A: bytes.append(0x6E)
        case 0x0D: bytes.append(0x72)
        case 0x09: bytes.append(0x74)
        default: bytes.append(contentsOf: [0x75, 0x30, 0x30, Hex.digit(byte >> 4), Hex.digit(byte & 15)])
        }
    }

    private func isNumber(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard let first = bytes.first, first == 0x2D || first &- 0x30 < 10 else { return false }
        return bytes.withUnsafeBufferPointer { buffer in
            do throws(JSONError) {
                var scanner = try JSONScanner(buffer, origin: 0, limits: .default)
                _ = try scanner.scanNumber()
                return scanner.position == buffer.count
            } catch {
                return false
            }
        }
    }
}
