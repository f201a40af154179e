// Answers what a decision asks for from the file. Rules declare what they read; this is the only place that loads it.

import SyncProtocol

extension Store {
    enum Knowledge {
        /// For an edit made now: its author knows everything the view shows, so versions do not matter; queued states do.
        case everythingShown
        /// For replay: versions tell what each set's author had not seen.
        case versions
    }

    /// More passes than any chain of dependent reads needs.
    static let loadingPassesMax = 16

    /// Decides with whatever must be loaded for it. `decide` starts anew on each pass, after what was missing is there.
    func deciding<R>(_ workspace: Workspace, _ knowledge: Knowledge, first reads: [Read], _ decide: () throws -> R) throws -> R {
        try load(reads, into: workspace, knowledge)
        for _ in 0..<Self.loadingPassesMax {
            workspace.discardWrites()
            let result = try decide()
            let missing = workspace.takeMissing()
            if missing.isEmpty { return result }
            try load(missing, into: workspace, knowledge)
        }
        throw ReplicaError(.storage, "a rule keeps asking for more records", operation: "decide")
    }

    private func load(_ reads: [Read], into workspace: Workspace, _ knowledge: Knowledge) throws {
        for read in reads {
            switch read {
            case .record(let key):
                workspace.supply(read, records: try record(key).map { [try informed($0, knowledge)] } ?? [])
            case .lookup(let entity, let field, let value, let includingDeleted):
                let records = try lookup(entity, field, value, includingDeleted: includingDeleted)
                workspace.supply(read, records: try records.map { try informed($0, knowledge) })
            case .ancestors(let key, let parent):
                workspace.supply(read, records: try ancestors(key, parent, knowledge))
            case .rejectedCreation(let id):
                workspace.supply(rejectedCreation: id, wasRejected: try wasRejectedCreation(id))
            }
        }
    }

    private func informed(_ record: RecordState, _ knowledge: Knowledge) throws -> RecordState {
        var record = record
        switch knowledge {
        case .everythingShown: record.queuedState = try queuedState(record.key)
        case .versions: if let versions = try versions(record.key, record.schema) { record.versions = versions }
        }
        return record
    }

    private func ancestors(_ key: RecordKey, _ parent: String, _ knowledge: Knowledge) throws -> [RecordState] {
        var chain: [RecordState] = []
        var seen: Set<Identifier> = []
        var next: Identifier? = key.id
        while let id = next, seen.insert(id).inserted, let found = try record(RecordKey(key.entity, id)) {
            chain.append(try informed(found, knowledge))
            next = found.identifier(parent)
        }
        return chain
    }

    /// Whether a set that waits in the problems would have created the record.
    private func wasRejectedCreation(_ id: Identifier) throws -> Bool {
        try connection.scalarInteger(
            "SELECT EXISTS (SELECT 1 FROM _tideline_problem, json_each(_tideline_problem.created) WHERE json_each.value = ?1)",
            [.text(id.text)]) == 1
    }

    /// Who edits here, with the role that the member's own record says.
    func author(_ identity: ReplicaIdentity) throws -> Author {
        let own = try record(RecordKey("member", identity.member))
        let role = own?.text("role").flatMap(Role.init(rawValue:)) ?? identity.role
        return Author(kind: .member, member: identity.member, role: role, replica: identity.replica)
    }
}
