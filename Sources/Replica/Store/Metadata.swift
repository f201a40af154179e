// The few single values of a file: who it is, how far it is, what its clock says.

import SyncProtocol

struct Metadata {
    enum Key: String {
        case format, schema, layout
        /// SQLite's count of schema changes when the file was last found complete.
        case cookie
        /// What tools had taken away and when it was made anew: `{at, parts}`.
        case mended
        /// The schema version of an older build that has had the file since a newer one knew it.
        case olderWriter = "older_writer"
        /// The schema version under which tools wrote what is not sealed yet, when a newer build has opened the file since.
        case capturedSchema = "captured_schema"
        case tenant, member, role, replica, replication, token, server
        /// The last counter spent.
        case counter
        /// The highest counter the server has processed, as of the checkpoint.
        case acknowledged
        case cursor, checkpoint
        /// The last numbers of sequences that a restored server has to be told: `[[kind, year, last]…]`.
        case numbers
        /// All of them so far, told or to be told: a server may be restored once more before what had those numbers is back.
        case toldNumbers = "told_numbers"
        case clockMilliseconds = "clock_ms"
        case clockLogical = "clock_logical"
        case clockOffset = "clock_offset"
        /// Where an interrupted pull of several pages continues, and what it is for: `pull` or a reason to rebuild.
        case stageNext = "stage_next"
        case stagePurpose = "stage_purpose"
        case stageVersionsAfter = "stage_versions_after"
        case syncedAt = "synced_at"
        /// Replicas that this file was copied from, each with the last counter both have: `{replica: counter}`.
        case sharedLanes = "shared_lanes"
        /// The server's statement of which replica this is; with it a server that was restored knows it again.
        case identity
        /// Such statements of the replicas that this file was copied from, or was itself before: `{replica: statement}`.
        case formerIdentities = "former_identities"
        /// What an enrolment that has not been answered yet says, so that it can be asked again.
        case attempt
        /// The file enrolled again under another id, and has offered nothing under that yet.
        case unoffered
        /// Feed position up to which the copy of the timeline is complete.
        case activityNext = "activity_next"
    }

    let connection: SQLiteConnection

    func text(_ key: Key) throws -> String? {
        try connection.scalarText("SELECT value FROM _tideline_meta WHERE key = ?1", [.text(key.rawValue)])
    }

    func integer(_ key: Key) throws -> Int64? { try text(key).flatMap { Int64($0) } }

    /// nil removes.
    func set(_ key: Key, _ value: String?) throws {
        guard let value else {
            try connection.execute("DELETE FROM _tideline_meta WHERE key = ?1", [.text(key.rawValue)])
            return
        }
        try connection.execute(
            "INSERT INTO _tideline_meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [.text(key.rawValue), .text(value)])
    }

    func set(_ key: Key, _ value: Int64) throws { try set(key, String(value)) }

    // MARK: Composite values

    func identity() throws -> ReplicaIdentity? {
        guard let tenant = try text(.tenant).flatMap({ Identifier($0) }), let member = try text(.member).flatMap({ Identifier($0) }),
            let replica = try text(.replica).flatMap({ Identifier($0) }), let role = try text(.role).flatMap(Role.init(rawValue:)),
            let token = try text(.token)
        else { return nil }
        return ReplicaIdentity(
            tenant: tenant, member: member, replica: replica, role: role, replication: try text(.replication) ?? "full", token: token,
            server: try text(.server))
    }

    func requireIdentity(_ operation: String) throws -> ReplicaIdentity {
        guard let identity = try identity() else {
            throw ReplicaError(.notEnrolled, "this replica is not enrolled with a server yet", operation: operation)
        }
        return identity
    }

    /// nil until the first sync has reached its end.
    func checkpoint() throws -> CheckpointMark? {
        guard let text = try text(.checkpoint) else { return nil }
        return CheckpointMark(json: try JSONValue(parsing: text))
    }

    func sharedLanes() throws -> [Identifier: Int64] { try object(.sharedLanes) { $0.integerValue } }

    func formerIdentities() throws -> [Identifier: String] { try object(.formerIdentities) { $0.stringValue } }

    func set(formerIdentities identities: [Identifier: String]) throws {
        var object = JSONObject()
        for (id, identity) in identities { object[id.text] = .string(identity) }
        try set(.formerIdentities, JSONValue.object(object).canonicalText)
    }

    private func object<Value>(_ key: Key, _ read: (JSONValue) -> Value?) throws -> [Identifier: Value] {
        guard let text = try text(key), let object = try JSONValue(parsing: text).objectValue else { return [:] }
        var values: [Identifier: Value] = [:]
        for (name, value) in object {
            if let id = Identifier(name), let value = read(value) { values[id] = value }
        }
        return values
    }

    func set(sharedLanes lanes: [Identifier: Int64]) throws {
        var object = JSONObject()
        for (id, counter) in lanes { object[id.text] = .integer(counter) }
        try set(.sharedLanes, JSONValue.object(object).canonicalText)
    }

    /// Who the file is from now on.
    func set(_ reply: EnrollmentReply) throws {
        try set(.tenant, reply.tenant.text)
        try set(.member, reply.member.text)
        try set(.replica, reply.replica.text)
        try set(.role, reply.role.rawValue)
        try set(.replication, reply.replication)
        try set(.token, reply.token)
        try set(.identity, reply.identity)
    }

    func clock() throws -> HybridClock {
        let last = HybridTimestamp(milliseconds: try integer(.clockMilliseconds) ?? 0, logical: try integer(.clockLogical) ?? 0)
        return HybridClock(last: last, offsetMilliseconds: try integer(.clockOffset) ?? 0)
    }

    func set(_ clock: HybridClock) throws {
        try set(.clockMilliseconds, clock.last.milliseconds)
        try set(.clockLogical, clock.last.logical)
        try set(.clockOffset, clock.offsetMilliseconds)
    }
}

/// Who a replica is at its server.
struct ReplicaIdentity: Sendable {
    var tenant: Identifier
    var member: Identifier
    var replica: Identifier
    /// The role at enrolment; the member's own record tells a later one.
    var role: Role
    var replication: String
    var token: String
    var server: String?
}
