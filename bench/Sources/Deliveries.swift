// How fast events of the feed reach other systems: webhooks on loopback, one and several, and a consumer that pulls, each beside the
// same bytes sent to the same receiver with nothing around it; and how long one event takes from its write to the receiver.

import Foundation
import SyncProtocol

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

struct Deliveries {
    let url: URL
    let token: String

    struct Failure: Error { var message: String }

    /// Needs a feed of at least so many entries.
    func run(events: Int) async throws -> [JSONObject] {
        let receiver = try CountingReceiver()
        let head = try await ask("POST", "consumers", ["name": "bench-head", "kind": "pull"])["head"]?.integerValue ?? 0
        guard head >= Int64(events) else { throw Failure(message: "the feed has only \(head) entries") }
        let start = JSONValue.integer(head - Int64(events))
        var lines: [JSONObject] = []
        for (name, order, concurrency, consumers) in [
            ("one consumer, in order", "tenant", Int64(1), 1), ("one consumer, 8 at a time in order of records", "record", 8, 1),
            ("8 consumers, each in order", "tenant", 1, 8),
        ] {
            let each = events / consumers
            receiver.reset()
            let began = Date()
            for number in 0..<consumers {
                _ = try await ask(
                    "POST", "consumers",
                    [
                        "name": .string("bench-\(order)-\(number)"), "url": .string(receiver.url), "from": .integer(head - Int64(each)),
                        "ordered_by": .string(order), "concurrency": .integer(concurrency),
                    ])
            }
            // Not a count: a few entries of the feed never leave the server.
            for number in 0..<consumers { try await emptied("bench-\(order)-\(number)") }
            let seconds = Date().timeIntervalSince(began)
            let sent = receiver.received
            for number in 0..<consumers { _ = try await ask("DELETE", "consumers/bench-\(order)-\(number)", nil) }
            let raw = try receiver.rawRate(requests: min(events, 3_000))
            lines.append([
                "measure": "webhook", "data": .string("\(sent) events, \(name)"),
                "events_per_second": rate(sent, seconds), "raw_posts_per_second": .integer(Int64(raw)),
                "ratio_to_raw": .string(String(format: "%.2f", Double(sent) / seconds / raw)),
                "note": "raw: the last body to the same receiver, one request after another, each on a connection of its own",
            ])
        }
        lines.append(try await latency(receiver, writes: 100))
        _ = try await ask("POST", "consumers", ["name": "bench-pull", "kind": "pull", "from": start])
        var (count, bytes) = (0, 0)
        let began = Date()
        while true {
            let page = try await data("GET", "consumers/bench-pull/events?limit=1000", nil)
            let json = try JSONValue(parsing: page)
            count += json["data"]?.arrayValue?.count ?? 0
            bytes += page.count
            _ = try await ask("POST", "consumers/bench-pull/ack", ["position": json["position"] ?? 0, "epoch": json["epoch"] ?? 0])
            if json["has_more"] != true { break }
        }
        let seconds = Date().timeIntervalSince(began)
        lines.append([
            "measure": "pulled_events", "data": .string("\(count) events, 1,000 a page, each page acknowledged"),
            "events_per_second": rate(count, seconds), "bytes": .integer(Int64(bytes)),
            "note": "read as JSON by the consumer; raw_feed_read below is its limit",
        ])
        for name in ["head", "pull"] { _ = try await ask("DELETE", "consumers/bench-\(name)", nil) }
        return lines
    }

    /// Until a consumer has been told everything.
    @inline(never)
    private func emptied(_ name: String) async throws {
        while true {
            let state = try await ask("GET", "consumers/\(name)", nil)
            if state["lag"] == 0, state["open"] == 0 { return }
            try await Task.sleep(nanoseconds: 5_000_000)
        }
    }

    /// From the moment before a write is asked for to the receiver's having its event, one write at a time.
    private func latency(_ receiver: CountingReceiver, writes: Int) async throws -> JSONObject {
        _ = try await ask("POST", "consumers", ["name": "bench-latency", "url": .string(receiver.url)])
        var milliseconds: [Double] = []
        for number in 0..<writes { milliseconds.append(try await millisecondsOfOneEvent(receiver, number)) }
        _ = try await ask("DELETE", "consumers/bench-latency", nil)
        let sorted = milliseconds.sorted()
        return [
            "measure": "webhook_latency", "data": .string("\(writes) writes by REST"), "p50_ms": Deliveries.text(sorted, 0.5),
            "p95_ms": Deliveries.text(sorted, 0.95),
            "note": "the write itself included",
        ]
    }

    @inline(never)
    private func millisecondsOfOneEvent(_ receiver: CountingReceiver, _ number: Int) async throws -> Double {
        receiver.reset()
        let began = Date()
        _ = try await ask("POST", "client", ["name": .string("Latency \(number)")])
        receiver.wait(for: 1)
        return Date().timeIntervalSince(began) * 1000
    }

    private static func text(_ sorted: [Double], _ share: Double) -> JSONValue {
        .string(String(format: "%.1f", sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]))
    }

    private func rate(_ count: Int, _ seconds: Double) -> JSONValue { .integer(Int64(Double(count) / max(seconds, 0.000_001))) }

    @inline(never)
    private func ask(_ method: String, _ path: String, _ body: JSONValue?) async throws -> JSONValue {
        try JSONValue(parsing: try await data(method, path, body))
    }

    private func data(_ method: String, _ path: String, _ body: JSONValue?) async throws -> [UInt8] {
        guard let address = URL(string: "\(url.absoluteString)/v1/\(path)") else { throw Failure(message: "no address for \(path)") }
        var request = URLRequest(url: address)
        request.httpMethod = method
        request.setValue("Bearer \(token)", forHTTPHeaderField: "Authorization")
        if body != nil { request.setValue("application/json", forHTTPHeaderField: "Content-Type") }
        request.httpBody = body.map { Data($0.canonicalBytes()) }
        let (data, response) = try await URLSession.shared.data(for: request)
        guard let status = (response as? HTTPURLResponse)?.statusCode, (200...299).contains(status) else {
            throw Failure(message: "\(method) \(path): \(String(decoding: data, as: UTF8.self))")
        }
        return Array(data)
    }
}

/// Answers 204 to every request and counts them. @unchecked Sendable: everything mutable is touched under the condition only.
private final class CountingReceiver: @unchecked Sendable {
    private let condition = NSCondition()
    private let listener: Int32
    private let port: UInt16
    private var count = 0
    private var last: [UInt8] = []

    var url: String { "http://127.0.0.1:\(port)/" }

    init() throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = CountingReceiver.loopback(port: 0)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) == 0 && listen(listener, 128) == 0 && getsockname(listener, $0, &size) == 0
            }
        }
        guard isBound else { throw Deliveries.Failure(message: "no port to listen on") }
        self.listener = listener
        port = UInt16(bigEndian: address.sin_port)
        Thread.detachNewThread { [self] in
            while case let connection = accept(listener, nil, nil), connection >= 0 {
                Thread.detachNewThread { self.serve(connection) }
            }
        }
    }

    deinit { close(listener) }

    @inline(never)
    func reset() { condition.withLock { count = 0 } }

    var received: Int { condition.withLock { count } }

    @inline(never)
    func wait(for wanted: Int) {
        condition.lock()
        while count < wanted { condition.wait() }
        condition.unlock()
    }

    /// Requests a second when the receiver is asked directly, with the bytes of the last delivery.
    func rawRate(requests: Int) throws -> Double {
        let bytes = condition.withLock { last }
        let began = Date()
        var answer = [UInt8](repeating: 0, count: 256)
        for _ in 0..<requests {
            let connection = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(connection) }
            var address = CountingReceiver.loopback(port: port)
            let size = socklen_t(MemoryLayout<sockaddr_in>.size)
            let isOpen = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(connection, $0, size) == 0 }
            }
            guard isOpen, send(connection, bytes, bytes.count, 0) == bytes.count, recv(connection, &answer, answer.count, 0) > 0 else {
                throw Deliveries.Failure(message: "the receiver does not answer")
            }
        }
        return Double(requests) / Date().timeIntervalSince(began)
    }

    private func serve(_ connection: Int32) {
        defer { close(connection) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        let answer = Array("HTTP/1.1 204 No Content\r\n\r\n".utf8)
        while true {
            let received = recv(connection, &chunk, chunk.count, 0)
            guard received > 0 else { return }
            bytes += chunk[..<received]
            while let length = CountingReceiver.length(bytes), bytes.count >= length {
                condition.withLock {
                    count += 1
                    last = Array(bytes[..<length])
                    condition.broadcast()
                }
                bytes.removeFirst(length)
                guard send(connection, answer, answer.count, 0) == answer.count else { return }
            }
        }
    }

    /// Of the first request with its body; nil while its head is not there.
    private static func length(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 4, let end = (0...(bytes.count - 4)).first(where: { Array(bytes[$0..<($0 + 4)]) == [13, 10, 13, 10] }) else {
            return nil
        }
        let head = String(decoding: bytes[..<end], as: UTF8.self).lowercased()
        let length = head.components(separatedBy: "content-length:").dropFirst().first.map { $0.prefix { $0 != "\r\n" && $0 != "\r" } }
        return end + 4 + (length.flatMap { Int($0.trimmingCharacters(in: .whitespaces)) } ?? 0)
    }

    private static func loopback(port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        return address
    }
}
