// Sockets layer: one connected, non-blocking TCP socket. The event loop owns it and closes it exactly once.
import CLinux
import Foundation

/// A connected stream socket. A value around the descriptor: copying it does not duplicate the connection.
struct StreamSocket: Sendable {
    enum Transfer: Equatable {
        case moved(Int)
        /// Reading: the peer has finished sending.
        case endOfStream
        /// Nothing can move now; the poll will say when.
        case wouldBlock
        case failed(Int32)
    }

    let descriptor: Int32

    /// Small replies must leave at once, not wait for the previous one to be acknowledged.
    func disableDelay() {
        var on: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    }

    func receive(into buffer: UnsafeMutableRawBufferPointer) -> Transfer {
        while true {
            let count = clinux_receive(descriptor, buffer.baseAddress, buffer.count)
            if count > 0 { return .moved(count) }
            if count == 0 { return .endOfStream }
            switch errno {
            case EINTR: continue
            case EAGAIN: return .wouldBlock
            default: return .failed(errno)
            }
        }
    }

    /// Sends as much of the two pieces as the kernel takes, in order.
    func send(_ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) -> Transfer {
        while true {
            let count =
                first.isEmpty
                ? clinux_send(descriptor, second.baseAddress, second.count, nil, 0)
                : clinux_send(descriptor, first.baseAddress, first.count, second.baseAddress, second.count)
            if count >= 0 { return .moved(count) }
            switch errno {
            case EINTR: continue
            case EAGAIN: return .wouldBlock
            default: return .failed(errno)
            }
        }
    }

    /// Tells the peer that nothing more will come, and leaves our receiving side open.
    func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    func close() { _ = Foundation.close(descriptor) }
}
