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
        session = URLSession(configuration: configuration)
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
        let exchange = SecureExchange()
        let task = session.uploadTask(with: outgoing, from: Data(request.body))
        task.delegate = exchange
        task.resume()
        guard let result = exchange.wait(seconds: limits.attemptSeconds) else {
            task.cancel()
            return .failed(.timeout, "no answer in time")
        }
        // Whatever body is still coming is not waited for.
        task.cancel()
        return result
    }
}

/// One task's answer. @unchecked Sendable: `result` is only touched under the condition.
private final class SecureExchange: NSObject, URLSessionDataDelegate, @unchecked Sendable {
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

    private func finish(_ found: AttemptResult) {
        condition.lock()
        if result == nil { result = found }
        condition.broadcast()
        condition.unlock()
    }

    func urlSession(
        _: URLSession, task _: URLSessionTask, willPerformHTTPRedirection response: HTTPURLResponse, newRequest _: URLRequest,
        completionHandler: @escaping (URLRequest?) -> Void
    ) {
        finish(WebhookAnswer.result(status: response.statusCode, retryAfter: nil))
        completionHandler(nil)
    }

    func urlSession(
        _: URLSession, dataTask _: URLSessionDataTask, didReceive response: URLResponse,
        completionHandler: @escaping (URLSession.ResponseDisposition) -> Void
    ) {
        if let response = response as? HTTPURLResponse {
            finish(
                WebhookAnswer.result(
                    status: response.statusCode, retryAfter: response.value(forHTTPHeaderField: "Retry-After")))
        }
        completionHandler(.cancel)
    }

    func urlSession(_: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
        if let response = task.response as? HTTPURLResponse {
            finish(
                WebhookAnswer.result(
                    status: response.statusCode, retryAfter: response.value(forHTTPHeaderField: "Retry-After")))
        } else if let error = error as? URLError, error.code == .timedOut {
            finish(.failed(.timeout, "no answer in time"))
        } else {
            let words = (error as NSError?)?.localizedDescription ?? "no answer"
            let isTLS = words.localizedCaseInsensitiveContains("ssl") || words.localizedCaseInsensitiveContains("certificate")
            finish(.failed(isTLS ? .tls : .network, words))
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
