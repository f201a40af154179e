// Ctrl-C and a polite kill while work runs that can stop at a good place: the program ends when it has said how far it got.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

// @unchecked Sendable: the number is only touched under the lock, the sources only by init and deinit.
final class Interruptions: @unchecked Sendable {
    private static let numbers = [SIGINT, SIGTERM]

    private let lock = NSLock()
    private var received: Int32?
    private var sources: [any DispatchSourceSignal] = []

    /// From now on, until it is let go, the first of these signals is only noted. A second one ends the program at once.
    init() {
        for number in Self.numbers {
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { [weak self] in self?.note(number) }
            source.resume()
            sources.append(source)
        }
    }

    deinit {
        for source in sources { source.cancel() }
        for number in Self.numbers { signal(number, SIG_DFL) }
    }

    /// The signal that came; nil: none yet.
    var signalNumber: Int32? { lock.withLock { received } }

    /// Ends the program by the signal, so that a script that called it stops as well.
    static func end(by number: Int32) -> Never {
        signal(number, SIG_DFL)
        kill(getpid(), number)
        // A signal to oneself is delivered before kill returns, unless it is blocked.
        exit(128 + number)
    }

    private func note(_ number: Int32) {
        let isFirst = lock.withLock {
            defer { received = received ?? number }
            return received == nil
        }
        if !isFirst { Self.end(by: number) }
    }
}
