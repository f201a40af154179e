// Webhooks over HTTPS: Foundation's URLSession for TLS and the system's trust store, EgressForwarder for where it connects.

import Foundation
import SyncProtocol

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

/// @unchecked Sendable: the session is made in `init` and guards itself.
final class SecureWebhookSender: WebhookSender, @unchecked Sendable {
    private let resolver: HostResolver
    private let limits: WebhookLimits
    private let exchanges = SecureExchanges()
    private let session: URLSession

    /// Without an ``EgressForwarder`` that took over the environment nothing here keeps URLSession from resolving again.
    init(resolver: HostResolver, limits: WebhookLimits = WebhookLimits()) {
        self.resolver = resolver
        self.limits = limits
        let configuration = URLSessionConfiguration.ephemeral
        configuration.timeoutIntervalForRequest = limits.attemptSeconds
        configuration.timeoutIntervalForResource = limits.attemptSeconds
        configuration.httpCookieStorage = nil
        configuration.httpShouldSetCookies = false
        configuration.urlCache = nil
        configuration.urlCredentialStorage = nil
        session = URLSession(configuration: configuration, delegate: exchanges, delegateQueue: nil)
    }

    func send(_ request: WebhookRequest) -> AttemptResult {
        do {
            // For the words of the refusal; the forwarder decides again, on the address it then connects to.
            _ = try resolver.endpoints(host: request.url.host, port: request.url.port)
        } catch let failure as AttemptFailure {
            return .failed(failure.failure, failure.message)
        } catch {
            return .failed(.dns, "\(error)")
        }
        guard let url = URL(string: request.url.text) else { return .failed(.protocolError, "the URL is not one for URLSession") }
        var outgoing = URLRequest(url: url)
        outgoing.httpMethod = "POST"
        for header in request.headers { outgoing.setValue(header.value, forHTTPHeaderField: header.name) }
        let task = session.uploadTask(with: outgoing, from: Data(request.body))
        let exchange = exchanges.begin(task)
        task.resume()
        let result = exchange.wait(seconds: limits.attemptSeconds)
        // Whatever body is still coming is not waited for.
        task.cancel()
        return result ?? .failed(.timeout, "no answer in time")
    }
}

/// One task's answer, waited for by one thread. @unchecked Sendable: `result` is only touched under the condition.
private final class SecureExchange: @unchecked Sendable {
    private let condition = NSCondition()
    private var result: AttemptResult?

    /// nil when the time ran out.
    func wait(seconds: Double) -> AttemptResult? {
        let limit = Date(timeIntervalSinceNow: seconds)
        condition.lock()
        defer { condition.unlock() }
        while result == nil {
            if !condition.wait(until: limit) { break }
        }
        return result
    }

    /// The first word counts.
    func finish(_ found: AttemptResult) {
        condition.lock()
        if result == nil { result = found }
        condition.broadcast()
        condition.unlock()
    }
}

/// The session's delegate: on Linux tasks have none of their own. @unchecked Sendable: `open` is only touched under the lock.
private final class SecureExchanges: NSObject, URLSessionDataDelegate, @unchecked Sendable {
    private let lock = NSLock()
    private var open: [Int: SecureExchange] = [:]

    func begin(_ task: URLSessionTask) -> SecureExchange {
        let exchange = SecureExchange()
        lock.withLock { open[task.taskIdentifier] = exchange }
        return exchange
    }

    /// URLSession on Linux reports the forwarder's own answer to CONNECT as a response, long before there is TLS. That one is
    /// marked and never counts; a certificate that is refused then ends in an error with that response beside it.
    private func answer(_ task: URLSessionTask, _ response: URLResponse?) {
        guard let response = response as? HTTPURLResponse, response.value(forHTTPHeaderField: EgressForwarder.mark) == nil else { return }
        lock.withLock { open[task.taskIdentifier] }?.finish(
            WebhookAnswer.result(status: response.statusCode, retryAfter: response.value(forHTTPHeaderField: "Retry-After")))
    }

    func urlSession(
        _: URLSession, task: URLSessionTask, willPerformHTTPRedirection response: HTTPURLResponse, newRequest _: URLRequest,
        completionHandler: @escaping (URLRequest?) -> Void
    ) {
        answer(task, response)
        completionHandler(nil)
    }

    func urlSession(
        _: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
        completionHandler: @escaping (URLSession.ResponseDisposition) -> Void
    ) {
        answer(dataTask, response)
        // The sender cancels as soon as it has heard.
        completionHandler(.allow)
    }

    func urlSession(_: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
        if error == nil { answer(task, task.response) }
        guard let exchange = lock.withLock({ open.removeValue(forKey: task.taskIdentifier) }) else { return }
        if let error = error as? URLError, error.code == .timedOut {
            exchange.finish(.failed(.timeout, "no answer in time"))
        } else {
            let words = (error as NSError?)?.localizedDescription ?? "no answer"
            let isTLS = words.localizedCaseInsensitiveContains("ssl") || words.localizedCaseInsensitiveContains("certificate")
            exchange.finish(.failed(isTLS ? .tls : .network, words))
        }
    }
}

/// Sends each URL its way.
struct WebhookSenders: WebhookSender {
    let plain: any WebhookSender
    let secure: any WebhookSender

    func send(_ request: WebhookRequest) -> AttemptResult {
        request.url.isSecure ? secure.send(request) : plain.send(request)
    }
}
