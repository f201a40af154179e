// Is this file sound, is its server well, and do both hold the same? Where not, which records differ; mending them leaves
// pending work alone.

import SyncProtocol

/// What a check-up found.
public struct Diagnosis: Sendable {
    public enum Level: String, Sendable, Comparable {
        case ok, warning, problem
        public static func < (one: Level, other: Level) -> Bool { one.rank < other.rank }
        private var rank: Int { self == .ok ? 0 : self == .warning ? 1 : 2 }
    }

    public struct Finding: Sendable {
        /// `file`, `pending`, `problems`, `capture`, `clock`, `server`, `epoch`, `schema`, `content`.
        public let check: String
        public let level: Level
        public let text: String
        /// What to do about it.
        public let advice: String?
    }

    public struct Difference: Sendable, Hashable {
        public enum Kind: String, Sendable { case missing, extra, different }
        public let key: RecordKey
        /// `missing` here, `extra` here, or `different`.
        public let kind: Kind
        /// What it is called here.
        public let title: String?
    }

    public internal(set) var findings: [Finding] = []
    /// Records that differ from the server's.
    public internal(set) var differences: [Difference] = []
    /// False when the server could not be asked, or changed faster than it could be compared with.
    public internal(set) var isCompared = false

    public var level: Level { findings.map(\.level).max() ?? .ok }

    mutating func add(_ check: String, _ level: Level, _ text: String, _ advice: String? = nil) {
        findings.append(Finding(check: check, level: level, text: text, advice: advice))
    }

    /// The file itself is in trouble. What to do is said once.
    mutating func addDamage(_ text: String) {
        let isFirst = !findings.contains { $0.check == "file" && $0.level == .problem }
        add("file", .problem, text, isFirst ? Self.damageAdvice : nil)
    }

    static let damageAdvice = """
        first: replica sync, which often still sends what is pending; then enrol a new file (replica --db NEWFILE enroll URL CODE), \
        keep this one, and send a support bundle (replica doctor --bundle FILE)
        """
}

extension Replica {
    /// Checks the file, and with `online` the server and that both hold the same. Sends nothing and changes nothing; sync before
    /// it if the comparison is to be complete.
    public func diagnose(online: Bool = true) async throws -> Diagnosis {
        var diagnosis = Diagnosis()
        let damage = try await part(&diagnosis, "the file cannot be checked") { try await self.integrityCheck() }
        if let damage {
            if damage.isEmpty { diagnosis.add("file", .ok, "the file is sound") }
            for finding in damage.prefix(10) { diagnosis.addDamage(finding) }
            if damage.count > 10 { diagnosis.addDamage("and \(damage.count - 10) more") }
            if !damage.isEmpty { try await describeWhatIsLeft(&diagnosis) }
        }
        if let changes = try await part(&diagnosis, "the structure of the file cannot be read", { try await self.structureFindings() }) {
            for one in changes { diagnosis.add("file", one.level, one.text, one.advice) }
        }
        let status = try await part(&diagnosis, "what is pending cannot be read") { try await self.status() }
        if let status {
            guard status.isEnrolled else {
                diagnosis.add("server", .warning, "this replica is not enrolled", "replica enroll URL CODE")
                return diagnosis
            }
            describe(status, &diagnosis)
        }
        if let unsealed {
            diagnosis.add(
                "capture", .problem, "edits by plain SQL could not be taken up: \(unsealed.message)", "replica doctor --bundle FILE")
        }
        guard online else { return diagnosis }
        do {
            let server = try await serverDigest()
            diagnosis.add("server", .ok, "\(status?.server ?? "the server") answers and takes the token")
            if let status {
                do { try await compare(server, status, &diagnosis) } catch let error as ReplicaError where error.code == .storage {
                    diagnosis.addDamage("not every record can be read, so that not all is compared with the server: \(error.message)")
                }
            }
        } catch {
            let error = ReplicaError.translated(error, operation: "doctor")
            switch error.code {
            case .storage: diagnosis.addDamage("the server cannot be asked: \(error.message)")
            case .unreachable: diagnosis.add("server", .warning, error.message, "work goes on; try again when there is a network")
            case .notAllowed:
                diagnosis.add(
                    "server", .problem, error.message,
                    "ask an owner for a code, then run on this same file: replica enroll URL CODE; everything in it stays")
            default: diagnosis.add("server", .problem, error.message)
            }
        }
        return diagnosis
    }

    /// A part of the check-up. Where the file fails, that is a finding, and the other parts go on.
    private func part<R>(_ diagnosis: inout Diagnosis, _ otherwise: String, _ body: () async throws -> R) async throws -> R? {
        do { return try await body() } catch {
            let error = ReplicaError.translated(error, operation: "doctor")
            guard error.code == .storage else { throw error }
            diagnosis.addDamage("\(otherwise): \(error.message)")
            return nil
        }
    }

    /// Which entities a damaged file still has whole.
    private func describeWhatIsLeft(_ diagnosis: inout Diagnosis) async throws {
        var (whole, broken): ([String], [String]) = ([], [])
        // Each in a transaction of its own: one that has met damage ends with it.
        for table in file.tables.all {
            let name = table.schema.name
            do {
                try await reading("doctor") { store in try store.connection.forEach(table.select) { _ = try table.record($0) } }
                whole.append(name)
            } catch let error as ReplicaError where error.code == .storage { broken.append(name) }
        }
        if broken.isEmpty { return diagnosis.add("file", .ok, "the records of all \(whole.count) entities can still be read") }
        diagnosis.addDamage("not every \(broken.joined(separator: ", ")) can be read; the other \(whole.count) entities can")
    }

    private func describe(_ status: ReplicaStatus, _ diagnosis: inout Diagnosis) {
        if status.pendingSets == 0 {
            diagnosis.add("pending", .ok, "nothing is waiting to be sent")
        } else {
            let sets = status.pendingSets == 1 ? "1 change set waits" : "\(status.pendingSets) change sets wait"
            diagnosis.add("pending", .ok, "\(sets) to be confirmed")
        }
        if status.predictedRejections > 0 {
            diagnosis.add(
                "pending", .warning, "\(status.predictedRejections) of them would be rejected as things stand", "replica problems")
        }
        if status.problems > 0 {
            diagnosis.add(
                "problems", .warning, "\(status.problems) \(status.problems == 1 ? "problem waits" : "problems wait") for you",
                "replica problems")
        }
        let offset = status.clockOffsetMilliseconds
        if abs(offset) > HybridClock.skewToleranceMilliseconds {
            diagnosis.add(
                "clock", .warning, "this machine's clock is \(abs(offset) / 1000) s \(offset > 0 ? "behind" : "ahead of") the server's",
                "set the clock; edits are stamped with corrected time meanwhile")
        } else {
            diagnosis.add("clock", .ok, "the clock is within \(max(1, abs(offset) / 1000)) s of the server's")
        }
        if status.checkpoint == nil {
            diagnosis.add("content", .warning, "the first sync has not finished", "replica sync")
        }
    }

    private func compare(_ server: ServerDigest, _ status: ReplicaStatus, _ diagnosis: inout Diagnosis) async throws {
        if let version = server.schemaVersion, version != status.schemaVersion {
            diagnosis.add(
                "schema", .warning,
                version > status.schemaVersion
                    ? "the server's schema is newer (\(version)) than this program's (\(status.schemaVersion))"
                    : "the server's schema (\(version)) is older than this program's (\(status.schemaVersion)); edits wait until it is updated",
                version > status.schemaVersion ? "update this program to see what is new; nothing is lost meanwhile" : nil)
        }
        guard let checkpoint = status.checkpoint else { return }
        guard server.position.epoch == checkpoint.epoch else {
            return diagnosis.add(
                "epoch", .warning, "the server was restored from a backup since the last sync", "replica sync (fetches everything anew)")
        }
        guard server.position == checkpoint else {
            return diagnosis.add(
                "content", .warning, "the server is at \(server.position.position), this file at \(checkpoint.position)",
                "replica sync, then check again")
        }
        // A field more changes the hash of every record that may have it.
        guard server.schemaVersion ?? status.schemaVersion == status.schemaVersion else {
            return diagnosis.add("content", .ok, "what both hold is compared when both have the same schema")
        }
        let own = try await digest()
        diagnosis.isCompared = true
        for (entity, digest) in server.entities.sorted(by: { $0.key < $1.key }) where own[entity] != digest {
            guard let mine = own[entity] else { continue }
            let found = try await differences(entity)
            diagnosis.differences += found
            diagnosis.add(
                "content", .problem,
                "\(entity): \(digest.count) records there, \(mine.count) here, \(found.count) differ",
                "replica doctor --repair")
        }
        if diagnosis.differences.isEmpty, !diagnosis.findings.contains(where: { $0.check == "content" }) {
            diagnosis.add("content", .ok, "all \(server.entities.count) entities are the same here and there")
        }
    }

    /// The records of an entity that differ: ranges first, then the records of those that do.
    private func differences(_ entity: String) async throws -> [Diagnosis.Difference] {
        let ranges = (try await ask("digest", DigestRequest(entity: entity).query, "doctor"))["ranges"]?.arrayValue ?? []
        var differences: [Diagnosis.Difference] = []
        var after: Identifier?
        for range in ranges.compactMap(DigestRange.init(json:)) {
            let (first, last) = (after, range.through)
            after = range.through
            let mine = try await reading("doctor") {
                store -> (digest: EntityDigest, hashes: [Identifier: String], titles: [Identifier: String]) in
                guard let table = store.tables[entity] else { throw Listing.unknown(entity) }
                var digest = ContentDigest(of: table.schema)
                var hashes: [Identifier: String] = [:]
                var titles: [Identifier: String] = [:]
                try ConfirmedRecords(store).forEach(table, after: first, through: last) { record in
                    titles[record.id] = record.title
                    guard record.isLive else { return }
                    digest.add(record)
                    hashes[record.id] = ContentDigest.hash(of: record)
                }
                return (EntityDigest(count: digest.count, hash: digest.finish()), hashes, titles)
            }
            guard mine.digest != EntityDigest(count: range.count, hash: range.hash) else { continue }
            let stretch = DigestRequest(entity: entity, after: first, through: last)
            var theirs: [Identifier: String] = [:]
            for pair in (try await ask("digest", stretch.query, "doctor"))["records"]?.arrayValue ?? [] {
                if let id = pair[0]?.stringValue.flatMap({ Identifier($0) }), let hash = pair[1]?.stringValue { theirs[id] = hash }
            }
            for id in Set(theirs.keys).union(mine.hashes.keys).sorted() where theirs[id] != mine.hashes[id] {
                let kind: Diagnosis.Difference.Kind = theirs[id] == nil ? .extra : mine.hashes[id] == nil ? .missing : .different
                differences.append(Diagnosis.Difference(key: RecordKey(entity, id), kind: kind, title: mine.titles[id]))
            }
        }
        return differences
    }

    /// Takes the server's state of the records that differ. Pending edits stay and are replayed on top. Returns how many were mended.
    @discardableResult
    public func repair(_ diagnosis: Diagnosis) async throws -> Int {
        var mended = 0
        let cursor = try await reading("doctor") { try Metadata(connection: $0.connection).text(.cursor) }
        for (entity, differences) in Dictionary(grouping: diagnosis.differences, by: \.key.entity).sorted(by: { $0.key < $1.key }) {
            var (ids, most) = (differences.map(\.key.id)[...], RecordsRequest.recordsMax)
            while !ids.isEmpty {
                let part = Array(ids.prefix(most))
                do {
                    let reply = try await ask("records", RecordsRequest(entity: entity, ids: part, cursor: cursor).query, "doctor")
                    mended += try await writing("doctor") { try $0.repair(entity, part, reply) }
                    ids = ids.dropFirst(part.count)
                } catch TransportFailure.reply(let refusal, _) where refusal.knownCode == .payloadTooLarge && part.count > 1 {
                    most = part.count / 2
                } catch TransportFailure.reply(let refusal, _) where refusal.knownCode == .resyncRequired {
                    throw ReplicaError(
                        .notAllowed, "what this member may read has changed, so that everything is fetched anew: sync, then check again",
                        operation: "doctor", isRetryable: true)
                } catch {
                    throw ReplicaError.translated(error, operation: "doctor")
                }
            }
        }
        return mended
    }
}

extension Store {
    fileprivate func repair(_ entity: String, _ ids: [Identifier], _ reply: JSONValue) throws -> Int {
        guard let table = tables[entity] else { return 0 }
        return try sealedTransaction {
            let head = try Metadata(connection: connection).checkpoint()?.position
            var found: Set<Identifier> = []
            var mended = 0
            for block in reply["entities"]?.arrayValue ?? [] {
                let columns = (block["columns"]?.arrayValue ?? []).compactMap(\.stringValue)
                for row in block["rows"]?.arrayValue ?? [] {
                    let record = try RecordState(schema: table.schema, columns: columns, row: row.arrayValue ?? [], epoch: 0)
                    found.insert(record.id)
                    // What is newer than the checkpoint comes with the next pull, together with what it belongs to.
                    guard record.position.position <= head?.position ?? 0 else { continue }
                    if try hasBase(record.key) { try updateBase(record.key, image: RecordImage.encode(record)) } else { try put(record) }
                    mended += 1
                }
            }
            for id in ids where !found.contains(id) {
                let key = RecordKey(entity, id)
                if try hasBase(key) { try updateBase(key, image: nil) } else { try remove(key) }
                mended += 1
            }
            try replay()
            return mended
        }
    }
}
