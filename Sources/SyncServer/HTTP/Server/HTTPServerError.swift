// Server layer: why a server could not start. What happens to single requests is never an error of this type.

struct HTTPServerError: Error, Sendable, CustomStringConvertible {
    enum Code: String, Sendable {
        /// The listen address is not `HOST:PORT`.
        case invalidAddress = "invalid_address"
        /// The address cannot be resolved, bound or listened on.
        case cannotListen = "cannot_listen"
        /// The kernel refused an event queue or the like.
        case cannotPoll = "cannot_poll"
        /// A worker could not be made; the message says why.
        case workerFailed = "worker_failed"
        /// The server was started before; a stopped server does not start again.
        case alreadyStarted = "already_started"
    }

    let code: Code
    let message: String
    /// What was being done, e.g. `bind`.
    let operation: String
    let isRetryable: Bool

    init(_ code: Code, _ message: String, operation: String, isRetryable: Bool = false) {
        self.code = code
        self.message = message
        self.operation = operation
        self.isRetryable = isRetryable
    }

    init(_ code: Code, _ error: SocketError) {
        self.init(code, error.message, operation: error.operation, isRetryable: error.isRetryable)
    }

    var description: String { "\(code.rawValue): \(operation): \(message)" }
}
