// What a file of one schema consists of, worked out once a process: the texts of its triggers are long, and apps and tests open many files.

import Foundation
import SyncProtocol

final class FileLayout: Sendable {
    let tables: ReplicaTables
    let engineTables: [String]
    let triggers: [String]
    /// What makes this build's tables where there are none; columns that older ones have to gain are apart.
    let statements: [String]
    /// Two builds whose files differ in anything have different ones.
    let hash: String

    private init(_ schema: Schema) {
        tables = ReplicaTables(schema)
        engineTables = ReplicaFile.engineTables + CaptureTable.engineTables + ActivityTable.engineTables
        triggers = tables.all.flatMap(CaptureTable.triggers)
        statements = engineTables + tables.all.flatMap { [$0.create] + $0.indexes } + triggers
        let added = ReplicaFile.addedColumns.map { "\($0.table).\($0.column) \($0.type)" }
        hash = Hex.encode(SHA256.hash(Array((statements + added).joined(separator: ";\n").utf8)))
    }

    /// The same for every file of a schema, as long as no handful of others were opened in between.
    static func of(_ schema: Schema) -> FileLayout { known.layout(of: schema) }

    private static let known = Known()

    private final class Known: @unchecked Sendable {
        private static let countMax = 4
        private let lock = NSLock()
        /// The one that was asked for last comes last.
        private var layouts: [FileLayout] = []

        func layout(of schema: Schema) -> FileLayout {
            lock.withLock {
                let index = layouts.firstIndex { $0.tables.schema === schema }
                let layout = index.map { layouts.remove(at: $0) } ?? FileLayout(schema)
                layouts.append(layout)
                if layouts.count > Self.countMax { layouts.removeFirst() }
                return layout
            }
        }
    }
}
