// One-time enrolment codes, `XXXX-XXXX-XXXX-XXXX`: 80 random bits in letters that are not mistaken for each other.

import SyncProtocol

struct EnrollmentCode: Sendable {
    /// Sixteen characters, no separators.
    private let characters: [UInt8]

    static let lifetimeMilliseconds: Int64 = 72 * 3_600_000
    /// Codes that still work, of one member: one for each device, and some that got lost.
    static let openPerMemberMax = 20
    /// The same of a tenant: a whole company on its first day.
    static let openPerTenantMax = 10_000
    /// How long after its end a code is still told from one that never was.
    static let rememberedMilliseconds: Int64 = 30 * 86_400_000
    private static let alphabet = Array("0123456789ABCDEFGHJKMNPQRSTVWXYZ".utf8)

    /// For people to type.
    var text: String {
        stride(from: 0, to: 16, by: 4).map { String(decoding: characters[$0..<($0 + 4)], as: UTF8.self) }.joined(separator: "-")
    }

    var hash: [UInt8] { SHA256.hash(Array("tideline enrolment ".utf8) + characters) }

    /// - Parameter random: 10 bytes.
    init(random: [UInt8]) {
        precondition(random.count == 10, "a code has 80 bits")
        var characters: [UInt8] = []
        var accumulator: UInt32 = 0
        var bits: UInt32 = 0
        for byte in random {
            accumulator = accumulator << 8 | UInt32(byte)
            bits += 8
            while bits >= 5 {
                bits -= 5
                characters.append(EnrollmentCode.alphabet[Int(accumulator >> bits & 31)])
            }
        }
        self.characters = characters
    }

    /// Reads what a person typed: any case, O for 0, I and L for 1, any separators. nil if it cannot be a code.
    init?(_ text: String) {
        var characters: [UInt8] = []
        for byte in text.utf8 {
            var letter = byte
            if letter >= 0x61, letter <= 0x7A { letter -= 0x20 }
            switch letter {
            case UInt8(ascii: "-"), UInt8(ascii: " "): continue
            case UInt8(ascii: "O"): letter = UInt8(ascii: "0")
            case UInt8(ascii: "I"), UInt8(ascii: "L"): letter = UInt8(ascii: "1")
            default: break
            }
            guard EnrollmentCode.alphabet.contains(letter), characters.count < 16 else { return nil }
            characters.append(letter)
        }
        guard characters.count == 16 else { return nil }
        self.characters = characters
    }

    /// Makes and stores a code for a member, inside a transaction of the tenant. Throws `limit_reached` while there are as many open ones
    /// as may be.
    static func issue(
        tenant: Identifier, member: Identifier, replication: String, nowMilliseconds: Int64, on connection: PostgresConnection
    ) throws -> EnrollmentCode {
        // One after another, so that two that count at once do not both find room for the last one.
        _ = try connection.run(TenantHead.lock(tenant))
        let open = try connection.run(
            """
            SELECT count(*), count(*) FILTER (WHERE member = $2::uuid), min(expires_at) FROM tideline.enrollment_code \
            WHERE tenant = $1::uuid AND used_at IS NULL AND expires_at > $3
            """, .identifier(tenant), .identifier(member), .integer(nowMilliseconds))
        for (column, limit, max, whose) in [
            (1, "open_codes_per_member", openPerMemberMax, "this member"), (0, "open_codes_per_tenant", openPerTenantMax, "this tenant"),
        ] where (open.integer(0, column) ?? 0) >= Int64(max) {
            throw ErrorReply.limitReached(
                limit, max: max, field: "member", retryAfterSeconds: 3600,
                "\(whose) has \(max) enrolment codes that still work; use one of them, or wait: a code ends 72 hours after it was made")
        }
        let result = try connection.run("SELECT tideline.random_bytes(10)")
        guard let random = result.bytes(0, 0), random.count == 10 else { throw ErrorReply(.internal, "the database made no random bytes") }
        let code = EnrollmentCode(random: random)
        try connection.run(
            """
            INSERT INTO tideline.enrollment_code (tenant, hash, member, replication, created_at, expires_at) \
            VALUES ($1::uuid, $2::bytea, $3::uuid, $4, $5, $6)
            """, .identifier(tenant), .bytes(code.hash), .identifier(member), .text(replication), .integer(nowMilliseconds),
            .integer(nowMilliseconds + lifetimeMilliseconds))
        return code
    }

    /// Forgets codes that ended long ago.
    static func prune(tenant: Identifier, nowMilliseconds: Int64, on connection: PostgresConnection) throws {
        _ = try connection.run(
            "DELETE FROM tideline.enrollment_code WHERE tenant = $1::uuid AND expires_at < $2", .identifier(tenant),
            .integer(nowMilliseconds - rememberedMilliseconds))
    }
}
