// Why the private cluster could not be run: each with what the operator can do about it.

import Foundation

struct EmbeddedPostgresError: Error, Sendable, CustomStringConvertible {
    enum Code: String, Sendable {
        case binariesNotFound = "binaries_not_found"
        case versionNotInstalled = "version_not_installed"
        case directoryInUse = "directory_in_use"
        case directoryNotUsable = "directory_not_usable"
        case directoryNotTraversable = "directory_not_traversable"
        case initializationFailed = "initialization_failed"
        case startFailed = "start_failed"
        case stopped = "stopped"
    }

    let code: Code
    let message: String
    /// `find`, `lock`, `prepare`, `initialize`, `start`.
    let operation: String
    /// True where waiting can help: the directory is in use, or an earlier cluster is still going down.
    let isRetryable: Bool

    init(_ code: Code, _ message: String, operation: String) {
        self.code = code
        self.message = message
        self.operation = operation
        isRetryable = code == .directoryInUse || code == .startFailed
    }

    var description: String { "private postgres, \(operation): \(message)" }

    /// `errno` in words, read at the call.
    static var systemReason: String { String(cString: strerror(errno)) }
}
