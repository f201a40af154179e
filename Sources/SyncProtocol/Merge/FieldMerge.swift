// The policies: how one write meets the current value of one field. Pure; used by the server to decide and by the
// replica to predict (protocol §5).

enum FieldMerge {
    enum Verdict: Equatable {
        /// The value is the written one now.
        case applied
        /// The values were equal.
        case equal
        /// A later concurrent write stands; the written value is kept in the feed only.
        case superseded(by: VersionTag)
        /// A guarded field was changed by someone the author had not seen.
        case conflict(with: VersionTag)
    }

    /// Last writer: sequential edits win, concurrent ones by (timestamp, replica). Returns the version to keep.
    static func lastWriter(
        current: JSONValue, version: VersionTag?, written: JSONValue, by write: VersionTag, knowledge: Knowledge
    ) -> (verdict: Verdict, version: VersionTag) {
        guard let version else { return (current == written ? .equal : .applied, write) }
        if current == written { return (.equal, write.isLater(than: version) ? write : version) }
        if knowledge.covers(version) || write.isLater(than: version) { return (.applied, write) }
        return (.superseded(by: version), version)
    }

    /// Guarded: only who knew the current value may replace it. Equal values keep the older version.
    static func guarded(
        current: JSONValue, version: VersionTag?, written: JSONValue, by write: VersionTag, knowledge: Knowledge
    ) -> (verdict: Verdict, version: VersionTag) {
        guard let version else { return (current == written ? .equal : .applied, write) }
        if current == written { return (.equal, version) }
        return knowledge.covers(version) ? (.applied, write) : (.conflict(with: version), version)
    }

    /// Add-wins set: an add makes a new dot; a remove takes only dots its author knew.
    static func addWinsSet(
        record: inout RecordState, field: String, adding: [String], removing: [String], by write: VersionTag, knowledge: Knowledge
    ) -> Bool {
        var present = Set(record.elements(field))
        let before = present
        var listed = record.versions.elements[field] ?? [:]
        for element in removing where present.contains(element) && !adding.contains(element) {
            let remaining = record.dots(of: element, in: field).filter { !knowledge.covers($0) }
            if remaining.isEmpty {
                present.remove(element)
                listed[element] = nil
            } else {
                listed[element] = remaining
            }
        }
        for element in adding {
            // Whoever knows a set of a replica knows the ones before it, so of each replica the newest add says it all: a clock that
            // leaves its own lane out does not make the list longer.
            let concurrent =
                present.contains(element)
                ? record.dots(of: element, in: field).filter { !knowledge.covers($0) && !$0.isBefore(write) } : []
            listed[element] = concurrent + [write]
            present.insert(element)
        }
        record.versions.elements[field] = listed.isEmpty ? nil : listed
        guard present != before else { return false }
        record[field] = .array(
            present.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { .string($0) })
        return true
    }
}

extension VersionTag {
    /// An earlier set of the same replica.
    fileprivate func isBefore(_ other: VersionTag) -> Bool {
        guard let dot, let later = other.dot else { return false }
        return dot.replica == later.replica && dot.counter < later.counter
    }
}
