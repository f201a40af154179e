// A connection this server opens: non-blocking underneath, every call ends by a deadline. For threads that may block.

import CLinux
import Foundation

/// Monotonic time in nanoseconds.
struct Deadline: Sendable {
    let nanoseconds: UInt64

    init(secondsFromNow seconds: Double) {
        nanoseconds = DispatchTime.now().uptimeNanoseconds + UInt64(max(0, seconds) * 1_000_000_000)
    }

    /// For `poll`; 0 when it has passed.
    var millisecondsLeft: Int32 {
        let now = DispatchTime.now().uptimeNanoseconds
        guard nanoseconds > now else { return 0 }
        return Int32(clamping: (nanoseconds - now + 999_999) / 1_000_000)
    }

    func earlier(secondsFromNow seconds: Double) -> Deadline {
        let other = Deadline(secondsFromNow: seconds)
        return other.nanoseconds < nanoseconds ? other : self
    }
}

/// Closed with the value that owns it; used by one thread at a time.
struct OutgoingSocket: ~Copyable {
    let descriptor: Int32

    /// Takes over a descriptor, which becomes non-blocking.
    init(taking descriptor: Int32) {
        self.descriptor = descriptor
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }

    /// Connects to the first address that answers. Throws ``AttemptFailure``.
    static func connect(_ endpoints: [NetworkEndpoint], by deadline: Deadline) throws -> OutgoingSocket {
        var failure = AttemptFailure(.connect, "no address to connect to")
        for endpoint in endpoints {
            let descriptor = clinux_stream_socket(endpoint.address.isV4 ? AF_INET : AF_INET6)
            guard descriptor >= 0 else {
                failure = AttemptFailure(.connect, "socket: \(String(cString: strerror(errno)))")
                continue
            }
            let socket = OutgoingSocket(taking: descriptor)
            let code = endpoint.withSocketAddress { Foundation.connect(descriptor, $0, $1) == 0 ? 0 : errno }
            var error = code
            if code == EINPROGRESS {
                guard socket.wait(POLLOUT, by: deadline) else { throw AttemptFailure(.timeout, "no connection to \(endpoint) in time") }
                var size = socklen_t(MemoryLayout<Int32>.size)
                getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size)
            }
            if error == 0 {
                var one: Int32 = 1
                setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
                return socket
            }
            failure = AttemptFailure(.connect, "\(endpoint): \(String(cString: strerror(error)))")
        }
        throw failure
    }

    deinit { _ = Foundation.close(descriptor) }

    /// False when the time ran out first.
    func wait(_ events: Int32, by deadline: Deadline) -> Bool {
        while true {
            var one = pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: events), revents: 0)
            let count = poll(&one, 1, deadline.millisecondsLeft)
            if count > 0 { return true }
            if count == 0 { return false }
            if errno != EINTR { return true }
        }
    }

    /// Everything, or ``AttemptFailure``.
    func send(_ bytes: [UInt8], by deadline: Deadline) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes { clinux_send(descriptor, $0.baseAddress.map { $0 + sent }, bytes.count - sent, nil, 0) }
            if count > 0 {
                sent += count
            } else if count < 0, errno == EAGAIN {
                guard wait(POLLOUT, by: deadline) else { throw AttemptFailure(.timeout, "the endpoint did not take the request in time") }
            } else if count < 0, errno != EINTR {
                throw AttemptFailure(.network, "sending: \(String(cString: strerror(errno)))")
            }
        }
    }

    /// The next bytes, at most `limit`; none at the end of the stream. Throws ``AttemptFailure``.
    func receive(limit: Int = 16 << 10, by deadline: Deadline) throws -> [UInt8] {
        var chunk = [UInt8](repeating: 0, count: limit)
        while true {
            let count = chunk.withUnsafeMutableBytes { clinux_receive(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 { return Array(chunk[..<count]) }
            if errno == EAGAIN {
                guard wait(POLLIN, by: deadline) else { throw AttemptFailure(.timeout, "no answer in time") }
            } else if errno != EINTR {
                throw AttemptFailure(.network, "receiving: \(String(cString: strerror(errno)))")
            }
        }
    }
}
