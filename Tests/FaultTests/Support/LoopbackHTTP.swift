// One HTTP request on one connection, for tests that need to see each answer as it is. Blocking calls, away from Swift's threads.

import CLinux
import Foundation
import SyncProtocol

#if canImport(Glibc)
    import Glibc
#endif

enum LoopbackHTTP {
    struct Reply: Sendable {
        var status: Int
        /// Names in lower case.
        var headers: [String: String]
        var body: [UInt8]
        /// Head and body as they came.
        var bytes: [UInt8]

        var text: String { String(decoding: body, as: UTF8.self) }
        var errorCode: String? { (try? JSONValue(parsing: body))?["error"]?["code"]?.stringValue }
    }

    /// No whole answer.
    struct Broken: Error, CustomStringConvertible {
        /// Whether anything of an answer had come.
        let hasBegun: Bool
        let description: String
    }

    /// - Parameter key: The `Idempotency-Key`.
    static func request(_ method: String, _ target: String, token: String? = nil, key: String? = nil, body: [UInt8] = []) -> [UInt8] {
        var head = "\(method) \(target) HTTP/1.1\r\nHost: test\r\n"
        if let token { head += "Authorization: Bearer \(token)\r\n" }
        if let key { head += "Idempotency-Key: \(key)\r\n" }
        if !body.isEmpty || method == "POST" { head += "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n" }
        return Array((head + "\r\n").utf8) + body
    }

    static func exchange(
        port: Int, _ method: String, _ target: String, token: String? = nil, key: String? = nil, body: [UInt8] = []
    ) async throws -> Reply {
        try await offPool { try send(request(method, target, token: token, key: key, body: body), port: port) }
    }

    static func send(_ request: [UInt8], port: Int) throws -> Reply {
        let file = try Sockets.connect(.tcp(port))
        defer { close(file) }
        var limit = timeval(tv_sec: 90, tv_usec: 0)
        setsockopt(file, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var sent = 0
        while sent < request.count {
            let count = request[sent...].withUnsafeBytes { Glibc.send(file, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { break }
            sent += count
        }
        var reader = MessageReader(file: file)
        guard let message = try reader.next() else { throw Broken(hasBegun: false, description: "closed without an answer") }
        let status = message.startLine.split(separator: " ").dropFirst().first.flatMap { Int($0) }
        return Reply(status: status ?? 0, headers: message.headers, body: message.body, bytes: message.bytes)
    }
}

/// Takes whole messages off a connection. Enough HTTP for both ends of it, which are ours.
struct MessageReader {
    struct Message {
        var startLine: String
        var headers: [String: String]
        var body: [UInt8]
        var bytes: [UInt8]
    }

    let file: Int32
    private var buffer: [UInt8] = []

    init(file: Int32) { self.file = file }

    /// nil: the other side closed between two messages.
    mutating func next() throws -> Message? {
        let mark: [UInt8] = [13, 10, 13, 10]
        var end: Int?
        while true {
            end = buffer.firstRange(of: mark)?.upperBound
            if end != nil { break }
            guard try fill() else {
                if buffer.isEmpty { return nil }
                throw LoopbackHTTP.Broken(hasBegun: true, description: "closed in a head")
            }
        }
        let lines = String(decoding: buffer[..<(end ?? 0)], as: UTF8.self).components(separatedBy: "\r\n")
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            headers[line[..<colon].lowercased()] = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
        }
        guard headers["transfer-encoding"] == nil else {
            throw LoopbackHTTP.Broken(hasBegun: true, description: "a chunked message")
        }
        let whole = (end ?? 0) + (headers["content-length"].flatMap { Int($0) } ?? 0)
        while buffer.count < whole {
            guard try fill() else { throw LoopbackHTTP.Broken(hasBegun: true, description: "closed in a body") }
        }
        let bytes = Array(buffer[..<whole])
        buffer.removeFirst(whole)
        return Message(startLine: lines[0], headers: headers, body: Array(bytes[(end ?? 0)...]), bytes: bytes)
    }

    private mutating func fill() throws -> Bool {
        var chunk = [UInt8](repeating: 0, count: 16_384)
        let count = recv(file, &chunk, chunk.count, 0)
        if count < 0 {
            throw LoopbackHTTP.Broken(hasBegun: !buffer.isEmpty, description: String(cString: strerror(errno)))
        }
        buffer += chunk[..<count]
        return count > 0
    }
}

/// Where something listens.
enum Endpoint: Hashable, Sendable {
    case tcp(Int)
    case unix(String)
}

enum Sockets {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    static func connect(_ endpoint: Endpoint) throws -> Int32 {
        let file = try make(endpoint)
        guard withAddress(endpoint, { Glibc.connect(file, $0, $1) }) == 0 else {
            let reason = String(cString: strerror(errno))
            close(file)
            throw Failure(description: "\(endpoint): \(reason)")
        }
        return file
    }

    /// Port 0 lets the kernel choose.
    static func listen(_ endpoint: Endpoint) throws -> Int32 {
        let file = try make(endpoint)
        var yes: Int32 = 1
        setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        guard withAddress(endpoint, { bind(file, $0, $1) }) == 0, Glibc.listen(file, 128) == 0 else {
            let reason = String(cString: strerror(errno))
            close(file)
            throw Failure(description: "\(endpoint): \(reason)")
        }
        if case .unix(let path) = endpoint { chmod(path, 0o777) }
        return file
    }

    /// Blocks; negative when the listener was shut down. No program that a test starts inherits it: it would keep open what we close.
    static func accept(_ listener: Int32) -> Int32 {
        var peer = sockaddr_storage()
        let file = clinux_accept(listener, &peer)
        if file >= 0 { _ = fcntl(file, F_SETFL, 0) }
        return file
    }

    static func port(_ file: Int32) -> Int {
        var address = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(file, $0, &size) }
        }
        return Int(UInt16(bigEndian: address.sin_port))
    }

    private static func make(_ endpoint: Endpoint) throws -> Int32 {
        let family: Int32 = if case .tcp = endpoint { AF_INET } else { AF_UNIX }
        let file = socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard file >= 0 else { throw Failure(description: String(cString: strerror(errno))) }
        if family == AF_INET {
            var yes: Int32 = 1
            setsockopt(file, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
        }
        return file
    }

    private static func withAddress<R>(_ endpoint: Endpoint, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
        switch endpoint {
        case .tcp(let port):
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = UInt16(port).bigEndian
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            return withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
            }
        case .unix(let path):
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            let bytes = Array(path.utf8)
            precondition(bytes.count < MemoryLayout.size(ofValue: address.sun_path), "the path of a socket is short")
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
            return withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
            }
        }
    }
}
