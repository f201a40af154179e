// Nobody writes what they may not see: to a set, a record that is not for its author is not there (protocol §7.10).

extension SetDecider {
    /// Whose right to see is asked. The server sees everything, and a replica holds nothing that is not for its member.
    var reader: ReaderAccess? {
        guard mode == .server, author.kind == .member, !submission.isOfLostHistory, let member = author.member else { return nil }
        return ReaderAccess(member: member, role: author.role)
    }

    /// Judged as of the beginning of the set: who gives a deal away may say more about it with the same command, and who pulls a record
    /// to themselves with one change has not earned the next.
    func isVisible(_ record: RecordState) -> Bool {
        guard let reader, !reader.seesEveryRow(of: record.schema) else { return true }
        guard committedKeys.contains(record.key), let first = committed.first(where: { $0.key == record.key }) else {
            return reader.sees(record)
        }
        return first.before.map { reader.sees($0) } ?? true
    }

    /// The record that a change is about, tombstones included, or nil after saying that there is none: in the same words whether
    /// there is none or none that its author may see.
    mutating func knownRecord(_ key: RecordKey) -> RecordState? {
        if let record = workspace.record(key), isVisible(record) { return record }
        if workspace.wasRejectedCreation(key.id) {
            refuse(key, "id", .dependsOnRejected, "the set that would have created this \(key.entity) was rejected")
        } else if let entity = schema.entity(key.entity), let reader, reader.seesSomeRows(of: entity) {
            refuse(key, "id", .notFound, "there is no such \(key.entity), or it is no longer yours to see")
        } else {
            refuse(key, "id", .notFound, "there is no such \(key.entity)")
        }
        return nil
    }

    /// What a record is called to the author.
    func name(of record: RecordState) -> String {
        isVisible(record) ? "\(record.schema.name) \(record.title)" : "a \(record.schema.name) that you do not see"
    }
}
