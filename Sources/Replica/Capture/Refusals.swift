// Refusals that happened while nobody was looking. Edits by plain SQL are sealed by whatever opens or writes the file next: a sync,
// an edit, a watch, a shell that completes a word. Who sealed them is not who typed them, so that the file remembers which of the
// problems that came of it have been told, and the next one to report tells the rest.

import SyncProtocol

extension Store {
    /// Open problems of edits by plain SQL that nobody has been told yet, oldest first; from now on they count as told.
    func takeUntoldRefusals() throws -> [Problem] {
        let untold = "status = 'refused' AND resolved_at IS NULL AND told IS NULL"
        let isNews = try connection.scalarInteger("SELECT EXISTS (SELECT 1 FROM _tideline_problem WHERE \(untold))") == 1
        guard isNews else { return [] }
        return try connection.immediateTransaction {
            let problems = try connection.query("SELECT \(Self.problemColumns) FROM _tideline_problem WHERE \(untold) ORDER BY id") {
                try problem($0)
            }
            try connection.execute("UPDATE _tideline_problem SET told = 1 WHERE \(untold)")
            return problems
        }
    }
}

extension Store {
    /// The number of the open problem that a set without contents left behind.
    func openProblem(of row: PendingRow) throws -> Int64? {
        try connection.scalarInteger(
            "SELECT id FROM _tideline_problem WHERE counter = ?1 AND hash = ?2 AND resolved_at IS NULL",
            [.integer(row.counter), .text(row.hash)])
    }
}

extension Replica {
    /// Problems that edits by plain SQL have become and that neither a ``SyncReport`` nor an earlier call has told. Each is told once;
    /// all of them stay in ``problems()`` until they are settled.
    public func untoldRefusals() async throws -> [Problem] { try await writing("problems") { try $0.takeUntoldRefusals() } }

    /// Why edits by plain SQL could not be taken up when this file was opened; nil when they were, or there were none.
    public var unsealed: ReplicaError? { file.unsealed }
}
