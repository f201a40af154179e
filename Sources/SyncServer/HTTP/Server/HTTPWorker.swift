// Server layer: the seam between the server and whatever answers requests.

/// Why a worker sees a request.
enum HTTPAttempt: Sendable, Equatable {
    case first
    /// The topic the request was parked on was poked.
    case woken
    /// The request has been parked as long as it may, or the server is draining. The worker must respond now.
    case deadline
}

enum HTTPReply: Sendable {
    case respond(HTTPResponse)
    /// Keep the request until `topic` is poked or the deadline passes; it costs no thread meanwhile. A poke that came
    /// after this attempt was dispatched counts. The first deadline of a request stands: parking again cannot extend
    /// it.
    case park(topic: String, deadlineMilliseconds: Int)
    /// The request belongs to another lane; see `HTTPWorker.belongsElsewhere`.
    case changeLane
}

/// Handles requests on one thread: made there, used only there, released there. It may block.
protocol HTTPWorker: AnyObject {
    func handle(_ request: HTTPRequest, attempt: HTTPAttempt) -> HTTPReply

    /// True when the request waited in a lane that is not the one it has by now, because the worker knows whom it is for. Asked before
    /// the first attempt; the request then waits for its turn there.
    func belongsElsewhere(_ request: HTTPRequest, lane: HTTPLane) -> Bool
}

extension HTTPWorker {
    func belongsElsewhere(_: HTTPRequest, lane _: HTTPLane) -> Bool { false }
}
