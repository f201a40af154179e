// Sockets layer: the socket that accepts connections, and the spare descriptor that keeps it able to refuse them.
import CLinux
import Foundation

/// A bound, listening, non-blocking TCP socket.
struct ListeningSocket: Sendable {
    enum Accepted {
        case connection(StreamSocket, peerAddress: String)
        /// The queue of finished handshakes is empty.
        case none
        /// The process is out of descriptors (EMFILE, ENFILE).
        case descriptorsExhausted
        case failed(SocketError)
    }

    let descriptor: Int32
    let address: BoundAddress

    /// Resolves, binds and listens. The first resolved address that can be bound is used.
    static func open(_ address: ListenAddress, backlog: Int) throws(SocketError) -> ListeningSocket {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(address.host, String(address.port), &hints, &list) == 0, let first = list else {
            throw SocketError("getaddrinfo", errorNumber: EADDRNOTAVAIL)
        }
        defer { freeaddrinfo(first) }
        var failure = SocketError("getaddrinfo", errorNumber: EADDRNOTAVAIL)
        var candidate: UnsafeMutablePointer<addrinfo>? = first
        while let current = candidate {
            do {
                return try open(current.pointee, backlog: backlog)
            } catch {
                failure = error
            }
            candidate = current.pointee.ai_next
        }
        throw failure
    }

    private static func open(_ info: addrinfo, backlog: Int) throws(SocketError) -> ListeningSocket {
        let descriptor = clinux_stream_socket(info.ai_family)
        guard descriptor >= 0 else { throw SocketError("socket") }
        do throws(SocketError) {
            var on: Int32 = 1
            let size = socklen_t(MemoryLayout<Int32>.size)
            // A restart must not wait for the previous run's connections to leave TIME_WAIT.
            guard setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, size) == 0 else {
                throw SocketError("setsockopt")
            }
            if info.ai_family == AF_INET6 {
                // "[::]" means every address, IPv4 included, whatever the system-wide default is.
                var off: Int32 = 0
                guard setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &off, size) == 0 else {
                    throw SocketError("setsockopt")
                }
            }
            guard bind(descriptor, info.ai_addr, info.ai_addrlen) == 0 else { throw SocketError("bind") }
            guard listen(descriptor, Int32(clamping: backlog)) == 0 else { throw SocketError("listen") }
            var storage = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let named = withUnsafeMutablePointer(to: &storage) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
            }
            guard named == 0 else { throw SocketError("getsockname") }
            return ListeningSocket(descriptor: descriptor, address: BoundAddress(numericFormOf: storage))
        } catch {
            _ = Foundation.close(descriptor)
            throw error
        }
    }

    func accept() -> Accepted {
        while true {
            var peer = sockaddr_storage()
            let accepted = clinux_accept(descriptor, &peer)
            if accepted >= 0 {
                return .connection(
                    StreamSocket(descriptor: accepted), peerAddress: BoundAddress(numericFormOf: peer).host)
            }
            switch errno {
            case EAGAIN: return .none
            case EMFILE, ENFILE: return .descriptorsExhausted
            // The peer gave up between handshake and accept, or its network did (accept(2) lists these as transient).
            case EINTR, ECONNABORTED, EPROTO, ENETDOWN, EHOSTDOWN, EHOSTUNREACH, ENETUNREACH: continue
            default: return .failed(SocketError("accept4"))
            }
        }
    }

    func close() { _ = Foundation.close(descriptor) }
}

/// One descriptor kept open for nothing, so that a connection can still be accepted and closed when the process has
/// no descriptor left. Without it such a connection stays in the queue and wakes the poll for ever.
struct ReserveDescriptor {
    private var descriptor: Int32 = -1

    init() { reopen() }

    /// Accepts one connection into the reserve's place and drops it. False when there was no reserve to give.
    mutating func dropOne(from listener: ListeningSocket) -> Bool {
        guard descriptor >= 0 else {
            reopen()
            return false
        }
        release()
        if case .connection(let socket, _) = listener.accept() { socket.close() }
        reopen()
        return descriptor >= 0
    }

    mutating func release() {
        if descriptor >= 0 { _ = Foundation.close(descriptor) }
        descriptor = -1
    }

    private mutating func reopen() { descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC) }
}
