// A tenant on some store with everything that scenarios do to it; every answer goes into the transcript.

import Foundation
import Replica
import ServerSupport
import SyncProtocol
import TestSupport

final class Company {
    let store: Store
    let core: any ServerCore
    /// Server time, milliseconds; moves only when told.
    let clock: Locked<Int64>
    private(set) var transcript: [String] = []
    private(set) var peers: [Peer] = []
    private var ids: IdentifierGenerator

    init(
        _ store: Store, schema: Schema = .testing, tenant: Identifier, seed: UInt64 = 1, waitingLimits: WaitingLimits = WaitingLimits()
    ) throws {
        self.store = store
        let clock = Locked<Int64>(1_773_600_000_000)
        self.clock = clock
        core = try store.open(
            schema: schema, tenant: tenant, random: SeededRandom(seed: seed), waitingLimits: waitingLimits, now: { clock.with { $0 } })
        let random = Locked(SeededRandom(seed: seed ^ 0xC0_FFEE))
        ids = IdentifierGenerator(random: { random.with { $0.next() } })
    }

    var now: Int64 { clock.with { $0 } }
    func pass(_ milliseconds: Int64) { clock.with { $0 += milliseconds } }
    func newID() -> Identifier { ids.next(milliseconds: now) }

    // MARK: Administration

    /// A new member's replica (or a further one of `member`), which has not pulled yet.
    func enroll(_ name: String, _ role: Role = .owner, member: Identifier? = nil) throws -> Peer {
        let invitation = core.invite(name, role: role, member: member)
        let reply = try required(
            try enroll(code: invitation.code, label: name))
        return Peer(self, name, reply)
    }

    func enroll(code: String, label: String, attempt: String? = nil, continues: FormerReplica? = nil) throws -> EnrollmentReply? {
        let request = EnrollmentRequest(
            code: code, label: label, platform: "linux", schemaVersion: 1, attempt: attempt, continues: continues)
        return try answered("enroll \(label)", Telling.enrollment) { try core.enroll(request) }
    }

    func add(_ peer: Peer) { peers.append(peer) }

    @discardableResult
    func write(_ changes: [Change], knowing position: Int64? = nil) -> Outcome {
        pass(1)
        let outcome = core.write(changes, knowing: position)
        tell("server writes", outcome.json.canonicalBytes())
        return outcome
    }

    /// A record that everyone learns of.
    @discardableResult
    func create(_ entity: String, _ fields: JSONObject) -> Identifier {
        let id = newID()
        write([Change(entity, id, .create(fields: fields))])
        return id
    }

    func value(_ entity: String, _ id: Identifier, _ field: String) -> JSONValue { core.record(entity, id)?[field] ?? .null }
    func isLive(_ entity: String, _ id: Identifier) -> Bool { core.record(entity, id)?.isLive ?? false }

    // MARK: Transcript

    func tell(_ what: String) { transcript.append(what) }
    func tell(_ what: String, _ bytes: [UInt8]) { tell("\(what): \(String(decoding: bytes, as: UTF8.self))") }

    /// nil when the server refuses; the transcript has the code and what goes with it.
    func answered<Answer>(_ what: String, _ text: (Answer) throws -> String, _ call: () throws -> Answer) throws -> Answer? {
        do {
            let answer = try call()
            tell("\(what): \(try text(answer))")
            return answer
        } catch TransportFailure.reply(let error, let status) {
            refused = error
            tell("\(what): refused \(status) \(error.code) \(JSONValue.object(error.details).canonicalText)")
            return nil
        }
    }

    /// The last refusal.
    var refused: ErrorReply?

    /// What the server holds in the end: digests, every record, the whole feed.
    func tellFinalState() throws {
        for (entity, digest) in core.digest().sorted(by: { $0.key < $1.key }) { tell("\(entity) \(digest.count) \(digest.hash)") }
        let state = core.snapshot()
        tell("head \(state.epoch) \(state.position), \(state.storedBytes) bytes")
        for record in state.records.values.sorted(by: { ($0.schema.name, $0.id) < ($1.schema.name, $1.id) }) {
            let columns = RowLayout(of: record.schema, audience: .server).columns
            tell("\(record.key)", JSONValue.array(columns.map { record.column($0) }).canonicalBytes())
        }
        for entry in state.feed { tell("entry", entry.json.canonicalBytes()) }
    }
}

extension JSONValue {
    var canonicalText: String { String(decoding: canonicalBytes(), as: UTF8.self) }
}
