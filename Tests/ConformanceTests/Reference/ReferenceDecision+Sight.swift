// Who sees what in the reference, for the entities that histories use (protocol §7.10): what an author may not see is not there.

import SyncProtocol

extension ReferenceDecision {
    /// The record, if there is one for this author. It counts what they could see when the set began.
    func known(_ key: RecordKey) -> ReferenceRecord? {
        guard let record = records[key] else { return nil }
        guard offer.dot != nil, offer.role == .field, mistake != .writesUnseen, let before = reference.records[key] else { return record }
        return isForField(before) ? record : nil
    }

    private func isForField(_ record: ReferenceRecord) -> Bool {
        switch record.entity {
        case "contact": record.isLinked
        case "deal": record.identifier("owner") == offer.member
        case "movement": record.madeBy == offer.member
        case "document", "document_line": false
        default: true
        }
    }

    /// A contact that is written counts as linked if it is now.
    mutating func look(at key: RecordKey) {
        guard key.entity == "contact", records[key]?.isLive == true else { return }
        let links = rows("client_contact", where: "contact", is: key.id)
        records[key]?.isLinked = !links.isEmpty
    }

    /// Links that the set made or took move their contacts.
    mutating func lookAround() {
        for key in records.keys where key.entity == "contact" { look(at: key) }
    }
}
