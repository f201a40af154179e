// What both HTTP transports say the same way: queries, how much of an answer is read, and what an error status means.

import Foundation
import SyncProtocol

enum HTTPMapping {
    /// Bytes of one answer, after whatever coding it came in. A page has 4 MiB and the row that passed that, the outcomes of a checkpoint
    /// come on top.
    static let bodyBytesMax = 256 << 20

    /// Percent-encoded by hand: Foundation leaves "+" alone, which servers read as a space.
    static func query(_ parameters: [(name: String, value: String)]) -> String {
        parameters.map { "\($0.name)=\($0.value.addingPercentEncoding(withAllowedCharacters: unreserved) ?? $0.value)" }
            .joined(separator: "&")
    }

    /// Chosen anew for every request; the same when one is sent again because its connection had been closed.
    static func newCorrelation() -> String { UUID().uuidString.lowercased() }

    /// An answer that names another request is nobody's answer here, whatever it says (protocol §7). One that names none may be a
    /// proxy's own.
    static func check(_ named: String?, answers correlation: String) throws {
        guard named ?? correlation == correlation else {
            throw TransportFailure.malformed("it is the answer to another request; something between here and the server mixes them up")
        }
    }

    static func error(_ body: [UInt8], _ status: Int) -> ErrorReply {
        if let json = try? JSONValue(parsing: body), let reply = ErrorReply(json: json) { return reply }
        // A proxy answered in the server's place.
        return ErrorReply(status == 503 ? .unavailable : status >= 500 ? .internal : .badRequest, "HTTP status \(status)")
    }

    private static let unreserved = CharacterSet(
        charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
}
