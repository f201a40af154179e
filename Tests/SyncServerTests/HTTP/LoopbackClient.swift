// Test support: a client that shows exactly what it sends and what it gets.
import Foundation

/// A response as it was on the wire.
struct WireResponse: Equatable {
    let status: Int
    /// Names in lower case.
    let headers: [(name: String, value: String)]
    let body: [UInt8]

    func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
    var text: String { String(decoding: body, as: UTF8.self) }

    static func == (left: WireResponse, right: WireResponse) -> Bool {
        left.status == right.status && left.body == right.body
            && left.headers.elementsEqual(right.headers) { $0 == $1 }
    }
}

struct LoopbackFailure: Error, CustomStringConvertible {
    let description: String
}

/// A blocking loopback connection. Every read gives up, after ten seconds if nothing else is said, so that a test fails and does not hang.
final class LoopbackClient: @unchecked Sendable {  // Each test uses its client from one thread at a time.
    private var descriptor: Int32
    private var buffer: [UInt8] = []

    init(port: Int, receiveBufferBytes: Int32? = nil, patienceMilliseconds: Int = 10_000) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw LoopbackFailure(description: "socket: \(String(cString: strerror(errno)))") }
        if var bytes = receiveBufferBytes {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout<Int32>.size))
        }
        var patience = timeval(tv_sec: patienceMilliseconds / 1000, tv_usec: patienceMilliseconds % 1000 * 1000)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else { throw LoopbackFailure(description: "connect: \(String(cString: strerror(errno)))") }
    }

    deinit { close() }

    func close() {
        if descriptor >= 0 { _ = Foundation.close(descriptor) }
        descriptor = -1
    }

    func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Foundation.send(descriptor, $0.baseAddress.map { $0 + sent }, $0.count - sent, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw LoopbackFailure(description: "send: \(String(cString: strerror(errno)))") }
            sent += count
        }
    }

    /// Sends a request without a body, `Host` included.
    func get(_ target: String, method: String = "GET", headers: String = "") throws {
        try send("\(method) \(target) HTTP/1.1\r\nHost: test\r\n\(headers)\r\n")
    }

    /// Reads one response. To HEAD there is no body however long the response says it is.
    func response(toHead: Bool = false) throws -> WireResponse {
        var end = 0
        while true {
            if let found = Self.endOfHead(buffer) {
                end = found
                break
            }
            guard try fill() else { throw LoopbackFailure(description: "closed after \(buffer.count) bytes of a head") }
        }
        let lines = String(decoding: buffer[..<(end - 4)], as: UTF8.self).components(separatedBy: "\r\n")
        buffer.removeFirst(end)
        let words = lines[0].split(separator: " ")
        guard words.count > 1, let status = Int(words[1]) else { throw LoopbackFailure(description: "no status line: \(lines[0])") }
        let headers = lines.dropFirst().map { line -> (name: String, value: String) in
            let parts = line.split(separator: ":", maxSplits: 1)
            return (parts[0].lowercased(), parts.count > 1 ? parts[1].trimmingCharacters(in: .whitespaces) : "")
        }
        let length = headers.first { $0.name == "content-length" }.flatMap { Int($0.value) } ?? 0
        var body: [UInt8] = []
        if !toHead {
            body = Array(buffer.prefix(length))
            buffer.removeFirst(body.count)
            if body.count < length { body += try receive(length - body.count) }
        }
        return WireResponse(status: status, headers: headers, body: body)
    }

    /// The head of one response as text, and what has come of its body with the first of it: for bodies in chunks.
    func wholeResponse() throws -> (head: String, body: [UInt8]) {
        while true {
            if let end = Self.endOfHead(buffer), buffer.count > end {
                defer { buffer.removeAll() }
                return (String(decoding: buffer[..<end], as: UTF8.self), Array(buffer[end...]))
            }
            guard try fill() else { throw LoopbackFailure(description: "closed after \(buffer.count) bytes") }
        }
    }

    /// True when the server ends the connection with nothing left to read.
    func isAtEnd() throws -> Bool {
        if !buffer.isEmpty { return false }
        return try !fill()
    }

    /// Exactly that many bytes, without going through `buffer`.
    private func receive(_ wanted: Int) throws -> [UInt8] {
        let bytes = [UInt8](unsafeUninitializedCapacity: wanted) { bytes, received in
            while received < wanted {
                let count = recv(descriptor, bytes.baseAddress.map { $0 + received }, wanted - received, 0)
                guard count > 0 else { return }
                received += count
            }
        }
        guard bytes.count == wanted else { throw LoopbackFailure(description: "got \(bytes.count) of \(wanted) bytes") }
        return bytes
    }

    private func fill() throws -> Bool {
        let count = withUnsafeTemporaryAllocation(byteCount: 256 * 1024, alignment: 16) { chunk in
            let count = recv(descriptor, chunk.baseAddress, chunk.count, 0)
            if count > 0 { buffer.append(contentsOf: UnsafeRawBufferPointer(rebasing: chunk[..<count])) }
            return count
        }
        if count < 0 { throw LoopbackFailure(description: "recv: \(String(cString: strerror(errno)))") }
        return count > 0
    }

    private static func endOfHead(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 4 else { return nil }
        return bytes.withUnsafeBytes { raw -> Int? in
            memmem(raw, [13, 10, 13, 10])
        }
    }

    private static func memmem(_ haystack: UnsafeRawBufferPointer, _ needle: [UInt8]) -> Int? {
        for start in 0...(haystack.count - needle.count) where haystack[start] == needle[0] {
            if haystack[start..<(start + needle.count)].elementsEqual(needle) { return start + needle.count }
        }
        return nil
    }
}
