// What records are called in this file, before a rebuild for a restored server replaces them: that one gives its next numbers above all
// of these, and gives sets that it has lost the numbers they had (protocol §7.4).

import SyncProtocol

struct HeldNumbers {
    private var numbers: [RecordKey: String] = [:]
    private var last: [RecordKey: NumberReport] = [:]
    private var numberings: [Numbering] = []

    init() {}

    /// What is confirmed, pending edits aside: replicas never give numbers.
    init(_ store: Store) throws {
        numberings = store.schema.numberings
        for numbering in numberings where store.tables[numbering.entity] != nil {
            try store.connection.forEach(
                "SELECT id, \"\(numbering.field)\" FROM \"\(numbering.entity)\" WHERE \"\(numbering.field)\" IS NOT NULL"
            ) { row in
                guard let id = Identifier(row.text(0)), let text = row.optionalText(1), let (year, place) = numbering.read(text) else {
                    return
                }
                numbers[RecordKey(numbering.entity, id)] = text
                let report = NumberReport(kind: numbering.kind, year: year, last: place)
                if place > last[report.key]?.last ?? 0 { last[report.key] = report }
            }
        }
    }

    /// Keeps what is to be told until it has been. Who may only read tells nothing.
    func report(in meta: Metadata) throws {
        let identity = try meta.requireIdentity("sync")
        let told = try Self.reports(meta, .toldNumbers)
        guard !last.isEmpty || !told.isEmpty, identity.role != .viewer, identity.replication != "readonly" else { return }
        // Of what was told before, heard or not, the records may not be back.
        var reports = last
        for report in told where report.last > reports[report.key]?.last ?? 0 { reports[report.key] = report }
        let newest = reports.values.sorted { ($0.year, $0.kind) > ($1.year, $1.kind) }.prefix(NumberReport.maximumCount)
        let text = JSONValue.array(newest.map(\.json)).canonicalText
        try meta.set(.numbers, text)
        try meta.set(.toldNumbers, text)
    }

    static func reported(in meta: Metadata) throws -> [NumberReport] { try reports(meta, .numbers) }

    private static func reports(_ meta: Metadata, _ key: Metadata.Key) throws -> [NumberReport] {
        guard let text = try meta.text(key) else { return [] }
        return (try JSONValue(parsing: text).arrayValue ?? []).compactMap(NumberReport.init(json:))
    }

    /// The numbers of records that a set has given them, as a JSON object by id; nil: none.
    func given(by set: ChangeSet) -> String? {
        var given: JSONObject = [:]
        for change in set.changes {
            guard case .transition(let name, _, _) = change.operation, let number = numbers[change.key],
                numberings.contains(where: { $0.entity == change.key.entity && $0.transitions.contains(name) })
            else { continue }
            given[change.key.id.text] = .string(number)
        }
        return given.isEmpty ? nil : JSONValue.object(given).canonicalText
    }

    static func read(_ text: String) throws -> [Identifier: String] {
        let object = try JSONValue(parsing: text).objectValue ?? [:]
        return Dictionary(
            object.compactMap { entry in
                guard let id = Identifier(entry.key), let number = entry.value.stringValue else { return nil }
                return (id, number)
            }, uniquingKeysWith: { first, _ in first })
    }
}
