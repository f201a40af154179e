// What a server sees of a replica: its token, its sets in order, its checkpoint.

import Replica
import SyncProtocol

final class Peer {
    let company: Company
    let name: String
    let id: Identifier
    let member: Identifier
    let role: Role
    let token: String
    /// What the server has stated of this replica.
    let identity: String?
    var counter: Int64 = 0
    /// Lanes of the replica that this one forked from.
    var lanes: [Identifier: Int64] = [:]
    var cursor: String?
    var checkpoint: CheckpointMark?
    /// Checkpoints so far, newest first: what a push after a restore shows.
    var recent: [CheckpointMark] = []
    /// How far this machine's clock is off, milliseconds.
    var clockError: Int64 = 0

    init(_ company: Company, _ name: String, _ reply: EnrollmentReply) {
        self.company = company
        self.name = name
        (id, member, role, token, identity) = (reply.replica, reply.member, reply.role, reply.token, reply.identity)
        company.add(self)
    }

    var clock: VectorClock {
        VectorClock(feed: checkpoint?.position ?? .start, replicas: lanes.merging([id: counter]) { $1 })
    }

    // MARK: Push

    /// The next set, sealed with what the replica knows.
    func seal(_ changes: [Change], clock: VectorClock? = nil, schema: Int64? = nil) -> OfferedSet {
        let known = clock ?? self.clock
        counter += 1
        let set = ChangeSet(
            dot: Dot(replica: id, counter: counter), clock: known,
            timestamp: HybridTimestamp(milliseconds: company.now + clockError), changes: changes, schemaVersion: schema)
        return offered(set.sealedBytes())
    }

    func offered(_ sealed: [UInt8]) -> OfferedSet {
        OfferedSet(counter: counter, hash: ChangeSet.hash(ofSealed: sealed), sealed: sealed)
    }

    func body(_ sets: [OfferedSet], recognised: [CheckpointMark] = [], schema: Int64 = 1) -> [UInt8] {
        PushRequest(schemaVersion: schema, cursor: cursor, recognised: recognised, sets: sets).bytes(replica: id)
    }

    /// The answers; nil when the request was refused.
    @discardableResult
    func push(_ sets: [OfferedSet], recognised: [CheckpointMark] = [], schema: Int64 = 1) throws -> [Outcome]? {
        try push(raw: body(sets, recognised: recognised, schema: schema))
    }

    /// Brings sets that another replica has sealed.
    func carry(_ sets: [OfferedSet], of author: Peer, identity: String? = nil) throws -> [Outcome]? {
        let identity = try required(identity ?? author.identity)
        return try push(
            raw: PushRequest(schemaVersion: 1, cursor: cursor, identity: identity, sets: sets).bytes(replica: author.id))
    }

    /// The file enrols again with a code for its member.
    func enrolAgain(code: String? = nil, attempt: String? = nil) throws -> Peer? {
        let code = code ?? company.core.invite(name, role: role, member: member).code
        let former = FormerReplica(identity: try required(identity), counter: counter)
        guard let reply = try company.enroll(code: code, label: name, attempt: attempt, continues: former) else { return nil }
        let again = Peer(company, "\(name)*", reply)
        (again.counter, again.lanes) = (counter, reply.replica == id ? lanes : [id: counter])
        (again.cursor, again.checkpoint, again.recent) = (cursor, checkpoint, recent)
        return again
    }

    func push(raw body: [UInt8]) throws -> [Outcome]? {
        guard let reply = try pushForBytes(body) else { return nil }
        return try reply.map { try required(Outcome(json: try JSONValue(parsing: $0))) }
    }

    /// The stored outcomes as they are.
    func pushForBytes(_ body: [UInt8]) throws -> [[UInt8]]? {
        let bytes = try company.answered("\(name) pushes", Telling.push) { try company.core.push(body, token: token) }
        return try bytes.map { try PushReply(parsing: $0).outcomes.map(\.outcome) }
    }

    /// Seals and pushes one set.
    @discardableResult
    func edit(_ changes: [Change], clock: VectorClock? = nil) throws -> Outcome {
        company.pass(1)
        return try required(try push([seal(changes, clock: clock)])?.first)
    }

    // MARK: Pull

    /// One page; remembers the cursor, and the checkpoint if it has one. nil when the request was refused.
    func page(limit: Int? = nil, outcomesAfter: Int64 = 0, versionsAfter: Int64? = nil) throws -> PullPage? {
        let request = PullRequest(
            cursor: cursor, limit: limit, outcomesAfter: outcomesAfter, versionsAfter: versionsAfter, schemaVersion: 1)
        let bytes = try company.answered("\(name) pulls", Telling.pull) { try company.core.pull(request, token: token) }
        guard let page = try bytes.map({ try PullPage(parsing: $0) }) else { return nil }
        cursor = page.next
        if let mark = page.checkpoint?.mark {
            checkpoint = mark
            recent.insert(mark, at: 0)
        }
        return page
    }

    /// Pages up to the checkpoint; fewer when one is refused.
    @discardableResult
    func pull(limit: Int? = nil) throws -> [PullPage] {
        var pages: [PullPage] = []
        while let page = try page(limit: limit) {
            pages.append(page)
            if !page.hasMore { break }
        }
        return pages
    }

    /// As after `new_epoch` and `resync_required`: from the beginning, keeping what is pending.
    @discardableResult
    func rebuild(limit: Int? = nil) throws -> [PullPage] {
        cursor = nil
        return try pull(limit: limit)
    }

    // MARK: The rest

    func get(_ path: String, _ query: [(name: String, value: String)] = []) throws -> [UInt8]? {
        // A store makes up its own cursors.
        let told = query.map { $0.name == "cursor" ? (name: $0.name, value: "…") : $0 }
        return try company.answered(
            "\(name) gets \(path) \(told)", { try Telling.get(path, $0) }, { try company.core.get(path, query, token: token) })
    }

    func json(_ path: String, _ query: [(name: String, value: String)] = []) throws -> JSONValue? {
        try get(path, query).map { try JSONValue(parsing: $0) }
    }

    func activity(_ request: ActivityRequest) throws -> ActivityPage? {
        try get("activity", request.query).map { try ActivityPage(parsing: $0) }
    }

    func fork(counter: Int64, first: OfferedSet? = nil) throws -> Peer? {
        let request = ForkRequest(counter: counter, label: "copy", platform: "linux", schemaVersion: 1, first: first?.hash)
        let reply = try company.answered("\(name) forks", Telling.enrollment) { try company.core.fork(request, token: token) }
        guard let reply else { return nil }
        let copy = Peer(company, "\(name)'", reply)
        copy.counter = counter
        copy.lanes = [id: counter]
        (copy.cursor, copy.checkpoint, copy.recent) = (cursor, checkpoint, recent)
        return copy
    }
}

extension PullPage {
    /// Rows of an entity as objects by column.
    func rows(_ entity: String) throws -> [JSONObject] {
        try blocks.filter { $0.entity == entity }.flatMap { block in
            try block.rows.map { range in
                JSONObject(Array(zip(block.columns, try required(try JSONValue(parsing: bytes[range]).arrayValue))))
            }
        }
    }

    func row(_ entity: String, _ id: Identifier) throws -> JSONObject? { try rows(entity).last { $0["id"] == .string(id.text) } }
}

/// Changes as scenarios write them most often.
enum Edit {
    static func create(_ entity: String, _ id: Identifier, _ fields: JSONObject) -> Change { Change(entity, id, .create(fields: fields)) }

    static func patch(_ entity: String, _ id: Identifier, _ fields: JSONObject, was: JSONObject = JSONObject()) -> Change {
        Change(entity, id, .patch(fields: fields, was: was))
    }

    static func delete(_ entity: String, _ id: Identifier) -> Change { Change(entity, id, .delete) }
    static func restore(_ entity: String, _ id: Identifier) -> Change { Change(entity, id, .restore) }

    static func move(_ entity: String, _ id: Identifier, _ name: String, from observed: String, _ arguments: JSONObject = JSONObject())
        -> Change
    {
        Change(entity, id, .transition(name: name, observed: observed, arguments: arguments))
    }

    static func link(_ entity: String, _ first: (String, Identifier), _ second: (String, Identifier), _ fields: JSONObject = JSONObject())
        throws -> Change
    {
        var all: JSONObject = [first.0: .string(first.1.text), second.0: .string(second.1.text)]
        for (name, value) in fields { all[name] = value }
        let schema = try required(Schema.testing.entity(entity))
        return Change(entity, try required(schema.deterministicID { all[$0] }), .create(fields: all))
    }
}
