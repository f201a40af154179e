// A named thread that someone can wait for, and a pipe that wakes it from `poll`: what the listener, the notifier and the private cluster run on.

import Foundation

/// @unchecked Sendable: `isFinished` is guarded by the condition; the rest never changes.
final class DedicatedThread: @unchecked Sendable {
    private let condition = NSCondition()
    private var isFinished = false
    private let marker = "tideline.dedicated-thread"

    init(_ name: String, _ body: @escaping @Sendable () -> Void) {
        let thread = Thread { [self] in
            Thread.current.threadDictionary[marker] = ObjectIdentifier(self)
            body()
            condition.lock()
            isFinished = true
            condition.broadcast()
            condition.unlock()
        }
        thread.name = name
        thread.start()
    }

    var isCurrent: Bool { Thread.current.threadDictionary[marker] as? ObjectIdentifier == ObjectIdentifier(self) }

    /// Waits for the end of the body; false if the time ran out. Called on the thread itself it returns at once.
    @discardableResult
    func join(timeoutSeconds: Double? = nil) -> Bool {
        if isCurrent { return false }
        condition.lock()
        defer { condition.unlock() }
        let limit = timeoutSeconds.map { Date(timeIntervalSinceNow: $0) }
        while !isFinished {
            guard let limit else {
                condition.wait()
                continue
            }
            if !condition.wait(until: limit) { return isFinished }
        }
        return true
    }
}

/// Both ends close with it. Writing never blocks: a full pipe already wakes.
final class WakePipe: Sendable {
    let readEnd: Int32
    private let writeEnd: Int32

    init() {
        var ends: [Int32] = [-1, -1]
        let status = pipe(&ends)
        // Without two descriptors at start-up there is no server to run.
        precondition(status == 0, "no file descriptors left")
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        readEnd = ends[0]
        writeEnd = ends[1]
    }

    deinit {
        close(readEnd)
        close(writeEnd)
    }

    func wake() {
        var byte: UInt8 = 1
        _ = write(writeEnd, &byte, 1)
    }

    func drain() {
        var buffer = [UInt8](repeating: 0, count: 64)
        while read(readEnd, &buffer, buffer.count) > 0 {}
    }

    /// Waits until woken or, if given, `descriptor` is readable or closed; at most that long (nil: for ever).
    func wait(forReadable descriptor: Int32 = -1, timeoutSeconds: Double?) {
        var descriptors = [
            pollfd(fd: readEnd, events: Int16(POLLIN), revents: 0),
            // poll ignores negative descriptors.
            pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
        ]
        let milliseconds = timeoutSeconds.map { Int32(min(max($0 * 1000, 0).rounded(.up), 3_600_000)) } ?? -1
        _ = poll(&descriptors, 2, milliseconds)
        drain()
    }
}
