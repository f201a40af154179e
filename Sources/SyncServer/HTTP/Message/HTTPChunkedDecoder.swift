// Message layer: the chunked transfer coding (RFC 9112 §7.1), read strictly.

/// Unframes one chunked body. Fed with whatever has come; keeps only its place, never bytes.
struct HTTPChunkedDecoder {
    private enum Stage {
        case size
        case data(remaining: Int)
        case dataEnd
        case trailers
    }

    private var stage = Stage.size
    private var extensionBytes = 0
    private var trailerBytes = 0
    private var trailerCount = 0

    /// Moves chunk data from `bytes` at `cursor` to the end of `body`. True when the whole body, trailers included, is
    /// read.
    mutating func decode(
        _ bytes: UnsafeBufferPointer<UInt8>, at cursor: inout Int, into body: inout [UInt8], limits: HTTPMessageLimits
    ) throws(HTTPRefusal) -> Bool {
        while true {
            switch stage {
            case .size:
                // 16 hex digits, then extensions as far as this body may still have them.
                let allowance = 16 + limits.chunkExtensionBytes - extensionBytes
                switch try HTTPLine.next(in: bytes, at: &cursor, limit: allowance) {
                case .incomplete: return false
                case .tooLong: throw HTTPRefusal(400, "bad_chunk", "A chunk size or its extensions are too long.")
                case .line(let line):
                    let size = try takeSize(line, limits: limits)
                    guard size <= limits.bodyBytes - body.count else { throw HTTPRequestHead.bodyTooLarge(limits) }
                    stage = size == 0 ? .trailers : .data(remaining: size)
                }
            case .data(let remaining):
                let count = min(remaining, bytes.count - cursor)
                guard count > 0 else { return false }
                body.append(contentsOf: bytes[cursor..<(cursor + count)])
                cursor += count
                stage = count == remaining ? .dataEnd : .data(remaining: remaining - count)
            case .dataEnd:
                guard cursor < bytes.count else { return false }
                guard bytes[cursor] == HTTPSyntax.carriageReturn else { throw Self.overrun }
                guard cursor + 1 < bytes.count else { return false }
                guard bytes[cursor + 1] == HTTPSyntax.lineFeed else { throw Self.overrun }
                cursor += 2
                stage = .size
            case .trailers:
                // The empty line that ends the trailers must always fit.
                let allowance = max(0, limits.headerBytes - trailerBytes - 2)
                switch try HTTPLine.next(in: bytes, at: &cursor, limit: allowance) {
                case .incomplete: return false
                case .tooLong: throw HTTPRequestHead.headersTooLarge(limits)
                case .line(let line):
                    if line.isEmpty { return true }
                    // Checked like headers and dropped: no trailer means anything to this server.
                    _ = try HTTPLine.field(line)
                    trailerBytes += line.count + 2
                    trailerCount += 1
                    guard trailerCount <= limits.headerCount else {
                        throw HTTPRefusal(
                            431, "too_many_headers", "The body has more than \(limits.headerCount) trailers.")
                    }
                }
            }
        }
    }

    private static let overrun = HTTPRefusal(400, "bad_chunk", "A chunk's data does not end where its size says.")

    private mutating func takeSize(
        _ line: Slice<UnsafeBufferPointer<UInt8>>, limits: HTTPMessageLimits
    ) throws(HTTPRefusal) -> Int {
        let digits = line.prefix { HTTPSyntax.hexValue($0) != nil }
        guard !digits.isEmpty else {
            throw HTTPRefusal(400, "bad_chunk", "A chunk size is not a number in hex digits.")
        }
        let significant = digits.drop { $0 == UInt8(ascii: "0") }
        let rest = line[digits.endIndex...]
        if !rest.isEmpty {
            extensionBytes += rest.count
            guard HTTPChunkExtensions.isWellFormed(rest) else {
                throw HTTPRefusal(400, "bad_chunk", "Something other than an extension follows a chunk size.")
            }
        }
        guard digits.count <= 16, extensionBytes <= limits.chunkExtensionBytes else {
            throw HTTPRefusal(400, "bad_chunk", "A chunk size or its extensions are too long.")
        }
        // 15 hex digits always fit an Int; anything longer is over any limit.
        guard significant.count <= 15 else { throw HTTPRequestHead.bodyTooLarge(limits) }
        return significant.reduce(0) { $0 << 4 | Int(HTTPSyntax.hexValue($1) ?? 0) }
    }
}

/// Chunk extensions (RFC 9112 §7.1.1). They mean nothing here, but where they end must mean the same to everybody.
enum HTTPChunkExtensions {
    /// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`
    static func isWellFormed(_ bytes: Slice<UnsafeBufferPointer<UInt8>>) -> Bool {
        var rest = bytes
        while !rest.isEmpty {
            skipBlanks(&rest)
            guard rest.popFirst() == UInt8(ascii: ";") else { return false }
            skipBlanks(&rest)
            guard takeToken(&rest) else { return false }
            let behindName = rest
            skipBlanks(&rest)
            guard rest.first == UInt8(ascii: "=") else {
                rest = behindName
                continue
            }
            rest.removeFirst()
            skipBlanks(&rest)
            guard rest.first == UInt8(ascii: "\"") ? takeQuoted(&rest) : takeToken(&rest) else { return false }
        }
        return true
    }

    private static func skipBlanks(_ rest: inout Slice<UnsafeBufferPointer<UInt8>>) {
        while let first = rest.first, HTTPSyntax.isBlank(first) { rest.removeFirst() }
    }

    private static func takeToken(_ rest: inout Slice<UnsafeBufferPointer<UInt8>>) -> Bool {
        let token = rest.prefix(while: HTTPSyntax.isToken)
        rest = rest[token.endIndex...]
        return !token.isEmpty
    }

    private static func takeQuoted(_ rest: inout Slice<UnsafeBufferPointer<UInt8>>) -> Bool {
        rest.removeFirst()
        while let byte = rest.popFirst() {
            guard HTTPSyntax.isFieldContent(byte) else { return false }
            if byte == UInt8(ascii: "\"") { return true }
            if byte == UInt8(ascii: "\\") {
                guard let escaped = rest.popFirst(), HTTPSyntax.isFieldContent(escaped) else { return false }
            }
        }
        return false
    }
}
