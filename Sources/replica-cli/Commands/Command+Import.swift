// Import: each row of a file becomes a change set of its own. A file that was taken by half, or is imported twice, doubles nothing.

import Foundation
import Replica
import SyncProtocol

extension Command {
    static let importRecords = Command(
        name: "import", words: "ENTITY FILE.csv|FILE.jsonl", summary: "create or change many records, one change set each",
        help: """
            CSV: the first line names the fields; sets are separated by ; and parts of objects are dotted columns (address.city).
            JSONL: one object a line, values in stored form. FILE may be a pipe; - is standard input.
            A row whose `id` is there changes that record where it differs, and an empty cell empties the field; columns that the file
            does not have stay as they are. A row without an id makes a record, once: its id follows from what the row says, so that the
            same file can be imported again after it was interrupted or corrected, and rows that were taken before are left as they are.
            Rows that are refused are listed with their line; the others are imported. Exit code 1 if any was refused.

              replica import client clients.csv
              xlsx2csv clients.xlsx | replica import client -
            """, group: .bulk, arguments: [.entity, .file]
    ) { context, arguments in
        let words = try Context.words(arguments, 2...2, "import ENTITY FILE.csv|FILE.jsonl")
        let entity = try context.entity(words[0])
        let rows = try ImportFile.rows(words[1], entity)
        var work = try await ImportWork(rows, entity, context)
        let interruptions = Interruptions()
        do { try await work.run { interruptions.signalNumber != nil } } catch { throw work.told(error) }
        report(work, rows.count, entity, context.terminal)
        if work.left > 0, let number = interruptions.signalNumber {
            context.terminal.flush()
            await context.replica?.close()
            Interruptions.end(by: number)
        }
        return work.refused.isEmpty ? .done : .refused
    }

    private static func report(_ work: ImportWork, _ total: Int, _ entity: EntitySchema, _ terminal: Terminal) {
        let refused = work.refused.sorted { $0.line < $1.line }
        guard !terminal.isJSON else {
            return terminal.json([
                "created": .integer(Int64(work.created)), "changed": .integer(Int64(work.changed)),
                "unchanged": .integer(Int64(work.unchanged)), "not_reached": .integer(Int64(work.left)),
                "refused": .array(
                    refused.map { ["line": .integer(Int64($0.line)), "violations": .array($0.violations.map(\.json))] }),
            ])
        }
        terminal.line(
            "imported \(entity.name): \(work.created) created, \(work.changed) changed, \(work.unchanged) unchanged, \(refused.count) refused"
        )
        for one in refused.prefix(20) {
            let words = one.violations.map(ErrorReport.words).joined(separator: "; ")
            terminal.note("line \(one.line): \(DisplayWidth.harmless(words))")
        }
        if refused.count > 20 { terminal.note("and \(refused.count - 20) more; use --json to see all") }
        if work.left > 0 {
            terminal.note("replica: interrupted; \(work.left) of \(total) \(total == 1 ? "row was" : "rows were") not reached")
            terminal.note("  \(ImportWork.again)")
        }
    }
}

/// An import under way.
struct ImportWork: Sendable {
    static let again = "import the same file again to go on: rows that were taken are known again, and none is doubled"
    /// Rows that share one durable transaction; each still is a change set of its own.
    private static let batch = 500

    private(set) var created = 0
    private(set) var changed = 0
    private(set) var unchanged = 0
    private(set) var refused: [(line: Int, violations: [Violation])] = []

    private let rows: [ImportRow]
    private let entity: EntitySchema
    private let context: Context
    private let replica: Replica
    private let identifiers: RowIdentifiers?
    /// Of rows that say the same, how many were there before.
    private var occurrences: [String: Int] = [:]
    private var done = 0
    private var progress: Progress

    private struct Write: Sendable {
        var line: Int
        var isNew: Bool
        var body: @Sendable (Edit) throws -> Void
    }

    init(_ rows: [ImportRow], _ entity: EntitySchema, _ context: Context) async throws {
        self.rows = rows
        self.entity = entity
        self.context = context
        replica = try context.requireReplica()
        // Links have ids that follow from what they connect.
        identifiers =
            entity.deterministicKeys.isEmpty ? try await replica.member.map { RowIdentifiers(member: $0, entity: entity.name) } : nil
        progress = Progress("importing \(entity.name)", terminal: context.terminal)
    }

    /// Rows that were not looked at.
    var left: Int { rows.count - done }

    mutating func run(until isStopped: @Sendable () -> Bool) async throws {
        defer { progress.finish() }
        while done < rows.count, !isStopped() {
            let part = rows[done..<min(done + Self.batch, rows.count)]
            var writes: [Write] = []
            var refusals: [(line: Int, violations: [Violation])] = []
            var same = 0
            for row in part {
                if isStopped() { return }
                do {
                    if let write = try await write(row) { writes.append(write) } else { same += 1 }
                } catch {
                    refusals.append((row.line, try Self.violations(error, entity)))
                }
            }
            for (write, result) in zip(writes, try await replica.writeEach(writes.map(\.body))) {
                switch result {
                case .success(let written):
                    if written.counter == nil { same += 1 } else if write.isNew { created += 1 } else { changed += 1 }
                case .failure(let error): refusals.append((write.line, error.violations))
                }
            }
            unchanged += same
            refused += refusals
            done += part.count
            progress.update(done, of: rows.count)
        }
    }

    /// An error that stopped the import, with how far it had got.
    func told(_ error: any Error) -> any Error {
        guard done > 0 else { return error }
        let known = (error as? HintedError)?.error ?? error as? ReplicaError
        guard var known else { return error }
        let way = (error as? HintedError)?.hint ?? ErrorReport.hint(known)
        known.message +=
            "; \(done) of \(rows.count) rows were done before: \(created) created, \(changed) changed, \(refused.count) refused"
        return HintedError(error: known, hint: [way, Self.again].compactMap { $0 }.joined(separator: "; then "))
    }

    /// What is to be done for a row; nil: it was taken before.
    private mutating func write(_ row: ImportRow) async throws -> Write? {
        let entity = entity
        guard let text = row.id else {
            var fresh: Identifier?
            while let identifiers, fresh == nil {
                let number = occurrences[row.content, default: 0]
                occurrences[row.content] = number + 1
                let id = identifiers.identifier(of: row, number)
                let known = try await replica.get(entity.name, id)
                // What was changed since stays as it is; what was deleted since is made anew.
                if let known, !known.isDeleted { return nil }
                if known == nil { fresh = id }
            }
            let (id, values) = (fresh, try await context.importValues(row, of: entity, current: nil))
            return Write(line: row.line, isNew: true) { _ = try $0.create(entity.name, values, id: id) }
        }
        guard let id = Identifier(text) else {
            throw Violation(entity: entity.name, id: nil, field: "id", code: .invalidFormat, message: "id is a UUID")
        }
        guard let current = try await replica.get(entity.name, id) else {
            let values = try await context.importValues(row, of: entity, current: nil)
            return Write(line: row.line, isNew: true) { _ = try $0.create(entity.name, values, id: id) }
        }
        let values = try await context.importValues(row, of: entity, current: current)
        return Write(line: row.line, isNew: false) { try $0.set(entity.name, id, values) }
    }

    /// What is wrong with one row; anything else is thrown on.
    private static func violations(_ error: any Error, _ entity: EntitySchema) throws -> [Violation] {
        switch error {
        case let unreadable as UnreadableValues: return unreadable.violations
        case let violation as Violation: return [violation]
        // A name that fits no record, or several.
        case let hinted as HintedError: return try violations(hinted.error, entity)
        case let error as ReplicaError where error.code == .notFound || error.code == .ambiguous:
            return [Violation(entity: entity.name, id: nil, field: nil, code: .notFound, message: error.message)]
        default: throw error
        }
    }
}

/// The ids of rows that name none: they follow from who imports and what the row says, not from where it stands in the file.
struct RowIdentifiers: Sendable {
    let member: Identifier
    let entity: String

    /// - Parameter number: How many rows before it said the same.
    func identifier(of row: ImportRow, _ number: Int) -> Identifier {
        Identifier.version5(namespace: member, name: "import/\(entity)/\(number)/\(row.content)")
    }
}

extension Context {
    func importValues(_ row: ImportRow, of entity: EntitySchema, current: Record?) async throws -> [String: JSONValue] {
        guard row.values.isEmpty else { return row.values }
        guard let current else {
            var values = try await values(row.assignments, of: entity, current: nil)
            if !values.isEmpty { try await addCurrency(to: &values, of: entity) }
            return values
        }
        // An empty cell says something only where there is something.
        let emptied = row.empty.filter { one in
            let value = one.part.map { current[one.field][$0] ?? .null } ?? current[one.field]
            return !value.isNull && value.arrayValue?.isEmpty != true && value.objectValue?.isEmpty != true
        }
        var values = try await values(row.assignments + emptied, of: entity, current: current)
        // Of a map keys are emptied, one by one.
        for one in emptied where one.part == nil && entity.field(one.field)?.policy == .lastWriterPerKey {
            let keys = current[one.field].objectValue?.keys.map { ($0, JSONValue.null) } ?? []
            values[one.field] = .object(JSONObject(keys))
        }
        return values
    }
}
