// An HTTP/1.1 answer out of a stream of bytes, for the socket transport: bounded, and never taking a broken one for a whole one.

import Dispatch
import Foundation
import SyncProtocol

/// What the server answered.
struct HTTPReply {
    var status: Int
    var body: [UInt8]
    /// The next answer on this connection would begin where this one ended.
    var keepsConnection: Bool
    /// Which request it says it answers (``Correlation``).
    var correlation: String?
}

/// Reads one answer. Throws ``TransportFailure``, or ``EndBeforeReply``.
struct HTTPReplyReader {
    /// The stream ended before a single byte of an answer.
    struct EndBeforeReply: Error {}

    enum Received {
        case more
        case end
        case broken(String)
    }

    static let bodyBytesMax = HTTPMapping.bodyBytesMax
    private static let headBytesMax = 64 << 10
    private static let chunkLineBytesMax = 16 << 10
    private static let trailersMax = 100
    private static let interimMax = 32
    private static let correlationField = Correlation.header.lowercased()

    private typealias Head = (status: Int, isVersion10: Bool, fields: [String: String])

    /// Appends what came, waiting for it.
    private let receive: (inout [UInt8]) throws -> Received
    /// Bytes that trickle do not count as an answer.
    private let headDeadline: DispatchTime
    private let bodyBytesMax: Int
    private var buffer: [UInt8] = []
    /// What of the buffer is used up.
    private var start = 0
    private var isUntouched = true

    init(
        headDeadline: DispatchTime, bodyBytesMax: Int = HTTPReplyReader.bodyBytesMax, receive: @escaping (inout [UInt8]) throws -> Received
    ) {
        self.headDeadline = headDeadline
        self.bodyBytesMax = bodyBytesMax
        self.receive = receive
    }

    mutating func read() throws -> HTTPReply {
        var head = try readHead()
        // Interim answers (RFC 9110 §15.2); nobody asked to switch protocols.
        var interim = 0
        while (100..<200).contains(head.status), head.status != 101 {
            interim += 1
            guard interim <= Self.interimMax else { throw TransportFailure.malformed("the server does not come to its answer") }
            head = try readHead()
        }
        let connection = Self.list(head.fields["connection"])
        var reply = HTTPReply(
            status: head.status, body: [],
            keepsConnection: head.isVersion10 ? connection.contains("keep-alive") : !connection.contains("close"),
            correlation: head.fields[Self.correlationField])
        if head.status == 204 || head.status == 304 || head.status == 101 {
            reply.keepsConnection = reply.keepsConnection && head.status != 101 && start == buffer.count
            return reply
        }
        // RFC 9112 §6.3: the coding counts before the length, and neither that cannot be understood is guessed.
        if let coding = head.fields["transfer-encoding"] {
            guard coding.lowercased() == "chunked" else { throw TransportFailure.malformed("the answer's coding \(coding) is not known") }
            reply.body = try readChunks()
            if head.fields["content-length"] != nil { reply.keepsConnection = false }
        } else if let text = head.fields["content-length"] {
            guard let length = Self.number(text, radix: 10), length <= bodyBytesMax else {
                throw TransportFailure.malformed("the answer has no sensible length")
            }
            reply.body = try take(length)
        } else {
            reply.keepsConnection = false
            while try fill() {
                guard buffer.count - start <= bodyBytesMax else { throw TransportFailure.malformed("the answer is too large") }
            }
            reply.body = Array(buffer[start...])
            start = buffer.count
        }
        // What follows the answer belongs to no request.
        if start != buffer.count { reply.keepsConnection = false }
        return reply
    }

    // MARK: Head

    private mutating func readHead() throws -> Head {
        var searched = 0
        while true {
            if let end = endOfHead(from: start + max(0, searched - 3)) {
                guard end - start <= Self.headBytesMax else { throw TransportFailure.malformed("the answer's head is too large") }
                let head = buffer[start..<end]
                start = end
                return try Self.parse(head)
            }
            searched = buffer.count - start
            guard searched < Self.headBytesMax else { throw TransportFailure.malformed("the answer's head is too large") }
            guard DispatchTime.now() < headDeadline else { throw TransportFailure.timeout }
            guard try fill() else {
                throw isUntouched ? EndBeforeReply() : TransportFailure.dropped("the answer ended in its head") as any Error
            }
        }
    }

    private func endOfHead(from first: Int) -> Int? {
        var index = first
        while index + 3 < buffer.count {
            if buffer[index] == 13, buffer[index + 1] == 10, buffer[index + 2] == 13, buffer[index + 3] == 10 { return index + 4 }
            index += 1
        }
        return nil
    }

    private static func parse(_ head: ArraySlice<UInt8>) throws -> Head {
        let lines = try lines(of: head)
        let first = Array(lines[0])
        guard first.starts(with: "HTTP/1.".utf8), first.count >= 12, isDigit(first[7]), first[8] == 0x20,
            first.count == 12 || first[12] == 0x20,
            let status = number(String(decoding: first[9..<12], as: UTF8.self), radix: 10), (100...599).contains(status)
        else { throw TransportFailure.malformed("this is not an HTTP server") }
        var fields: [String: String] = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: 0x3A) else { throw TransportFailure.malformed("a header line has no colon") }
            // A blank around the name, or a folded line: what it then says is read in more than one way (RFC 9112 §5).
            guard colon > line.startIndex, line[..<colon].allSatisfy(isToken) else {
                throw TransportFailure.malformed("a header has no proper name")
            }
            let name = String(decoding: line[..<colon], as: UTF8.self).lowercased()
            let value = String(decoding: line[(colon + 1)...], as: UTF8.self).trimmingCharacters(in: CharacterSet(charactersIn: " \t"))
            // A length may be repeated; two that differ are one number too many, and so not a number.
            if let known = fields[name], known != value || name != "content-length" {
                fields[name] = known + ", " + value
            } else {
                fields[name] = value
            }
        }
        return (status, first[7] == 0x30, fields)
    }

    /// The lines of a head without the empty one. A CR or LF on its own would let a value hold lines of its own.
    private static func lines(of head: ArraySlice<UInt8>) throws -> [ArraySlice<UInt8>] {
        var lines: [ArraySlice<UInt8>] = []
        var start = head.startIndex
        var index = head.startIndex
        while index < head.endIndex {
            switch head[index] {
            case 13 where index + 1 < head.endIndex && head[index + 1] == 10:
                lines.append(head[start..<index])
                index += 1
                start = index + 1
            case 0, 10, 13: throw TransportFailure.malformed("the answer's head has broken lines")
            default: break
            }
            index += 1
        }
        if lines.last?.isEmpty == true { lines.removeLast() }
        guard !lines.isEmpty else { throw TransportFailure.malformed("this is not an HTTP server") }
        return lines
    }

    private static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }

    /// tchar, RFC 9110 §5.6.2.
    private static func isToken(_ byte: UInt8) -> Bool {
        isDigit(byte) || (byte | 0x20) &- 0x61 < 26 || "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }

    private static func list(_ field: String?) -> Set<String> {
        Set((field ?? "").lowercased().split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) })
    }

    /// Digits only; `Int` would take a sign.
    private static func number(_ text: String, radix: Int) -> Int? {
        guard text.utf8.allSatisfy({ $0 < 0x80 && Character(Unicode.Scalar($0)).isHexDigit }) else { return nil }
        return Int(text, radix: radix)
    }

    // MARK: Body

    /// The next bytes of the stream, exactly so many.
    private mutating func take(_ count: Int) throws -> [UInt8] {
        while buffer.count - start < count {
            guard try fill() else {
                throw TransportFailure.dropped("the answer ended after \(buffer.count - start) of \(count) bytes")
            }
        }
        defer { start += count }
        return Array(buffer[start..<(start + count)])
    }

    private mutating func readChunks() throws -> [UInt8] {
        var body: [UInt8] = []
        while true {
            let line = try takeLine()
            let digits = String(line.prefix { $0 != ";" })
            guard let size = Self.number(digits, radix: 16), size <= bodyBytesMax - body.count else {
                throw TransportFailure.malformed("a chunk has no sensible size")
            }
            if size == 0 {
                for _ in 0...Self.trailersMax {
                    if try takeLine().isEmpty { return body }
                }
                throw TransportFailure.malformed("the answer has too many trailers")
            }
            body += try take(size)
            guard try takeLine().isEmpty else { throw TransportFailure.malformed("a chunk is longer than it said") }
        }
    }

    private mutating func takeLine() throws -> String {
        var searched = 0
        while true {
            if let end = buffer[(start + searched)...].firstIndex(of: 10) {
                guard end > start, buffer[end - 1] == 13 else { throw TransportFailure.malformed("a line does not end with CRLF") }
                let line = String(decoding: buffer[start..<(end - 1)], as: UTF8.self)
                start = end + 1
                return line
            }
            searched = buffer.count - start
            guard searched < Self.chunkLineBytesMax else { throw TransportFailure.malformed("a chunk has no sensible size") }
            guard try fill() else { throw TransportFailure.dropped("the answer ended between two chunks") }
        }
    }

    /// More bytes into the buffer; false at the end of the stream.
    private mutating func fill() throws -> Bool {
        // Moved to the front only when that halves the buffer, so that many small chunks cost no more than a large one.
        if start > buffer.count / 2 {
            buffer.removeFirst(start)
            start = 0
        }
        switch try receive(&buffer) {
        case .more:
            isUntouched = false
            guard buffer.count <= bodyBytesMax + Self.headBytesMax else { throw TransportFailure.malformed("the answer is too large") }
            return true
        case .end: return false
        case .broken(let reason):
            throw isUntouched ? EndBeforeReply() : TransportFailure.dropped(reason) as any Error
        }
    }
}
