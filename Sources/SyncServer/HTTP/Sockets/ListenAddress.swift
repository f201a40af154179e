// Sockets layer: the "HOST:PORT" an operator writes, and the address the kernel gave for it.
import Foundation

/// Where to listen. IPv6 literals are written in brackets: `[::1]:8080`. Port 0 lets the kernel choose.
struct ListenAddress: Sendable, Equatable {
    let host: String
    let port: UInt16

    init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// Nil when the text is not `HOST:PORT` with a host, and a port of 0–65535 in digits.
    init?(parsing text: String) {
        let bytes = Array(text.utf8)
        guard let colon = bytes.lastIndex(of: UInt8(ascii: ":")) else { return nil }
        var hostBytes = bytes[..<colon]
        let portBytes = bytes[(colon + 1)...]
        if hostBytes.first == UInt8(ascii: "[") {
            guard hostBytes.last == UInt8(ascii: "]"), hostBytes.count > 2 else { return nil }
            hostBytes = hostBytes.dropFirst().dropLast()
        } else if hostBytes.contains(UInt8(ascii: ":")) {
            return nil
        }
        guard !hostBytes.isEmpty, !hostBytes.contains(0), (1...5).contains(portBytes.count) else { return nil }
        var number = 0
        for byte in portBytes {
            guard HTTPSyntax.isDigit(byte) else { return nil }
            number = number * 10 + Int(byte - UInt8(ascii: "0"))
        }
        guard let port = UInt16(exactly: number), let host = String(validating: hostBytes, as: UTF8.self) else {
            return nil
        }
        self.init(host: host, port: port)
    }
}

/// The address a listening socket really has: numeric host, and the port chosen when 0 was asked for.
struct BoundAddress: Sendable, Equatable, CustomStringConvertible {
    let host: String
    let port: Int

    var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

extension BoundAddress {
    /// Numeric host and port of a socket address; IPv4 peers of an IPv6 socket are written as IPv4.
    init(numericFormOf storage: sockaddr_storage) {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        var port: UInt16 = 0
        withUnsafeBytes(of: storage) { raw in
            switch Int32(storage.ss_family) {
            case AF_INET:
                var address = raw.loadUnaligned(as: sockaddr_in.self)
                inet_ntop(AF_INET, &address.sin_addr, &text, socklen_t(text.count))
                port = UInt16(bigEndian: address.sin_port)
            case AF_INET6:
                var address = raw.loadUnaligned(as: sockaddr_in6.self)
                inet_ntop(AF_INET6, &address.sin6_addr, &text, socklen_t(text.count))
                port = UInt16(bigEndian: address.sin6_port)
            default: break
            }
        }
        var host = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        if host.hasPrefix("::ffff:"), host.contains(".") { host.removeFirst("::ffff:".count) }
        self.init(host: host.isEmpty ? "unknown" : host, port: Int(port))
    }
}
