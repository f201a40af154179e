// What a tenant may leave lying in the engine's tables, up to the last row: one more is refused with a word about what makes room, and
// what was there goes on.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct RowLimitsTests {
    private func isLimit(_ error: ErrorReply?, _ limit: String, field: String) -> Bool {
        error?.knownCode == .limitReached && error?.details["limit"] == .string(limit) && error?.details["field"] == .string(field)
    }

    private func maintain(_ server: ServerUnderTest) throws {
        _ = try Maintenance(context: server.context, connection: server.connection).run()
    }

    // MARK: Codes

    @Test func openCodesOfAMember_areSoMany_andOnesThatAreOverDoNotCount() throws {
        let tenant = try ServerUnderTest(isIsolated: true).makeTenant()
        let codes = try (0..<EnrollmentCode.openPerMemberMax).map { _ in try tenant.code() }
        #expect(isLimit(refusal { try tenant.code() }, "open_codes_per_member", field: "member"))
        let other = try tenant.addMember(role: .manager)
        _ = try tenant.code(for: other)
        // One that is used makes room, and so does time.
        _ = try Enroll(context: tenant.server.context, connection: tenant.server.connection).run(
            EnrollmentRequest(code: codes[0].text, label: "laptop", platform: "linux", schemaVersion: 1))
        _ = try tenant.code()
        #expect(refusal { try tenant.code() } != nil)
        tenant.server.clock.with { $0 += EnrollmentCode.lifetimeMilliseconds }
        _ = try tenant.code()
        // What ended long ago is forgotten; until then it is told from what never was.
        let late = EnrollmentRequest(code: codes[1].text, label: "laptop", platform: "linux", schemaVersion: 1)
        let enroll = Enroll(context: tenant.server.context, connection: tenant.server.connection)
        #expect(refusal { try enroll.run(late) }?.knownCode == .codeExpired)
        try maintain(tenant.server)
        #expect(refusal { try enroll.run(late) }?.knownCode == .codeExpired)
        tenant.server.clock.with { $0 += EnrollmentCode.rememberedMilliseconds }
        try maintain(tenant.server)
        #expect(refusal { try enroll.run(late) }?.knownCode == .codeInvalid)
        #expect(try tenant.rows("tideline.enrollment_code") == 1)
    }

    @Test func openCodesOfATenant_areSoMany() throws {
        let server = try ServerUnderTest()
        let tenant = try server.makeTenant()
        _ = try server.connection.run(
            """
            INSERT INTO tideline.enrollment_code (tenant, hash, member, replication, created_at, expires_at) \
            SELECT $1::uuid, decode(md5('code' || n), 'hex'), gen_random_uuid(), 'full', 0, $2 FROM generate_series(1, $3::bigint) n
            """, .identifier(tenant.id), .integer(server.context.now() + 60_000), .integer(Int64(EnrollmentCode.openPerTenantMax) - 1))
        _ = try tenant.code()
        #expect(isLimit(refusal { try tenant.code() }, "open_codes_per_tenant", field: "member"))
        _ = try server.makeTenant().code()
    }

    // MARK: Tokens

    @Test func tokensOfAMember_areSoMany_untilOneIsRevokedOrExpires() throws {
        let server = try ServerUnderTest(isIsolated: true)
        let tenant = try server.makeTenant()
        func issue(expiresIn milliseconds: Int64? = nil, member: Identifier? = nil) throws -> AccessToken {
            let now = server.context.now()
            return try server.connection.transaction(.readWrite, tenant: tenant.id) {
                try AccessToken.issue(
                    tenant: tenant.id, member: member ?? tenant.owner, label: nil, nowMilliseconds: now,
                    expiresAt: milliseconds.map { now + $0 }, on: $0)
            }
        }
        // Replicas have tokens of their own.
        _ = try tenant.enroll()
        let tokens = try (1..<AccessToken.perMemberMax).map { _ in try issue() }
        _ = try issue(expiresIn: 60_000)
        #expect(isLimit(refusal { try issue() }, "tokens_per_member", field: "member"))
        _ = try issue(member: try tenant.addMember(role: .manager))
        server.clock.with { $0 += 60_000 }
        _ = try issue()
        #expect(refusal { try issue() } != nil)
        _ = try server.connection.run(
            "UPDATE tideline.token SET revoked_at = $2 WHERE hash = $1::bytea", .bytes(tokens[0].hash), .integer(server.context.now()))
        _ = try issue()
        let count = try tenant.rows("tideline.token")
        server.clock.with { $0 += AccessToken.rememberedMilliseconds + 60_000 }
        try maintain(server)
        #expect(try tenant.rows("tideline.token") == count - 2, "the expired one and the revoked one")
    }

    /// The words of the command say what to do.
    @Test func tokenCommand_saysWhatMakesRoom() async throws {
        try await onOwnThread {
            let url = try ServerProcess.migratedDatabase()
            let made = try ServerProcess.json(["tenant", "create", "Acme", "--owner", "Ada <ada@acme.example>", "--database-url", url])
            let whose = ["--tenant", try required(made["tenant"]?.stringValue), "--member", try required(made["member"]?.stringValue)]
            let connection = try PostgresConnection(PostgresConfiguration(url: url))
            _ = try connection.run(
                """
                INSERT INTO tideline.token (tenant, hash, member, kind, created_at) \
                SELECT $1::uuid, decode(md5('token' || n), 'hex'), $2::uuid, 'api', 0 FROM generate_series(1, $3::bigint) n
                """, .text(whose[1]), .text(whose[3]), .integer(Int64(AccessToken.perMemberMax)))
            let refused = try ServerProcess.run(["token", "create"] + whose + ["--database-url", url])
            #expect(refused.status == 1 && refused.errors.contains("token revoke"), "\(refused)")
            _ = try connection.run(
                """
                INSERT INTO tideline.enrollment_code (tenant, hash, member, replication, created_at, expires_at) \
                SELECT $1::uuid, decode(md5('code' || n), 'hex'), $2::uuid, 'full', 0, $4::bigint FROM generate_series(1, $3::bigint) n
                """, .text(whose[1]), .text(whose[3]), .integer(Int64(EnrollmentCode.openPerMemberMax) - 1), .integer(.max / 2))
            let codes = try ServerProcess.run(["code", "create"] + whose + ["--database-url", url])
            #expect(codes.status == 1 && codes.errors.contains("72 hours"), "\(codes)")
            #expect(try ServerProcess.json(["token", "revoke"] + whose + ["--database-url", url])["tokens"] == 100)
            _ = try ServerProcess.json(["token", "create"] + whose + ["--database-url", url])
        }
    }

    // MARK: Answers by key

    private func kept(_ tenant: TenantUnderTest) throws -> [Int64] {
        let row = try tenant.server.connection.run(
            """
            SELECT kept_answers, kept_answer_bytes, (SELECT count(*) FROM tideline.idempotency_key k WHERE k.tenant = h.tenant), \
            (SELECT coalesce(sum(octet_length(body)), 0) FROM tideline.idempotency_key k WHERE k.tenant = h.tenant)::bigint \
            FROM tideline.tenant_head h WHERE h.tenant = $1::uuid
            """, .identifier(tenant.id))
        return (0..<4).compactMap { row.integer(0, $0) }
    }

    @Test func keptAnswers_areCountedExactly() throws {
        let rest = try RestUnderTest(isIsolated: true)
        func create(_ key: String) throws -> Int {
            try rest.send("POST", "/v1/client", ["name": .string("Harbor \(key)")], headers: [("Idempotency-Key", key)]).status
        }
        func isExact(_ count: Int64) throws -> Bool {
            let kept = try kept(rest.tenant)
            return kept[0] == count && kept[0] == kept[2] && kept[1] == kept[3]
        }
        for key in ["a", "b", "c"] { #expect(try create(key) == 201) }
        #expect(try isExact(3))
        #expect(try create("a") == 201, "a repetition")
        #expect(try isExact(3))
        rest.server.clock.with { $0 += IdempotencyKey.keptMilliseconds + 1 }
        #expect(try create("a") == 201, "expired, and not pruned yet")
        #expect(try isExact(3))
        try maintain(rest.server)
        #expect(try isExact(1))
        rest.server.clock.with { $0 += IdempotencyKey.keptMilliseconds + 1 }
        try maintain(rest.server)
        #expect(try kept(rest.tenant) == [0, 0, 0, 0])
    }

    /// Many are forgotten in parts, so that nobody's write waits for all of them.
    /// A transaction each, so that nobody waits for millions of them.
    @Test func tombstones_areForgottenInParts_andTheHorizonCoversThem() throws {
        let server = try ServerUnderTest(isIsolated: true)
        let tenant = try server.makeTenant()
        let ids = (0..<25).map { _ in server.newIdentifier() }
        try tenant.write(ids.map { Edit.client($0) }).requireAccepted()
        try tenant.write(ids.map { Change("client", $0, .delete) }).requireAccepted()
        let last = try tenant.head.position.position
        // How many rows each statement has taken, as the database saw it.
        try server.connection.script(
            """
            CREATE TABLE public.taken (number bigint, xact bigint);
            CREATE FUNCTION public.note_taken() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN \
            INSERT INTO public.taken SELECT count(*), txid_current() FROM gone; RETURN NULL; END $$;
            CREATE TRIGGER taken AFTER DELETE ON public.client REFERENCING OLD TABLE AS gone FOR EACH STATEMENT \
            EXECUTE FUNCTION public.note_taken();
            """)
        server.clock.with { $0 += 91 * 86_400_000 }
        let maintenance = Maintenance(context: server.context, connection: server.connection)
        #expect(try maintenance.pruneTombstones(tenant: tenant.id, atATime: 10) == 25)
        let taken = try server.connection.run("SELECT number, xact FROM public.taken ORDER BY number DESC")
        #expect(taken.rows.map { taken.integer($0, 0) } == [10, 10, 5])
        #expect(Set(taken.rows.map { taken.integer($0, 1) }).count == 3, "in transactions of their own")
        #expect(try tenant.head.horizon == last)
        #expect(try tenant.rows("public.client") == 0)
        #expect(Maintenance.forgottenAtATime == 10_000)
    }

    @Test func keptAnswers_areForgottenInParts() throws {
        let tenant = try ServerUnderTest(isIsolated: true).makeTenant()
        let count = 2 * IdempotencyKey.prunedAtATime + 5
        _ = try tenant.server.connection.run(
            """
            INSERT INTO tideline.idempotency_key (tenant, member, key, request, status, etag, body, created_at) \
            SELECT $1::uuid, $1::uuid, 'k' || n, 'r', 201, 'e', 'body', 0 FROM generate_series(1, $2::bigint) n
            """, .identifier(tenant.id), .integer(count))
        _ = try tenant.server.connection.run(
            "UPDATE tideline.tenant_head SET kept_answers = $2::bigint, kept_answer_bytes = 4 * $2::bigint WHERE tenant = $1::uuid",
            .identifier(tenant.id), .integer(count))
        try maintain(tenant.server)
        #expect(try kept(tenant) == [0, 0, 0, 0])
    }

    @Test(arguments: ["kept_answers", "kept_answer_bytes"])
    func keptAnswers_areSoManyOfATenant_andWritesWithoutAKeyGoOn(counter: String) throws {
        let rest = try RestUnderTest(isIsolated: true)
        func create(_ key: String?) throws -> RestReply {
            try rest.send("POST", "/v1/client", ["name": "Harbor"], headers: key.map { [("Idempotency-Key", $0)] } ?? [])
        }
        // As if all the others had been kept.
        let most = counter == "kept_answers" ? Int64(IdempotencyKey.perTenantMax) : IdempotencyKey.bytesPerTenantMax
        _ = try rest.server.connection.run(
            "UPDATE tideline.tenant_head SET \(counter) = $2 WHERE tenant = $1::uuid", .identifier(rest.tenant.id), .integer(most - 1))
        #expect(try create("last").status == 201)
        let refused = try create("more")
        #expect(refused.status == 429 && refused.code == "limit_reached" && refused.header("Retry-After") == "3600", "\(refused.text)")
        #expect(refused.json["error"]?["field"] == "Idempotency-Key")
        #expect(try rest.tenant.rows("public.client") == 1, "nothing was written")
        #expect(try create("last").header("Idempotency-Replayed") == "true", "what is kept is answered")
        #expect(try create(nil).status == 201)
        #expect(try rest.otherTenant().send("POST", "/v1/client", ["name": "x"], headers: [("Idempotency-Key", "k")]).status == 201)
        rest.server.clock.with { $0 += IdempotencyKey.keptMilliseconds + 1 }
        try maintain(rest.server)
        #expect(try create("more").status == 201)
    }

    // MARK: Storage

    @Test func fullTenant_isReadAndNotWritten_untilItMayStoreMore() throws {
        let rest = try RestUnderTest(isIsolated: true)
        let made = try rest.send("POST", "/v1/client", ["name": "Harbor"], headers: [("Idempotency-Key", "first")])
        let path = try required(made.header("Location"))
        func store(_ bytes: Int64) throws {
            _ = try rest.server.connection.run(
                "UPDATE tideline.tenant_head SET stored_bytes = $2 WHERE tenant = $1::uuid", .identifier(rest.tenant.id), .integer(bytes))
        }
        let before = try rest.tenant.head
        try store(StorageQuota.bytesMaxDefault)
        let (head, feed) = (try rest.tenant.head, try rest.tenant.feedCount)
        for (method, target, body) in [
            ("POST", "/v1/client", ["name": "Acme"] as JSONValue?), ("PATCH", path, ["name": "Other"]), ("DELETE", path, nil),
        ] {
            let refused = try rest.send(method, target, body, headers: [("Idempotency-Key", "k-\(method)")])
            #expect(refused.status == 429 && refused.code == "limit_reached" && refused.header("Retry-After") == "300", "\(refused.text)")
            #expect(refused.json["error"]?["limit"] == "tenant_bytes" && refused.json["error"]?["field"] == "body")
            #expect(refused.json["error"]?["max"] == .integer(StorageQuota.bytesMaxDefault))
        }
        #expect(try rest.tenant.head == head && rest.tenant.feedCount == feed)
        #expect(try rest.tenant.rows("tideline.idempotency_key") == 1, "a refusal is no answer to keep")
        #expect(try rest.send("GET", path).status == 200 && rest.send("GET", "/v1/client").status == 200)
        let again = try rest.send("POST", "/v1/client", ["name": "Harbor"], headers: [("Idempotency-Key", "first")])
        #expect(again.header("Idempotency-Replayed") == "true", "what was answered is answered again")
        #expect(try rest.otherTenant().send("POST", "/v1/client", ["name": "x"]).status == 201)
        // A new epoch, and what a command writes, are the server's own.
        try Epoch(context: rest.server.context, tenant: rest.tenant.id, connection: rest.server.connection).begin(after: 0)
        _ = try rest.tenant.addMember(role: .field)
        #expect(try rest.tenant.head.storedBytes > StorageQuota.bytesMaxDefault + 2 * StorageQuota.entryBytes)
        try store(before.storedBytes)
        #expect(try rest.send("POST", "/v1/client", ["name": "Acme"], headers: [("Idempotency-Key", "k-POST")]).status == 201)
        #expect(try rest.tenant.head.storedBytes > before.storedBytes + StorageQuota.entryBytes)
    }

    @Test func customFieldsOfAnEntity_areSoMany() throws {
        let rest = try RestUnderTest()
        let definitions = (1...FieldType.mapKeysMax).map { number in
            Change(
                "custom_field", rest.server.newIdentifier(),
                .create(fields: ["entity": "client", "key": .string("k\(number)"), "label": "K", "kind": "text"]))
        }
        try rest.tenant.write(definitions).requireAccepted()
        func define(_ entity: String) throws -> RestReply {
            try rest.send("POST", "/v1/custom_field", ["entity": .string(entity), "key": "more", "label": "More", "kind": "text"])
        }
        let refused = try define("client")
        #expect(refused.status == 409 && refused.code == "conflict" && refused.fields == ["entity too_many"], "\(refused.text)")
        #expect(try define("deal").status == 201)
        #expect(try rest.send("DELETE", "/v1/custom_field/\(definitions[0].key.id.text)").status == 200)
        #expect(try define("client").status == 201)
    }

    @Test func storage_isCountedOnce_inADatabaseFromBefore() throws {
        let server = try ServerUnderTest(isIsolated: true)
        let tenants = try [server.makeTenant(), server.makeTenant()]
        let replica = try tenants[0].enroll()
        for index in 0..<20 { try replica.edit([Edit.client(server.newIdentifier(), "Harbor Bikes \(index)")]) }
        let counted = try tenants.map { try $0.head.storedBytes }
        _ = try server.connection.run("UPDATE tideline.tenant_head SET stored_bytes = 0")
        _ = try server.connection.run("DELETE FROM tideline.meta WHERE key = 'storage'")
        try Migration(.testing).run(server.connection, isForced: true)
        let estimated = try tenants.map { try $0.head.storedBytes }
        for (counted, estimated) in zip(counted, estimated) {
            #expect(estimated > counted * 9 / 10 && estimated < counted * 11 / 10, "\(estimated) for \(counted)")
        }
        try replica.edit([Edit.client(server.newIdentifier())])
        let later = try tenants[0].head.storedBytes
        try Migration(.testing).run(server.connection, isForced: true)
        #expect(try tenants[0].head.storedBytes == later && later > estimated[0])
    }

    // MARK: Dead letters

    @Test func deadLetters_areSoMany_thenTheConsumerWaitsAndItsEventsWithIt() throws {
        let outbox = try OutboxUnderTest()
        try outbox.add(url: "http://127.0.0.1:1/hook", orderedBy: .record)
        _ = try outbox.server.connection.run(
            """
            INSERT INTO tideline.delivery (tenant, consumer, position, status, attempts, record, kind) \
            SELECT $1::uuid, 'hook', -n, 'dead', 12, gen_random_uuid(), 'client.created' FROM generate_series(1, $2::bigint) n
            """, .identifier(outbox.tenant.id), .integer(DeadLetters.perConsumerMax - 2))
        try outbox.makeClients(3)
        func claim() throws -> ClaimedBatch? {
            try outbox.store {
                try DeliveryStore(tenant: $0.tenant, connection: $0.connection).claim(
                    "hook", lease: outbox.server.newIdentifier(), leaseMilliseconds: 90_000, nowMilliseconds: outbox.server.context.now(),
                    limit: 1, withheld: [])
            }
        }
        func die(_ batch: ClaimedBatch) throws -> Bool {
            let now = outbox.server.context.now()
            let dead = batch.items.map {
                SettledDelivery(
                    position: $0.position, attempts: 12, verdict: .dead, result: .refused(status: 500, retryAfter: nil),
                    atMilliseconds: now, durationMilliseconds: 1, requestID: "r", eventRequestID: nil)
            }
            return try outbox.store {
                try DeliveryStore(tenant: $0.tenant, connection: $0.connection).settle(
                    batch, dead, untried: [], failures: 0, blockedUntil: 0, nowMilliseconds: now)
            }
        }
        #expect(try !die(required(claim())))
        #expect(try outbox.consumer().status == .active)
        #expect(try die(required(claim())), "that was the last one that is kept")
        let full = try outbox.consumer()
        #expect(full.status == .disabled && full.reason == DeadLetters.fullReason && full.deadCount == DeadLetters.perConsumerMax)
        #expect(try claim() == nil)
        #expect(full.openCount == 1, "what it had not come to waits")
        _ = try outbox.store { store in
            try DeadLetters(tenant: store.tenant, connection: store.connection, consumer: full.consumer).discard(nil)
        }
        try outbox.store { try $0.resume("hook") }
        #expect(try claim()?.items.count == 1)
    }
}
