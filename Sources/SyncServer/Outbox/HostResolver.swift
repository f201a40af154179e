// Names to addresses, once per attempt: what is checked is what is connected to, so a name that changes its mind in between
// (DNS rebinding) gains nothing.

import CLinux
import Foundation

/// An address with the port to connect to.
struct NetworkEndpoint: Sendable, Hashable, CustomStringConvertible {
    let address: NetworkAddress
    let port: Int
    var description: String { address.isV4 ? "\(address):\(port)" : "[\(address)]:\(port)" }

    /// Calls `body` with the address as the system wants it.
    func withSocketAddress<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
        if address.isV4 {
            var socket = sockaddr_in()
            socket.sin_family = sa_family_t(AF_INET)
            socket.sin_port = UInt16(truncatingIfNeeded: port).bigEndian
            withUnsafeMutableBytes(of: &socket.sin_addr) { $0.copyBytes(from: address.bytes) }
            return withUnsafePointer(to: &socket) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
            }
        }
        var socket = sockaddr_in6()
        socket.sin6_family = sa_family_t(AF_INET6)
        socket.sin6_port = UInt16(truncatingIfNeeded: port).bigEndian
        withUnsafeMutableBytes(of: &socket.sin6_addr) { $0.copyBytes(from: address.bytes) }
        return withUnsafePointer(to: &socket) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in6>.size)) }
        }
    }
}

struct HostResolver: Sendable {
    let addressGuard: AddressGuard
    /// Numeric addresses of a name; throws ``AttemptFailure``. Blocks.
    var lookUp: @Sendable (String) throws -> [NetworkAddress] = { try HostResolver.system($0) }

    /// The addresses of a host that may be connected to, in the order they should be tried. Throws ``AttemptFailure``.
    func endpoints(host: String, port: Int) throws -> [NetworkEndpoint] {
        let addresses = try lookUp(host)
        let allowed = addresses.filter(addressGuard.allows)
        guard !allowed.isEmpty else {
            throw AttemptFailure(
                .address, "\(host) leads to \(addresses.map(\.description).joined(separator: ", ")), where webhooks may not go")
        }
        return allowed.map { NetworkEndpoint(address: $0, port: port) }
    }

    private static func system(_ host: String) throws -> [NetworkAddress] {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, nil, &hints, &list)
        guard code == 0, list != nil else {
            throw AttemptFailure(.dns, "\(host): \(code == 0 ? "no address" : String(cString: gai_strerror(code)))")
        }
        defer { freeaddrinfo(list) }
        var addresses: [NetworkAddress] = []
        var next = list
        while let info = next?.pointee {
            next = info.ai_next
            guard let socket = info.ai_addr, let address = numeric(socket, family: info.ai_family), !addresses.contains(address) else {
                continue
            }
            addresses.append(address)
        }
        return addresses
    }

    private static func numeric(_ socket: UnsafeMutablePointer<sockaddr>, family: Int32) -> NetworkAddress? {
        let raw = UnsafeRawPointer(socket)
        switch family {
        case AF_INET:
            let address = raw.loadUnaligned(as: sockaddr_in.self).sin_addr
            return NetworkAddress(bytes: withUnsafeBytes(of: address) { Array($0) })
        case AF_INET6:
            let address = raw.loadUnaligned(as: sockaddr_in6.self)
            // An address of one link only is never a public one, and would lose its link here.
            return NetworkAddress(bytes: withUnsafeBytes(of: address.sin6_addr) { Array($0) })
        default: return nil
        }
    }

    /// An address in its usual text form; nil for names and for short or octal spellings.
    static func literal(_ text: String) -> NetworkAddress? {
        var v4 = in_addr()
        if inet_pton(AF_INET, text, &v4) == 1 { return NetworkAddress(bytes: withUnsafeBytes(of: v4) { Array($0) }) }
        var v6 = in6_addr()
        if inet_pton(AF_INET6, text, &v6) == 1 { return NetworkAddress(bytes: withUnsafeBytes(of: v6) { Array($0) }) }
        return nil
    }
}

/// Why an attempt did not get an answer.
struct AttemptFailure: Error, Sendable, Equatable {
    let failure: AttemptResult.Failure
    let message: String

    init(_ failure: AttemptResult.Failure, _ message: String) {
        self.failure = failure
        self.message = message
    }
}
