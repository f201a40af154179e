// Server layer: every limit of the server under a name, with its default.

struct HTTPServerConfiguration: Sendable {
    /// `HOST:PORT`; IPv6 literals in brackets, port 0 for one the kernel chooses.
    var listen = "127.0.0.1:8080"
    /// Worker threads. Each owns one worker, so this is also how many requests are handled at a time.
    var workers = 4
    /// Finished handshakes the kernel keeps until they are accepted.
    var backlog = 512
    /// Sizes of the parts of a request.
    var message = HTTPMessageLimits()
    /// Open connections. Over it: 503 `too_many_connections`, and the connection is closed.
    var connections = 10_000
    /// Requests parked on a topic. Over it: 503 `too_many_waiters` with Retry-After.
    var parkedRequests = 8_000
    /// Of those, kept for lanes with fewer parked than this, so that one lane cannot have them all.
    var parkedRequestsReserve = 1_000
    /// New requests waiting for a worker, beyond one for each worker. Over it: 503 `overloaded` with Retry-After, but
    /// not for the only request of a lane. Parked requests that were woken wait beside them and are never refused.
    var queuedRequests = 1_024
    /// The same for the requests of one lane.
    var queuedRequestsPerLane = 256
    /// Bytes of requests and responses held for all connections. Over it the connection that has kept bytes for the
    /// longest time is refused with 503 `overloaded`, or closed when it is one that reads its response slowly.
    var memoryBytes = 256 * 1024 * 1024
    /// Requests after which a connection is closed, so that a balancer in front can spread long-lived clients again.
    var requestsPerConnection = 10_000
    /// A connection without a request is closed after this time.
    var idleTimeoutSeconds = 75.0
    /// From the first byte of a request to the end of its headers. Over it: 408.
    var headerTimeoutSeconds = 10.0
    /// Time in which at least `bodyProgressBytes` of a body must come. Over it: 408.
    var bodyTimeoutSeconds = 30.0
    /// Fewer body bytes than this in `bodyTimeoutSeconds` count as no progress.
    var bodyProgressBytes = 16 * 1024
    /// Time in which the peer must take some bytes of a response. Over it the connection is closed.
    var writeTimeoutSeconds = 30.0
    /// How long a connection that the server ends is still read, so that the peer sees the response and not a reset.
    var lingerSeconds = 2.0
    /// Connections over the cap that may linger at a time; more are closed without an answer.
    var refusedConnections = 64
    /// The Retry-After of every 503 the server makes, in seconds.
    var retryAfterSeconds = 1
    /// Who a request is worked for; called on the event loop's thread, so it must not block. See `HTTPWorkQueue`. Nil: there is one lane
    /// for all, and it may have all workers.
    var lane: (@Sendable (HTTPRequest) -> HTTPLane)?
    /// Told of every job in the queue, under its lock.
    var observeQueue: (@Sendable (HTTPQueueEvent, HTTPJob) -> Void)?
    /// Called with every response before it is written, refusals included, if at least the target of its request was understood; of a
    /// request that was refused while it was received there are the headers that had come by then. On the event loop's thread.
    var amend: (@Sendable (HTTPRequest, inout HTTPResponse) -> Void)?
    /// Makes the response for a request that the server itself refuses. Status and Retry-After are the server's.
    var renderProblem: @Sendable (HTTPProblem) -> HTTPResponse = { $0.standardResponse() }
}
