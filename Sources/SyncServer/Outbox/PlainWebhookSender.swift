// Webhooks over plain HTTP/1.1: one connection an attempt, to the address that was checked.

import Foundation

struct PlainWebhookSender: WebhookSender {
    let resolver: HostResolver
    var limits = WebhookLimits()

    func send(_ request: WebhookRequest) -> AttemptResult {
        let deadline = Deadline(secondsFromNow: limits.attemptSeconds)
        do {
            let endpoints = try resolver.endpoints(host: request.url.host, port: request.url.port)
            let socket = try OutgoingSocket.connect(endpoints, by: deadline.earlier(secondsFromNow: limits.connectSeconds))
            try socket.send(PlainWebhookSender.bytes(of: request), by: deadline)
            return try PlainWebhookSender.answer(on: socket, by: deadline)
        } catch let failure as AttemptFailure {
            return .failed(failure.failure, failure.message)
        } catch {
            return .failed(.network, "\(error)")
        }
    }

    private static func bytes(of request: WebhookRequest) -> [UInt8] {
        var head = "POST \(request.url.target) HTTP/1.1\r\nhost: \(request.url.authority)\r\n"
        for header in request.headers { head += "\(header.name): \(header.value)\r\n" }
        head += "content-length: \(request.body.count)\r\nconnection: close\r\n\r\n"
        return Array(head.utf8) + request.body
    }

    /// The final answer's head decides; its body is only read away, as far as it comes by itself.
    private static func answer(on socket: borrowing OutgoingSocket, by deadline: Deadline) throws -> AttemptResult {
        var buffer: [UInt8] = []
        while true {
            if let head = try AnswerHead(taking: &buffer) {
                if (100...199).contains(head.status) { continue }
                readAway(head.contentLength, buffer.count, on: socket, by: deadline)
                return WebhookAnswer.result(status: head.status, retryAfter: head.retryAfter)
            }
            guard buffer.count < WebhookLimits.answerBytesMax else {
                throw AttemptFailure(.protocolError, "the head of the answer is too large")
            }
            let more = try socket.receive(by: deadline)
            guard !more.isEmpty else {
                throw AttemptFailure(
                    buffer.isEmpty ? .network : .protocolError, "the endpoint closed the connection without an answer")
            }
            buffer += more
        }
    }

    /// Closing with bytes unread would reset the connection under a receiver that is still writing.
    private static func readAway(_ length: Int?, _ received: Int, on socket: borrowing OutgoingSocket, by deadline: Deadline) {
        let wanted = min(length ?? WebhookLimits.answerBytesMax, WebhookLimits.answerBytesMax)
        var count = received
        let limit = deadline.earlier(secondsFromNow: 1)
        while count < wanted {
            guard let more = try? socket.receive(by: limit), !more.isEmpty else { return }
            count += more.count
        }
    }
}

/// The head of an HTTP answer, as far as a webhook's sender needs it.
struct AnswerHead: Equatable {
    let status: Int
    var retryAfter: String?
    var contentLength: Int?

    /// Takes a whole head from the front of the buffer; nil while it is not whole. Throws ``AttemptFailure``.
    init?(taking buffer: inout [UInt8]) throws {
        guard let end = AnswerHead.end(of: buffer) else { return nil }
        let lines = buffer[..<end].split(separator: 10, omittingEmptySubsequences: true).map { line in
            String(decoding: line.last == 13 ? line.dropLast() : line, as: UTF8.self)
        }
        buffer.removeFirst(end)
        let parts = (lines.first ?? "").split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count >= 2, parts[0].hasPrefix("HTTP/1."), parts[1].utf8.count == 3, let status = Int(parts[1]),
            (100...599).contains(status)
        else { throw AttemptFailure(.protocolError, "the endpoint does not speak HTTP/1.1") }
        self.status = status
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let value = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
            switch line[..<colon].lowercased() {
            case "retry-after": retryAfter = value
            case "content-length": contentLength = Int(value).flatMap { $0 >= 0 ? $0 : nil }
            default: break
            }
        }
        // These never have a body (RFC 9112 §6.3): nothing to wait for, whether the receiver closes the connection or not.
        if status == 204 || status == 304 { contentLength = 0 }
    }

    /// Where the empty line ends.
    private static func end(of bytes: [UInt8]) -> Int? {
        var index = 0
        while index < bytes.count {
            guard let feed = bytes[index...].firstIndex(of: 10) else { return nil }
            let line = bytes[index..<feed]
            if line.isEmpty || (line.count == 1 && line.first == 13) { return feed + 1 }
            index = feed + 1
        }
        return nil
    }
}
