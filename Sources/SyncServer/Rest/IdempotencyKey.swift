// `Idempotency-Key`: the answer of a write is kept with the write, so that repeating the request repeats the answer only.

import SyncProtocol

struct IdempotencyKey: Sendable, Hashable {
    let text: String
    /// Of everything that makes the request what it is.
    let requestHash: String

    static let charactersMax = 200
    static let keptMilliseconds: Int64 = 24 * 3_600_000
    /// Answers kept for one tenant: an import of a million records a day.
    static let perTenantMax = 1_000_000
    /// Bytes of the answers kept for one tenant; they are whole records.
    static let bytesPerTenantMax: Int64 = 2 << 30
    /// Answers forgotten at a time: writers of the tenant wait meanwhile.
    static let prunedAtATime: Int64 = 10_000

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

    /// What is kept for the tenant. Read after the head was locked.
    static func usage(tenant: Identifier) -> PostgresStatement {
        PostgresStatement(
            "SELECT kept_answers, kept_answer_bytes FROM tideline.tenant_head WHERE tenant = $1::uuid", [.identifier(tenant)])
    }

    /// Throws `limit_reached` when nothing more may be kept: a key that is not kept would not do what it is for.
    static func requireRoom(_ usage: PostgresResult) throws(ErrorReply) {
        let (count, bytes) = (usage.integer(0, 0) ?? 0, usage.integer(0, 1) ?? 0)
        guard count >= Int64(perTenantMax) || bytes >= bytesPerTenantMax else { return }
        throw ErrorReply.limitReached(
            "idempotency_keys_per_tenant", max: perTenantMax, field: "Idempotency-Key", retryAfterSeconds: 3600,
            "as many answers are kept by Idempotency-Key as may be (\(perTenantMax), or \(bytesPerTenantMax >> 20) MiB of them); "
                + "they are forgotten after 24 hours. Come again later, or write without a key")
    }

    /// Statements that keep an answer. One of the same key that has expired and was not pruned yet goes first.
    func store(_ answer: Stored, tenant: Identifier, member: Identifier, nowMilliseconds: Int64) -> [PostgresStatement] {
        [
            IdempotencyKey.forget("member = $2::uuid AND key = $3", tenant: tenant, [.identifier(member), .text(text)]),
            PostgresStatement(
                """
                WITH kept AS (INSERT INTO tideline.idempotency_key (tenant, member, key, request, status, etag, location, body, created_at) \
                VALUES ($1::uuid, $2::uuid, $3, $4, $5, $6, $7, $8, $9) RETURNING octet_length(body) AS bytes) \
                UPDATE tideline.tenant_head SET kept_answers = kept_answers + 1, kept_answer_bytes = kept_answer_bytes + kept.bytes \
                FROM kept WHERE tenant = $1::uuid
                """,
                [
                    .identifier(tenant), .identifier(member), .text(text), .text(requestHash), .integer(Int64(answer.status)),
                    .text(answer.etag), .optional(answer.location), .utf8(answer.body), .integer(nowMilliseconds),
                ]),
        ]
    }

    /// Forgets some of the answers that were given before; returns how many, one row, or none if there were none.
    static func prune(tenant: Identifier, beforeMilliseconds: Int64) -> PostgresStatement {
        forget(
            "ctid = ANY(ARRAY(SELECT ctid FROM tideline.idempotency_key WHERE tenant = $1::uuid AND created_at < $2 LIMIT $3))",
            tenant: tenant, [.integer(beforeMilliseconds), .integer(prunedAtATime)])
    }

    /// Forgets answers. - Parameter condition: On the table, with parameters from `$2`.
    private static func forget(_ condition: String, tenant: Identifier, _ parameters: [PostgresValue]) -> PostgresStatement {
        PostgresStatement(
            """
            WITH gone AS (DELETE FROM tideline.idempotency_key WHERE tenant = $1::uuid AND \(condition) \
            RETURNING octet_length(body) AS bytes), sum AS (SELECT count(*) AS count, coalesce(sum(bytes), 0) AS bytes FROM gone) \
            UPDATE tideline.tenant_head SET kept_answers = greatest(0, kept_answers - sum.count), \
            kept_answer_bytes = greatest(0, kept_answer_bytes - sum.bytes) FROM sum WHERE tenant = $1::uuid AND sum.count > 0 \
            RETURNING sum.count
            """, [.identifier(tenant)] + parameters)
    }
}
