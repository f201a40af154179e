// How much the transport on Foundation's networking keeps of an answer.

#if canImport(Glibc)
    import Foundation
    import SyncProtocol
    import TestSupport
    import Testing

    @testable import Replica

    @Suite struct BoundedRepliesTests {
        private static let most = 100_000

        private func answer(_ script: [ServerStep]) async throws -> Result<[UInt8], TransportFailure> {
            let listener = try ScriptedListener([[.readRequest] + script + [.close]])
            let url = try #require(URL(string: "http://127.0.0.1:\(listener.port)"))
            let transport = URLSessionTransport(server: url, bodyBytesMax: Self.most)
            do { return .success(try await transport.digest(token: "t")) } catch let failure as TransportFailure {
                return .failure(failure)
            }
        }

        @Test func answerToAnotherRequest_isTakenForNone_andItsConnectionIsGivenUp() async throws {
            let stranger = "\(Correlation.header): 0b5c1c52-0000-4000-8000-000000000001\r\n"
            let error = #"{"error":{"code":"new_epoch","message":"restored"}}"#
            let listener = try ScriptedListener([
                [.readRequest, .answer("one"), .readRequest, .reply("two", headers: stranger), .holdUntilClosed],
                [.readRequest, .reply(error, status: "409 Conflict", headers: stranger), .holdUntilClosed],
                [.readRequest, .answer("three"), .close],
            ])
            let url = try #require(URL(string: "http://127.0.0.1:\(listener.port)"))
            let transport = URLSessionTransport(server: url)
            #expect(try await transport.digest(token: "t") == Array("one".utf8))
            for _ in 0..<2 {
                do {
                    let bytes = try await transport.digest(token: "t")
                    Issue.record("taken: \(String(decoding: bytes, as: UTF8.self))")
                } catch TransportFailure.malformed(let message) { #expect(message.contains("another request")) }
            }
            #expect(try await transport.digest(token: "t") == Array("three".utf8))
            #expect(Set(listener.requests.compactMap(ScriptedListener.correlation)).count == 4)
        }

        @Test(arguments: [1, most, most + 1, 3 * most])
        func answer_isReadUpToItsLimit_howeverItsLengthIsSaid(count: Int) async throws {
            let body = [UInt8](repeating: 0x20, count: count)
            let chunk = Array("\(String(count, radix: 16))\r\n".utf8) + body + Array("\r\n0\r\n\r\n".utf8)
            for script in [
                [ServerStep.text("HTTP/1.1 200 OK\r\nContent-Length: \(count)\r\n\r\n"), .send(body)],
                [.text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), .send(chunk)],
                [.text("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"), .send(body)],
            ] {
                let read = try await answer(script)
                switch read {
                case .success(let bytes): #expect(bytes == body && count <= Self.most)
                case .failure(let failure): #expect(failure == .malformed("the answer is too large") && count > Self.most, "\(failure)")
                }
            }
        }

        /// An error has a body too.
        @Test func refusal_isReadAsOne() async throws {
            let text = #"{"error":{"code":"limit_reached","message":"full","request_id":"r"}}"#
            guard case .failure(.reply(let reply, 429)) = try await answer([.reply(text, status: "429 Too Many Requests")]) else {
                Issue.record("not a reply")
                return
            }
            #expect(reply.knownCode == .limitReached && reply.message == "full")
        }
    }
#endif
