// Server layer: one open connection as the event loop keeps it.

/// A socket, the state machine that decides for it, and what the loop knows about both. Belongs to the loop's thread.
final class HTTPConnection {
    let socket: StreamSocket
    /// Tells this connection from an earlier one with the same descriptor number.
    let generation: UInt32
    let peerAddress: String
    /// True for a connection over the cap, which only gets its refusal.
    let isOverCap: Bool

    var state: HTTPConnectionState
    /// The kernel may have bytes for us; false once it said that it has none.
    var isReadable = false
    /// The kernel may take bytes; false once it said that it does not.
    var isWritable = true
    /// The peer has finished sending, which we may learn while we do not read.
    var peerHasFinished = false
    var timer: HTTPConnectionState.Timer?
    /// When the first byte of the current request was seen, in nanoseconds.
    var requestStartedAt: Int64?

    /// What `state` kept when it was last looked at, and since when that is worth counting.
    var heldBytes = 0
    var heldSince: Int64 = 0

    /// Of the request with a worker, and how often that was looked up again.
    var laneChanges = 0
    var lane = HTTPLane(key: "", isWrite: false)
    /// The request with a worker, or parked, or being answered.
    var exchange: HTTPExchange?
    var parkedTopic: String?
    /// Set by the first time the request is parked.
    var parkDeadline: Int64?
    /// The record of the response being sent; its time and size are filled in when it has been.
    var answer: (requestID: String, method: String, path: String, status: Int, bytesIn: Int)?
    var answerBytesSent = 0

    var slot: Int { Int(socket.descriptor) }

    init(
        socket: StreamSocket, generation: UInt32, peerAddress: String, isOverCap: Bool,
        configuration: HTTPServerConfiguration
    ) {
        self.socket = socket
        self.generation = generation
        self.peerAddress = peerAddress
        self.isOverCap = isOverCap
        state = HTTPConnectionState(configuration: configuration)
    }
}
