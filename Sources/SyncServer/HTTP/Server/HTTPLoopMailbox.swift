// Server layer: the way from every other thread to the event loop.
import Foundation

/// What a worker made of a job.
struct HTTPJobResult: Sendable {
    let job: HTTPJob
    let reply: HTTPReply
}

/// Letters for the event loop. The first one after it was emptied wakes the loop, the others ride along.
final class HTTPLoopMailbox: @unchecked Sendable {  // Everything mutable is only touched under `lock`.
    struct Contents {
        var results: [HTTPJobResult] = []
        /// Each topic once, however often it was poked.
        var topics: Set<String> = []
        var pokesAll = false
        var drains = false
        var stops = false

        var isEmpty: Bool { results.isEmpty && topics.isEmpty && !pokesAll && !drains && !stops }
    }

    private let lock = NSLock()
    private let signal: WakeSignal
    private var contents = Contents()
    private var isClosed = false

    /// Takes the signal over.
    init(signal: WakeSignal) { self.signal = signal }

    // Not in `close`: another thread may be about to raise the signal, and must not hit a number that was reused.
    deinit { signal.close() }

    func post(_ result: HTTPJobResult) { post { $0.results.append(result) } }
    func postPoke(_ topic: String) { post { $0.topics.insert(topic) } }
    func postPokeAll() { post { $0.pokesAll = true } }
    func postDrain() { post { $0.drains = true } }
    func postStop() { post { $0.stops = true } }

    func take() -> Contents {
        lock.withLock {
            defer { contents = Contents() }
            return contents
        }
    }

    /// Later letters are dropped.
    func close() {
        lock.withLock {
            isClosed = true
            contents = Contents()
        }
    }

    private func post(_ write: (inout Contents) -> Void) {
        let wakes = lock.withLock {
            guard !isClosed else { return false }
            let wasEmpty = contents.isEmpty
            write(&contents)
            return wasEmpty
        }
        // Outside the lock, which the workers and the loop all want just now.
        if wakes { signal.raise() }
    }
}
