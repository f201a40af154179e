// The server's own statement of which replica of whom a file is, given along with its token. It gives no access: it tells a server
// that was restored to before an enrolment whose id it is that a file claims (protocol §7.1, decision 0019).

import SyncProtocol

struct SealedIdentity: Sendable, Hashable {
    var tenant: Identifier
    var member: Identifier
    var replica: Identifier
    /// Its first set has the counter behind this one.
    var base: Int64

    /// Tells these bytes from cursors, which are sealed with the same key and begin with a number.
    private static let kind = "replica"

    fileprivate var bytes: [UInt8] {
        JSONValue.array([
            .string(SealedIdentity.kind), .string(tenant.text), .string(member.text), .string(replica.text), .integer(base),
        ]).canonicalBytes()
    }

    init(tenant: Identifier, member: Identifier, replica: Identifier, base: Int64) {
        self.tenant = tenant
        self.member = member
        self.replica = replica
        self.base = base
    }

    fileprivate init?(bytes: ArraySlice<UInt8>) {
        guard let parts = (try? JSONValue(parsing: bytes))?.arrayValue, parts.count == 5,
            parts[0].stringValue == SealedIdentity.kind, let tenant = parts[1].stringValue.flatMap({ Identifier($0) }),
            let member = parts[2].stringValue.flatMap({ Identifier($0) }), let replica = parts[3].stringValue.flatMap({ Identifier($0) }),
            let base = parts[4].integerValue
        else { return nil }
        self.init(tenant: tenant, member: member, replica: replica, base: base)
    }

    /// Throws `forbidden`, with the member that differs in `field`.
    func check(tenant: Identifier, member: Identifier) throws(ErrorReply) {
        guard self.tenant == tenant else {
            throw ErrorReply(
                .forbidden, "tenant: this file belongs to another company than the code; use another file",
                details: ["field": "tenant"])
        }
        guard self.member == member else {
            throw ErrorReply(
                .forbidden, "member: this file belongs to the member \(self.member.text); ask for a code of that very member",
                details: ["field": "member", "member": .string(self.member.text)])
        }
    }
}

extension CursorSeal {
    func seal(_ identity: SealedIdentity) -> String { seal(identity.bytes) }

    /// Throws `bad_request` for anything that this server did not state.
    func identity(_ text: String) throws(ErrorReply) -> SealedIdentity {
        guard let bytes = try? open(text), let identity = SealedIdentity(bytes: bytes) else {
            throw ErrorReply(
                .badRequest, "identity: this server never said that of a replica; enrol a new file", details: ["field": "identity"])
        }
        return identity
    }
}
