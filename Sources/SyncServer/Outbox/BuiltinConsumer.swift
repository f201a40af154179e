// Consumers that are part of the server: each follows the feed as a webhook does and answers an entry with a change set of its own,
// which commits together with its cursor. An operator turns one on for a tenant; none runs by itself.

import SyncProtocol

struct BuiltinConsumer: Sendable {
    /// What `handler` of a consumer names.
    let name: String
    /// One line for people.
    let summary: String
    /// The kinds of entries that it is told.
    let kinds: [String]
    /// What has to change because of an entry; nothing is a good answer. Pure, and asked again when what it looked for was not loaded
    /// yet, as rules are (``Workspace``). It sees records as they are now, not as they were at the entry.
    let react: @Sendable (OutboxEvent, Workspace) -> [Change]

    init(_ name: String, summary: String, kinds: [String], react: @escaping @Sendable (OutboxEvent, Workspace) -> [Change]) {
        self.name = name
        self.summary = summary
        self.kinds = kinds
        self.react = react
    }

    /// Those of the product.
    static let all = [revokeReplicas]

    /// A set of a built-in consumer may lead to another one's, so far and no further.
    static let depthMax: Int64 = 8

    /// Somebody has left. Disabled members are refused anyway; a revoked replica also says so in its own status, and stays out when
    /// the member is enabled again.
    static let revokeReplicas = BuiltinConsumer(
        "revoke_replicas", summary: "revokes all replicas of a member who is disabled", kinds: ["member.disabled"]
    ) { event, workspace in
        guard let member = workspace.record(event.entity, event.record), member.state == "disabled" else { return [] }
        return workspace.lookup("replica", "member", .string(member.id.text)).filter { $0.state == "active" }.map { replica in
            Change(key: replica.key, operation: .transition(name: "revoke", observed: "active", arguments: JSONObject()))
        }
    }
}
