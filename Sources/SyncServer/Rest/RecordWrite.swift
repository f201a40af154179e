// Every REST write: one change set through the same pipeline as a push, on behalf of the token's member, in one transaction
// with the answer that its Idempotency-Key keeps.

import SyncProtocol

struct RecordWrite {
    let context: SyncContext
    let connection: PostgresConnection
    let entity: EntitySchema
    let operation: RestOperation
    let target: RestTarget

    /// Throws ``ErrorReply`` or ``PostgresError``; then nothing was written.
    func run(_ request: HTTPRequest, token: AccessToken) throws -> HTTPResponse {
        let (body, ifMatch, key) = try Authentication.first(token, context: context, connection: connection) { try read(request) }
        let (response, didWrite) = try connection.transaction(.readWrite, tenant: token.tenant, requestID: request.requestID) { _ in
            try write(body, ifMatch: ifMatch, key: key, token: token)
        }
        context.step(.writeCommitted)
        if didWrite { context.announce(token.tenant) }
        context.step(.writeAnnounced)
        return response
    }

    private func read(_ request: HTTPRequest) throws -> (WriteBody, ifMatch: EntityTag.Condition?, key: IdempotencyKey?) {
        let needsNoBody = operation == .delete || operation == .restore || operation == .transition
        let body = try WriteBody(request, mayBeEmpty: needsNoBody)
        if operation == .delete || operation == .restore, let member = body.object.keys.first {
            throw ErrorReply(.badRequest, "a \(operation.rawValue) has no body, so no \(member)")
        }
        if let (name, _) = request.query.first {
            throw ErrorReply(.badRequest, "\(name) is not a parameter of this request", details: ["parameter": .string(name)])
        }
        let ifMatch = try EntityTag.condition(request.headers.values("If-Match"), header: "If-Match")
        return (body, ifMatch, try IdempotencyKey(request))
    }

    private func write(
        _ body: WriteBody, ifMatch: EntityTag.Condition?, key: IdempotencyKey?, token: AccessToken
    ) throws -> (HTTPResponse, didWrite: Bool) {
        let tenant = token.tenant
        let now = context.now()
        let principal = try Authentication.principal(of: token, nowMilliseconds: now, on: connection)
        guard principal.replica?.replication != "readonly" else { throw ErrorReply(.forbidden, "this replica is read-only") }
        let reader = ReaderAccess(principal)
        if operation != .create { try reader.requireRead(entity) }
        let creation = operation == .create ? try body.creation(of: entity) { context.identifiers.next(milliseconds: now) } : nil
        guard let recordKey = creation?.key ?? target.id.flatMap({ Identifier($0) }).map({ RecordKey(entity.name, $0) }) else {
            throw RecordWrite.notFound(entity)
        }

        // What follows the lock is read after it was taken, so it is what holds until commit.
        guard let table = context.tables[entity.name] else { throw RecordWrite.notFound(entity) }
        var statements = [
            TenantHead.lock(tenant), TenantSession.planForTablesAsTheyAre,
            PostgresStatement(table.selectByID, [.identifier(tenant), .textArray([recordKey.id.text])]),
        ]
        if let key {
            statements.append(key.find(tenant: tenant, member: principal.member, nowMilliseconds: now))
            statements.append(IdempotencyKey.usage(tenant: tenant))
        }
        let locked = try connection.batch(statements)
        guard let head = TenantHead(locked[0]) else { throw Authentication.unauthorized }
        context.step(.writeLocked)
        if let key {
            if let stored = IdempotencyKey.read(locked[3]) { return (try replay(stored, for: key), false) }
            try IdempotencyKey.requireRoom(locked[4])
        }
        try context.storageQuota.requireRoom(beside: head.storedBytes, field: "body")

        let store = RecordStore(tables: context.tables, tenant: tenant, epoch: head.position.epoch)
        let record = try store.states(of: entity.name, in: locked[2]).first
        if operation != .create {
            guard let record, reader.sees(record) else { throw RecordWrite.notFound(entity) }
        }
        // What is wrong in itself is said first, whatever the tag (RFC 9110 §13.2.1).
        let known = Result { try precondition(ifMatch, record: record, head: head.position, reader: reader) }
        let seen = if case .success(let place) = known { place } else { EntityTag.Place?.none }
        let change = try creation ?? self.change(body, record: record)

        let author = Author(kind: .member, member: principal.member, role: principal.role, replica: principal.replica?.id)
        let serverWrite = ServerWrite(context: context, tenant: tenant, connection: connection)
        let decided = try serverWrite.decide(
            [change], author: author, knowledge: seen?.position, vouchesForRestricted: seen?.hidesRestricted != true, from: head)
        context.step(.writeDecided)
        let outcome = decided.decisions[0].outcome
        var violations = outcome.status == .rejected ? outcome.violations : []
        let transition = if case .transition(_, _, let name) = target { name } else { String?.none }
        for one in body.textsTooLong(of: recordKey, entity, transition: transition)
        where !violations.contains(where: { $0.field == one.field && $0.code == one.code }) { violations.append(one) }
        if !violations.isEmpty || outcome.status == .rejected {
            let refusal = RestRefusal.reply(violations, target: operation == .create ? nil : recordKey) {
                RestRefusal.isOfState($0) || body.addsTooManyToWhatIsThere($0)
            }
            if refusal.knownCode == .conflict { _ = try known.get() }
            throw refusal
        }
        _ = try known.get()

        let result = decided.records.last { $0.key == recordKey } ?? record
        guard let result else { throw ErrorReply(.internal, "the write left no record") }
        let isNew = operation == .create && record == nil
        let answer = IdempotencyKey.Stored(
            requestHash: key?.requestHash ?? "", status: isNew ? 201 : 200, etag: EntityTag.text(decided.head.position, for: reader),
            location: isNew ? "/v1/\(entity.name)/\(recordKey.id.text)" : nil,
            body: RestAnswer.written(result.document(for: reader), outcome))
        var more: [PostgresStatement] = []
        if let key { more += key.store(answer, tenant: tenant, member: principal.member, nowMilliseconds: now) }
        try serverWrite.store(decided, and: more)
        context.step(.writeStored)
        return (
            RestAnswer.json(answer.status, answer.body, etag: answer.etag, location: answer.location),
            decided.head.position != head.position
        )
    }

    private func replay(_ stored: IdempotencyKey.Stored, for key: IdempotencyKey) throws -> HTTPResponse {
        guard stored.requestHash == key.requestHash else {
            throw ErrorReply(
                .idempotencyKeyReused, "this Idempotency-Key came with another request before; use a new one for each write",
                details: ["header": "Idempotency-Key"])
        }
        return RestAnswer.json(stored.status, stored.body, etag: stored.etag, location: stored.location, isReplay: true)
    }

    /// The knowledge of the edit: what its reader had seen under the tag; without one everything up to now.
    private func precondition(
        _ condition: EntityTag.Condition?, record: RecordState?, head: FeedPosition, reader: ReaderAccess
    ) throws -> EntityTag.Place? {
        guard let condition else { return nil }
        guard let record else {
            throw ErrorReply(
                .preconditionFailed, "there is no such \(entity.name) yet, so nothing to match", details: ["header": "If-Match"])
        }
        // Who holds it may have changed since it was last edited: that is nobody's edit, and no reason to read it again.
        let position =
            EntityTag.match(condition, position: record.position.position, head: head) == nil
            ? try lastEdit(of: record) : record.position.position
        guard let known = EntityTag.match(condition, position: position, head: head) else {
            throw ErrorReply(
                .preconditionFailed, "this \(entity.name) was changed after that; read it again",
                details: [
                    "header": "If-Match",
                    "etag": .string(EntityTag.text(FeedPosition(epoch: head.epoch, position: record.position.position), for: reader)),
                ])
        }
        return known
    }

    private func lastEdit(of record: RecordState) throws -> Int64 {
        let found = try connection.run(
            """
            SELECT position FROM tideline.feed WHERE tenant = current_setting('tideline.tenant')::uuid AND record = $1::uuid AND entity = $2 \
            AND kind <> '\(FeedEntry.rescoped)' ORDER BY position DESC LIMIT 1
            """, .identifier(record.id), .text(entity.name))
        return found.isEmpty ? record.position.position : found.integer(0, 0) ?? record.position.position
    }

    private func change(_ body: WriteBody, record: RecordState?) throws -> Change {
        guard let record else { throw RecordWrite.notFound(entity) }
        switch (operation, target) {
        case (.patch, _): return try body.patch(of: record)
        case (.delete, _): return Change(key: record.key, operation: .delete)
        case (.restore, _): return Change(key: record.key, operation: .restore)
        case (.transition, .transition(_, _, let name)): return try body.transition(name, of: record)
        default: preconditionFailure("\(operation) does not write a record that exists")
        }
    }

    static func notFound(_ entity: EntitySchema) -> ErrorReply { ErrorReply(.notFound, "there is no such \(entity.name)") }
}
