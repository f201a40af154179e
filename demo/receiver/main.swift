// A receiver of webhooks as small as one can be and still do it right: checks the signature, remembers ids, then answers.
//
//   demo-receiver SECRET_FILE LOG_FILE     listens on loopback, prints its port, appends one line for every new event
//
// It refuses the first two requests, as a receiver that is just being restarted would.

import Foundation
import SyncProtocol

func stop(_ message: String) -> Never {
    FileHandle.standardError.write(Data("demo-receiver: \(message)\n".utf8))
    exit(1)
}

guard CommandLine.arguments.count == 3 else { stop("usage: demo-receiver SECRET_FILE LOG_FILE") }
let (secretFile, logFile) = (CommandLine.arguments[1], CommandLine.arguments[2])
#if canImport(Glibc)
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
#else
    let listener = socket(AF_INET, SOCK_STREAM, 0)
#endif
var address = sockaddr_in()
address.sin_family = sa_family_t(AF_INET)
address.sin_addr.s_addr = inet_addr("127.0.0.1")
var size = socklen_t(MemoryLayout<sockaddr_in>.size)
let isListening = withUnsafeMutablePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, size) == 0 && listen(listener, 16) == 0 && getsockname(listener, $0, &size) == 0
    }
}
guard isListening else { stop("cannot listen") }
FileHandle.standardOutput.write(Data("\(UInt16(bigEndian: address.sin_port))\n".utf8))

/// Header fields in lower case and the body; nil when the request ended too soon.
func read(_ connection: Int32) -> (fields: [String: String], body: [UInt8])? {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    var end: Int?
    var fields: [String: String] = [:]
    while true {
        if end == nil, let found = String(decoding: bytes, as: UTF8.self).range(of: "\r\n\r\n") {
            let head = String(String(decoding: bytes, as: UTF8.self)[..<found.lowerBound])
            end = head.utf8.count + 4
            for line in head.components(separatedBy: "\r\n").dropFirst() {
                let parts = line.split(separator: ":", maxSplits: 1)
                if parts.count == 2 { fields[parts[0].lowercased()] = parts[1].trimmingCharacters(in: .whitespaces) }
            }
        }
        if let end, let length = fields["content-length"].flatMap(Int.init), bytes.count >= end + length {
            return (fields, Array(bytes[end..<(end + length)]))
        }
        let count = recv(connection, &chunk, chunk.count, 0)
        guard count > 0 else { return nil }
        bytes += chunk[..<count]
    }
}

/// Whether one of the signatures is made with the secret.
func isOurs(_ fields: [String: String], _ body: [UInt8]) -> Bool {
    guard let text = try? String(contentsOfFile: secretFile, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines),
        let key = Data(base64Encoded: String(text.dropFirst("whsec_".count))), let id = fields["webhook-id"],
        let timestamp = fields["webhook-timestamp"], let seconds = Double(timestamp), abs(seconds - Date().timeIntervalSince1970) < 300
    else { return false }
    let expected = HMACSHA256.authenticate(Array("\(id).\(timestamp).".utf8) + body, key: Array(key))
    return (fields["webhook-signature"] ?? "").split(separator: " ").contains { one in
        guard one.hasPrefix("v1,"), let given = Data(base64Encoded: String(one.dropFirst(3))) else { return false }
        return constantTimeEqual(Array(given), expected)
    }
}

var known: Set<String> = []
var requests = 0
while true {
    let connection = accept(listener, nil, nil)
    guard connection >= 0 else { continue }
    defer { close(connection) }
    guard let (fields, body) = read(connection) else { continue }
    requests += 1
    var status = "204 No Content"
    if requests <= 2 {
        status = "503 Service Unavailable"
    } else if !isOurs(fields, body) {
        status = "401 Unauthorized"
    } else if let id = fields["webhook-id"], known.insert(id).inserted {
        // A real one stores this with its id before it answers.
        if !FileManager.default.fileExists(atPath: logFile) { _ = FileManager.default.createFile(atPath: logFile, contents: nil) }
        guard let log = FileHandle(forWritingAtPath: logFile) else { stop("cannot write \(logFile)") }
        log.seekToEndOfFile()
        log.write(Data(body) + Data("\n".utf8))
        try? log.close()
    }
    let answer = Array("HTTP/1.1 \(status)\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".utf8)
    _ = send(connection, answer, answer.count, 0)
}
