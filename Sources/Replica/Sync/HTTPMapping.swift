// What both HTTP transports say the same way: queries, and what an error status means.

import Foundation
import SyncProtocol

enum HTTPMapping {
    /// Percent-encoded by hand: Foundation leaves "+" alone, which servers read as a space.
    static func query(_ parameters: [(name: String, value: String)]) -> String {
        parameters.map { "\($0.name)=\($0.value.addingPercentEncoding(withAllowedCharacters: unreserved) ?? $0.value)" }
            .joined(separator: "&")
    }

    static func error(_ body: [UInt8], _ status: Int) -> ErrorReply {
        if let json = try? JSONValue(parsing: body), let reply = ErrorReply(json: json) { return reply }
        // A proxy answered in the server's place.
        return ErrorReply(status == 503 ? .unavailable : status >= 500 ? .internal : .badRequest, "HTTP status \(status)")
    }

    private static let unreserved = CharacterSet(
        charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
}
