// Message layer: lines. Every line of a head, a chunk size and a trailer is read here and nowhere else.
import Foundation

enum HTTPLine {
    enum Found {
        /// The line's content, without CRLF; the cursor is past it.
        case line(Slice<UnsafeBufferPointer<UInt8>>)
        case incomplete
        /// More than `limit` bytes of content, whether its end has come or not.
        case tooLong
    }

    /// The next line at `cursor`. A partial line is searched again from its start when more bytes have come: lines are
    /// short and bounded, so remembering the place would save nothing.
    /// - Throws: a refusal for a bare LF or a bare CR (RFC 9112 §2.2: recipients that accept these can be smuggled
    /// past).
    static func next(
        in bytes: UnsafeBufferPointer<UInt8>, at cursor: inout Int, limit: Int
    ) throws(HTTPRefusal) -> Found {
        guard cursor < bytes.count, let base = bytes.baseAddress else { return .incomplete }
        let available = bytes.count - cursor
        guard let end = memchr(base + cursor, Int32(HTTPSyntax.lineFeed), available) else {
            // The last byte may be the CR of a line that is exactly as long as allowed.
            return available > limit + 1 ? .tooLong : .incomplete
        }
        let lineFeed = UnsafeRawPointer(end) - UnsafeRawPointer(base)
        let hasReturn = lineFeed > cursor && bytes[lineFeed - 1] == HTTPSyntax.carriageReturn
        let contentEnd = hasReturn ? lineFeed - 1 : lineFeed
        guard contentEnd - cursor <= limit else { return .tooLong }
        guard hasReturn else {
            throw HTTPRefusal(400, "bad_line_ending", "A line ends with LF where CRLF is required.")
        }
        guard memchr(base + cursor, Int32(HTTPSyntax.carriageReturn), contentEnd - cursor) == nil else {
            throw HTTPRefusal(400, "bad_line_ending", "A line holds a CR that is not followed by LF.")
        }
        let content = bytes[cursor..<contentEnd]
        cursor = lineFeed + 1
        return .line(content)
    }

    /// One field line, RFC 9112 §5: name, colon, value with blanks around it removed.
    static func field(
        _ line: Slice<UnsafeBufferPointer<UInt8>>
    ) throws(HTTPRefusal) -> (name: Slice<UnsafeBufferPointer<UInt8>>, value: Slice<UnsafeBufferPointer<UInt8>>) {
        if let first = line.first, HTTPSyntax.isBlank(first) {
            throw HTTPRefusal(400, "bad_header", "A header line begins with a blank; folded headers are not accepted.")
        }
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else {
            throw HTTPRefusal(400, "bad_header", "A header line has no colon.")
        }
        let name = line[..<colon]
        guard !name.isEmpty, name.allSatisfy(HTTPSyntax.isToken) else {
            throw HTTPRefusal(400, "bad_header", "A header name is empty or holds a byte that is not allowed.")
        }
        let value = HTTPSyntax.trimmed(line[(colon + 1)...])
        guard value.allSatisfy(HTTPSyntax.isFieldContent) else {
            throw HTTPRefusal(400, "bad_header", "A header value holds a byte that is not allowed.")
        }
        return (name, value)
    }
}
