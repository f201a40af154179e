// One sync at a time on a file, over all processes. Edits never wait for it: it lies in a file of its own.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Android)
    import Android
#elseif canImport(Darwin)
    import Darwin
#endif

/// Held as long as the value lives. The system releases it when the process dies, however it dies.
final class SyncLock: Sendable {
    private let descriptor: Int32

    /// Throws `syncInProgress` when someone else holds it.
    init(path: String) throws {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw ReplicaError(.storage, "cannot open \(path): \(String(cString: strerror(errno)))", operation: "sync")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let reason = errno
            close(descriptor)
            if reason == EWOULDBLOCK {
                throw ReplicaError(.syncInProgress, "another process is syncing this file", operation: "sync", isRetryable: true)
            }
            throw ReplicaError(.storage, "cannot lock \(path): \(String(cString: strerror(reason)))", operation: "sync")
        }
        self.descriptor = descriptor
    }

    deinit {
        // Closing alone is not enough: a child between fork and exec holds the same lock for a moment.
        flock(descriptor, LOCK_UN)
        close(descriptor)
    }
}
