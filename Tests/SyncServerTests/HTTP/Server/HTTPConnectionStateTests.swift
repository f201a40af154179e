// Mirrors HTTP/Server/HTTPConnectionState.swift: the whole life of a connection without a socket.
import Testing

@testable import SyncServer

@Suite struct HTTPConnectionStateTests {
    private var writer = HTTPResponseWriter()

    private func state(_ configure: (inout HTTPServerConfiguration) -> Void = { _ in }) -> HTTPConnectionState {
        var configuration = HTTPServerConfiguration()
        configure(&configuration)
        return HTTPConnectionState(configuration: configuration)
    }

    private func feed(_ state: inout HTTPConnectionState, _ text: String) -> String {
        Array(text.utf8).withUnsafeBytes { name(state.received($0)) }
    }

    private mutating func answer(_ state: inout HTTPConnectionState, mayKeep: Bool = true) -> (
        wire: String, next: String
    ) {
        let instruction = state.respond(
            .text(200, "ok"), requestID: "r", mayKeepConnection: mayKeep, secondsSince1970: 0, writer: &writer)
        #expect(name(instruction) == "send")
        let bytes = state.output.withUnsent { Array($0) + Array($1) }
        state.output.markSent(bytes.count)
        return (String(decoding: bytes, as: UTF8.self), name(state.finishedSending()))
    }

    private func name(_ instruction: HTTPConnectionState.Instruction) -> String {
        switch instruction {
        case .receive(let timer, let restarts): "receive \(timer)\(restarts ? " anew" : "")"
        case .dispatch(let request): "dispatch \(request.path)"
        case .refuse(let refusal): "refuse \(refusal.status)"
        case .send: "send"
        case .linger: "linger"
        case .close: "close"
        }
    }

    @Test mutating func connection_handlesPipelinedRequests_oneAtATime() {
        var state = state()
        let request = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3"
        #expect(feed(&state, request) == "dispatch /1")
        #expect(state.phase == .handling)
        #expect(answer(&state).next == "dispatch /2")
        #expect(answer(&state).next == "receive head")
        #expect(feed(&state, " HTTP/1.1\r\nHost: a\r\n\r\n") == "dispatch /3")
        #expect(answer(&state).next == "receive idle anew")
        #expect(state.isIdle)
    }

    @Test mutating func connection_lingers_whenEitherSideEndsIt() {
        var byClient = state()
        #expect(feed(&byClient, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") == "dispatch /")
        let closed = answer(&byClient)
        #expect(closed.wire.contains("Connection: close\r\n"))
        #expect(closed.next == "linger")

        var byServer = state()
        #expect(feed(&byServer, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") == "dispatch /")
        #expect(answer(&byServer, mayKeep: false).next == "linger")

        var byCount = state { $0.requestsPerConnection = 2 }
        #expect(feed(&byCount, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") == "dispatch /")
        #expect(answer(&byCount).next == "receive idle anew")
        #expect(feed(&byCount, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") == "dispatch /")
        #expect(answer(&byCount).next == "linger")
    }

    @Test mutating func connection_endsAfterItsRefusal() {
        var state = state()
        #expect(feed(&state, "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n") == "refuse 400")
        let refused = answer(&state)
        #expect(refused.wire.contains("Connection: close\r\n"))
        #expect(refused.next == "linger")
    }

    @Test mutating func refusal_hasNoBody_whenTheMethodWasHead() {
        var state = state()
        #expect(feed(&state, "HEAD / HTTP/1.1\r\n\r\n") == "refuse 400")
        #expect(answer(&state).wire.hasSuffix("\r\n\r\n"))
    }

    @Test func continue_isSent_onlyWhenTheBodyWillBeRead() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
        var wanted = state()
        #expect(feed(&wanted, head + "Content-Length: 2\r\n\r\n") == "receive body anew")
        #expect(wanted.output.withUnsent { first, _ in Array(first) } == HTTPResponseWriter.continueLine)

        var tooLarge = state { $0.message.bodyBytes = 1 }
        #expect(feed(&tooLarge, head + "Content-Length: 2\r\n\r\n") == "refuse 413")
        #expect(tooLarge.output.isEmpty)

        var here = state()
        #expect(feed(&here, head + "Content-Length: 2\r\n\r\nhi") == "dispatch /")
        #expect(here.output.isEmpty)
    }

    @Test func timeouts_dependOnWhatWasReceived() {
        var idle = state()
        #expect(name(idle.timedOut()) == "close")
        var head = state()
        #expect(feed(&head, "GET") == "receive head")
        #expect(name(head.timedOut()) == "refuse 408")
        var body = state()
        #expect(feed(&body, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n") == "receive body anew")
        #expect(name(body.timedOut()) == "refuse 408")
    }

    @Test func bodyTimeout_beginsAnew_onlyWithEnoughProgress() {
        var state = state { $0.bodyProgressBytes = 4 }
        #expect(feed(&state, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n") == "receive body anew")
        #expect(feed(&state, "abc") == "receive body")
        #expect(feed(&state, "d") == "receive body anew")
        #expect(feed(&state, "efg") == "receive body")
    }
}
