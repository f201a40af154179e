// Sockets layer: what a refused system call looks like before the server translates it for its callers.
import Foundation

/// A system call that failed: its name and the `errno` it left.
struct SocketError: Error, Equatable, CustomStringConvertible {
    let operation: String
    let errorNumber: Int32

    init(_ operation: String, errorNumber: Int32 = errno) {
        self.operation = operation
        self.errorNumber = errorNumber
    }

    var message: String { String(cString: strerror(errorNumber)) }
    var description: String { "\(operation): \(message)" }

    /// True when the same call may succeed later without anyone changing the arguments.
    var isRetryable: Bool {
        switch errorNumber {
        case EADDRINUSE, EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EAGAIN, EINTR: true
        default: false
        }
    }
}
