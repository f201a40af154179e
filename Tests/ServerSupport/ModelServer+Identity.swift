// What the model has stated of replicas, and who may speak as their courier (protocol §7.1, §7.2).

import SyncProtocol

@testable import Replica

extension ModelServer {
    struct Statement {
        var member: Identifier
        var replica: Identifier
        var base: Int64
    }

    /// Throws `bad_request` or `forbidden`, with `field`.
    func statement(_ identity: String, member: Identifier) throws -> Statement {
        guard let statement = statements[identity] else { throw refusal(.badRequest, details: ["field": "identity"]) }
        guard statement.member == member else {
            throw refusal(.forbidden, details: ["field": "member", "member": .string(statement.member.text)])
        }
        return statement
    }

    /// The replica whose sets a push brings.
    func author(_ push: PushRequest.ReceivedPush, _ account: Account) throws -> Identifier {
        guard let identity = push.identity else { return account.replica }
        let author = try statement(identity, member: account.member)
        if state.acknowledged[author.replica] == nil, !accounts.values.contains(where: { $0.replica == author.replica }) {
            guard state.records[RecordKey("replica", author.replica)] == nil else { throw refusal(.unauthorized) }
            create(author.replica, author.member, label: "lost with the backup", platform: "", acknowledged: author.base, isLost: true)
        }
        return author.replica
    }
}
