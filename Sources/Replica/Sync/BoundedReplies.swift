// Answers that Foundation's networking brings, kept up to a size: what it collects by itself has no bound.

#if canImport(FoundationNetworking) || canImport(Darwin)
    import Foundation

    #if canImport(FoundationNetworking)
        import FoundationNetworking
    #endif

    /// Collects the bodies of a session's tasks, after whatever coding they came in. One that grows beyond the limit ends its task.
    // @unchecked Sendable: what has come so far is only touched under the lock.
    final class BoundedReplies: NSObject, URLSessionDataDelegate, @unchecked Sendable {
        typealias Completion = @Sendable (Result<(Data, HTTPURLResponse), any Error>) -> Void

        private struct Reply {
            let completion: Completion
            var data = Data()
            var isTooLarge = false
        }

        private let bytesMax: Int
        private let lock = NSLock()
        private var replies: [Int: Reply] = [:]

        init(bytesMax: Int) { self.bytesMax = bytesMax }

        /// Before the task is started.
        func expect(_ task: URLSessionTask, _ completion: @escaping Completion) {
            lock.withLock { replies[task.taskIdentifier] = Reply(completion: completion) }
        }

        func urlSession(_: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
            let isTooLarge = lock.withLock {
                guard var reply = replies[dataTask.taskIdentifier], !reply.isTooLarge else { return false }
                replies[dataTask.taskIdentifier] = nil
                reply.isTooLarge = reply.data.count + data.count > bytesMax
                if reply.isTooLarge { reply.data = Data() } else { reply.data.append(data) }
                replies[dataTask.taskIdentifier] = reply
                return reply.isTooLarge
            }
            if isTooLarge { dataTask.cancel() }
        }

        func urlSession(_: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
            guard let reply = lock.withLock({ replies.removeValue(forKey: task.taskIdentifier) }) else { return }
            if reply.isTooLarge {
                reply.completion(.failure(TransportFailure.malformed("the answer is too large")))
            } else if let error {
                reply.completion(.failure(error))
            } else if let response = task.response as? HTTPURLResponse {
                reply.completion(.success((reply.data, response)))
            } else {
                reply.completion(.failure(TransportFailure.malformed("this is not an HTTP server")))
            }
        }
    }
#endif
