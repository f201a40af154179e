// Standard Webhooks: what is signed, how, and the secrets it is signed with. Checked against the published vector.

import Foundation
import SyncProtocol

/// `whsec_` and the key in base64. Shown once; kept, because signing needs it.
struct WebhookSecret: Sendable, Equatable {
    let text: String
    let key: [UInt8]

    static let prefix = "whsec_"
    static let bytesRange = 24...64

    /// nil unless the text has exactly that form.
    init?(_ text: String) {
        guard text.hasPrefix(WebhookSecret.prefix), let key = Data(base64Encoded: String(text.dropFirst(WebhookSecret.prefix.count))),
            WebhookSecret.bytesRange.contains(key.count)
        else { return nil }
        self.text = text
        self.key = Array(key)
    }

    init(key: [UInt8]) {
        precondition(WebhookSecret.bytesRange.contains(key.count), "a webhook's key has 24 to 64 bytes")
        self.key = key
        text = WebhookSecret.prefix + Data(key).base64EncodedString()
    }

    /// A key from the database's generator.
    static func make(on connection: PostgresConnection) throws -> WebhookSecret {
        let result = try connection.run("SELECT tideline.random_bytes(32)")
        guard let key = result.bytes(0, 0), key.count == 32 else { throw ErrorReply(.internal, "the database made no random bytes") }
        return WebhookSecret(key: key)
    }
}

enum WebhookSignature {
    /// The value of `webhook-signature`: one signature a secret, separated by spaces, so that a receiver that has either
    /// secret accepts it.
    static func header(id: String, timestampSeconds: Int64, body: [UInt8], secrets: [WebhookSecret]) -> String {
        let content = Array("\(id).\(timestampSeconds).".utf8) + body
        return secrets.map { "v1," + Data(HMACSHA256.authenticate(content, key: $0.key)).base64EncodedString() }.joined(separator: " ")
    }
}
