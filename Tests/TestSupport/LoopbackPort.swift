// Ports for what is stopped and started again: where the kernel does not put the ends of other people's connections.

import Foundation

/// A port that the kernel chooses (port 0) is one of those that it also gives to outgoing connections. As soon as its
/// listener ends, a connection of anybody can have it, and the listener that comes back finds it in use; and one who asks
/// for it again and again meanwhile may be given that very port and be connected to himself.
public enum LoopbackPort {
    public struct Failure: Error, CustomStringConvertible { public let description: String }

    /// A port of 127.0.0.1 that nobody has, and that no outgoing connection is given.
    public static func chosen() throws -> Int {
        let range = lasting(notFrom: ephemeral())
        for _ in 0..<100 {
            let port = Int.random(in: range)
            if isFree(port) { return port }
        }
        throw Failure(description: "no free port of 127.0.0.1 found in \(range)")
    }

    /// Where to look, given the ports of outgoing connections: below them, else above, else anywhere.
    static func lasting(notFrom ephemeral: ClosedRange<Int>) -> ClosedRange<Int> {
        if ephemeral.lowerBound > 12_000 { return 10_000...ephemeral.lowerBound - 1 }
        if ephemeral.upperBound < 64_000 { return ephemeral.upperBound + 1...65_535 }
        return 10_000...65_535
    }

    private static func ephemeral() -> ClosedRange<Int> {
        let text = (try? String(contentsOfFile: "/proc/sys/net/ipv4/ip_local_port_range", encoding: .utf8)) ?? ""
        let bounds = text.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
        guard bounds.count == 2, bounds[0] <= bounds[1] else { return 32_768...65_535 }
        return bounds[0]...bounds[1]
    }

    /// As a server would bind it: connections that an earlier listener left behind do not count.
    private static func isFree(_ port: Int) -> Bool {
        #if canImport(Glibc)
            let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        #else
            let kind = SOCK_STREAM
        #endif
        let socket = Foundation.socket(AF_INET, kind, 0)
        guard socket >= 0 else { return false }
        defer { close(socket) }
        var on: Int32 = 1
        setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        return withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 }
        }
    }
}
