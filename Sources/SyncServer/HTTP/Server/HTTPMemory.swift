// Server layer: how many bytes of requests and responses the process holds.
import Foundation

/// Bytes of request bodies that workers have or will get. What connections still receive or send is counted by the event
/// loop; bodies outlive their connections, and end on any thread.
final class HTTPMemory: @unchecked Sendable {  // `bytes` is only touched under `lock`.
    private let lock = NSLock()
    private var bytes = 0

    var held: Int { lock.withLock { bytes } }

    func add(_ count: Int) { lock.withLock { bytes += count } }
}
