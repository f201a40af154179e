// Test support: a server on loopback that does exactly what a script says, connection by connection.

#if canImport(Glibc)
    import Foundation
    import Glibc
    import SyncProtocol
    import TestSupport

    struct ListenerFailure: Error, CustomStringConvertible {
        let description: String
    }

    /// One step with the connection at hand.
    enum ServerStep: Sendable {
        /// Reads a whole request, body included.
        case readRequest
        case send([UInt8])
        /// Answers the request that was read last, by its name.
        case answer(String)
        /// Ends the connection properly.
        case close
        /// Ends it with a reset.
        case reset
        /// Keeps it open until the client has gone.
        case holdUntilClosed

        static func text(_ text: String) -> ServerStep { .send(Array(text.utf8)) }

        static func reply(_ body: String, status: String = "200 OK", headers: String = "") -> ServerStep {
            .text("HTTP/1.1 \(status)\r\n\(headers)Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
        }
    }

    /// @unchecked Sendable: the listening socket is set once; what is shared is behind locks.
    final class ScriptedListener: @unchecked Sendable {
        let port: Int
        private let descriptor: Int32
        private let heads = Locked<[String]>([])
        private let connections = Locked(0)
        private let closes = Locked(0)
        private let done = DispatchSemaphore(value: 0)

        /// - Parameter scripts: one for each connection, in the order they are made; further connections are refused.
        init(_ scripts: [[ServerStep]]) throws {
            (descriptor, port) = try ScriptedListener.listen(backlog: 16)
            let listener = self
            Thread.detachNewThread { listener.serve(scripts) }
        }

        private init(descriptor: Int32, port: Int) {
            self.descriptor = descriptor
            self.port = port
        }

        deinit { close(descriptor) }

        /// A port that answers no one: its queue is full, so that connecting waits.
        static func unresponsive() throws -> (listener: ScriptedListener, fillers: [Int32]) {
            let (descriptor, port) = try listen(backlog: 0)
            var fillers: [Int32] = []
            for _ in 0..<4 {
                let filler = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
                var address = address(port: port)
                _ = withUnsafePointer(to: &address) {
                    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(filler, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
                }
                fillers.append(filler)
            }
            return (ScriptedListener(descriptor: descriptor, port: port), fillers)
        }

        /// A port on which nobody listens.
        static func closedPort() throws -> Int { try LoopbackPort.chosen() }

        /// Heads of the requests so far.
        var requests: [String] { heads.with { $0 } }
        var connectionCount: Int { connections.with { $0 } }
        /// Scripted connections that are over, by this side.
        var finishedCount: Int { closes.with { $0 } }

        private static func address(port: Int) -> sockaddr_in {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = UInt16(port).bigEndian
            address.sin_addr.s_addr = inet_addr("127.0.0.1")
            return address
        }

        private static func listen(backlog: Int32) throws -> (Int32, Int) {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            var address = address(port: 0)
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let code = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                    bind(descriptor, pointer, length) | Glibc.listen(descriptor, backlog) | getsockname(descriptor, pointer, &length)
                }
            }
            guard code == 0 else { throw ListenerFailure(description: String(cString: strerror(errno))) }
            return (descriptor, Int(UInt16(bigEndian: address.sin_port)))
        }

        private func serve(_ scripts: [[ServerStep]]) {
            for script in scripts {
                let connection = accept(descriptor, nil, nil)
                guard connection >= 0 else { return }
                connections.with { $0 += 1 }
                var patience = timeval(tv_sec: 120, tv_usec: 0)
                setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
                var isOpen = true
                for step in script where isOpen { isOpen = perform(step, connection) }
                if isOpen { close(connection) }
                closes.with { $0 += 1 }
            }
        }

        /// False when the connection is closed.
        private func perform(_ step: ServerStep, _ connection: Int32) -> Bool {
            switch step {
            case .readRequest: readRequest(connection)
            case .answer(let body):
                let id = Self.correlation(heads.with { $0.last } ?? "") ?? ""
                return perform(.reply(body, headers: "\(Correlation.header.uppercased()): \(id)\r\n"), connection)
            case .send(let bytes):
                var sent = 0
                while sent < bytes.count {
                    let count = bytes.withUnsafeBytes {
                        send(connection, $0.baseAddress.map { $0 + sent }, bytes.count - sent, Int32(MSG_NOSIGNAL))
                    }
                    guard count > 0 else { return true }
                    sent += count
                }
            case .close:
                close(connection)
                return false
            case .reset:
                var linger = linger(l_onoff: 1, l_linger: 0)
                setsockopt(connection, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
                close(connection)
                return false
            case .holdUntilClosed:
                var byte: UInt8 = 0
                while recv(connection, &byte, 1, 0) > 0 {}
            }
            return true
        }

        static func correlation(_ head: String) -> String? {
            let prefix = Correlation.header + ": "
            return head.split(separator: "\r\n").first { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }
        }

        private func readRequest(_ connection: Int32) {
            var bytes: [UInt8] = []
            var byte: UInt8 = 0
            while !bytes.suffix(4).elementsEqual([13, 10, 13, 10]) {
                guard recv(connection, &byte, 1, 0) == 1 else { return }
                bytes.append(byte)
            }
            let head = String(decoding: bytes, as: UTF8.self)
            let length = head.split(separator: "\r\n").first { $0.lowercased().hasPrefix("content-length:") }
                .flatMap { Int($0.dropFirst(15).trimmingCharacters(in: .whitespaces)) }
            for _ in 0..<(length ?? 0) where recv(connection, &byte, 1, 0) != 1 { return }
            heads.with { $0.append(head) }
        }
    }
#endif
