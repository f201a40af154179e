// Sockets layer: epoll, and the eventfd by which other threads wake the thread that waits in it.
import CLinux
import Foundation

/// A kernel event queue. A value around the descriptor; one thread waits, and the same thread registers.
struct EventPoll: Sendable {
    struct Interest: OptionSet {
        let rawValue: UInt32
        static let readable = Interest(rawValue: clinux_readable)
        static let writable = Interest(rawValue: clinux_writable)
        static let peerClosed = Interest(rawValue: clinux_peer_closed)
        static let hangUp = Interest(rawValue: clinux_hang_up)
        static let failed = Interest(rawValue: clinux_failed)
        /// Report each change once instead of as long as it lasts: no registration change is needed between requests.
        static let onChange = Interest(rawValue: clinux_edge_triggered)
    }

    /// Room for one batch of events, reused by every wait.
    struct Batch {
        fileprivate(set) var count = 0
        fileprivate var flags = [UInt32](repeating: 0, count: Int(clinux_epoll_batch_max))
        fileprivate var tags = [UInt64](repeating: 0, count: Int(clinux_epoll_batch_max))

        func event(_ index: Int) -> (tag: UInt64, ready: Interest) {
            (tags[index], Interest(rawValue: flags[index]))
        }
    }

    let descriptor: Int32

    static func open() throws(SocketError) -> EventPoll {
        let descriptor = clinux_epoll_create()
        guard descriptor >= 0 else { throw SocketError("epoll_create1") }
        return EventPoll(descriptor: descriptor)
    }

    func add(_ target: Int32, _ interest: Interest, tag: UInt64) throws(SocketError) {
        guard clinux_epoll_add(descriptor, target, interest.rawValue, tag) == 0 else { throw SocketError("epoll_ctl") }
    }

    func change(_ target: Int32, _ interest: Interest, tag: UInt64) throws(SocketError) {
        guard clinux_epoll_change(descriptor, target, interest.rawValue, tag) == 0 else {
            throw SocketError("epoll_ctl")
        }
    }

    /// Waits for events. A negative timeout waits without limit; an interrupted wait reports no events.
    func wait(into batch: inout Batch, timeoutMilliseconds: Int32) {
        batch.count = max(0, Int(clinux_epoll_wait(descriptor, &batch.flags, &batch.tags, timeoutMilliseconds)))
    }

    func close() { _ = Foundation.close(descriptor) }
}

/// Wakes an `EventPoll` from any thread. Registered with `onChange`, so its counter never has to be read back.
struct WakeSignal: Sendable {
    let descriptor: Int32

    static func open() throws(SocketError) -> WakeSignal {
        let descriptor = clinux_eventfd_create()
        guard descriptor >= 0 else { throw SocketError("eventfd") }
        return WakeSignal(descriptor: descriptor)
    }

    func raise() { _ = clinux_eventfd_signal(descriptor) }

    func close() { _ = Foundation.close(descriptor) }
}
