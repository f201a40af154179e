// `Idempotency-Key`: the answer of a write is kept with the write, so that repeating the request repeats the answer only.

import SyncProtocol

struct IdempotencyKey: Sendable, Hashable {
    let text: String
    /// Of everything that makes the request what it is.
    let requestHash: String

    static let charactersMax = 200
    static let keptMilliseconds: Int64 = 24 * 3_600_000

    /// nil without the header. Throws `bad_request` for a key that cannot be one.
    init?(_ request: HTTPRequest) throws(ErrorReply) {
        let values = request.headers.values("Idempotency-Key")
        guard let text = values.first else { return nil }
        guard values.count == 1, (1...IdempotencyKey.charactersMax).contains(text.utf8.count),
            text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else {
            throw ErrorReply(
                .badRequest, "Idempotency-Key is one text of 1 to \(IdempotencyKey.charactersMax) ASCII characters without spaces",
                details: ["header": "Idempotency-Key"])
        }
        self.text = text
        let condition = request.headers.values("If-Match").joined(separator: ",")
        let head = "\(request.method)\n\(request.target)\n\(condition)\n"
        requestHash = Hex.encode(SHA256.hash(Array(head.utf8) + request.body))
    }

    /// An answer that was given before.
    struct Stored: Sendable {
        var requestHash: String
        var status: Int
        var etag: String
        var location: String?
        var body: [UInt8]
    }

    func find(tenant: Identifier, member: Identifier, nowMilliseconds: Int64) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT request, status, etag, location, body FROM tideline.idempotency_key \
            WHERE tenant = $1::uuid AND member = $2::uuid AND key = $3 AND created_at >= $4
            """,
            [.identifier(tenant), .identifier(member), .text(text), .integer(nowMilliseconds - IdempotencyKey.keptMilliseconds)])
    }

    static func read(_ result: PostgresResult) -> Stored? {
        guard !result.isEmpty, let request = result.text(0, 0), let status = result.integer(0, 1), let etag = result.text(0, 2),
            let body = result.utf8(0, 4)
        else { return nil }
        return Stored(requestHash: request, status: Int(status), etag: etag, location: result.text(0, 3), body: body)
    }

    /// Replaces one that has expired and was not pruned yet.
    func store(_ answer: Stored, tenant: Identifier, member: Identifier, nowMilliseconds: Int64) -> PostgresStatement {
        PostgresStatement(
            """
            INSERT INTO tideline.idempotency_key (tenant, member, key, request, status, etag, location, body, created_at) \
            VALUES ($1::uuid, $2::uuid, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (tenant, member, key) DO UPDATE SET \
            request = excluded.request, status = excluded.status, etag = excluded.etag, location = excluded.location, \
            body = excluded.body, created_at = excluded.created_at
            """,
            [
                .identifier(tenant), .identifier(member), .text(text), .text(requestHash), .integer(Int64(answer.status)),
                .text(answer.etag), .optional(answer.location), .utf8(answer.body), .integer(nowMilliseconds),
            ])
    }
}
