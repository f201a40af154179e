// A statement of the shell that writes thousands of rows, and the command that takes them up part by part.

import Foundation
import SyncProtocol
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct LargeStatementTests {
    private static let rows = 2_600
    private static let statement = """
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < \(rows)) \
        INSERT INTO client (name) SELECT 'Client ' || i FROM n;
        """

    @Test func commandKilledBetweenTwoParts_losesNothing_andTheNextGoesOn() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            try await olivia.json("sync")
            try await olivia.shell(Self.statement)
            let killed = try await TestSupport.run(
                "replica", ["--db", olivia.file, "pending"], environment: ["TIDELINE_TEST_STORAGE_KILL": "applySeal:2"])
            #expect(killed.code == -SIGKILL)
            let left = try await olivia.shell(
                "SELECT count(*) FROM client; SELECT count(*) > 0 AND count(*) < \(Self.rows) FROM _tideline_edit;")
            #expect(left.split(separator: "\n") == ["\(Self.rows)", "1"], "some are sealed, some are not, all are there")
            #if canImport(Glibc)
                // Somebody who looks sees how far it is, and then the answer alone.
                let shown = try await PseudoTerminal(columns: 90, rows: 30).run(
                    "replica", ["--db", olivia.file, "status"], errorsToo: true)
                #expect(shown.code == 0)
                #expect(shown.output.contains("taking up edits by SQL ["), "\(shown.output)")
                #expect(shown.output.contains("\r\u{1B}[K"))
            #endif
            #expect(try await olivia.json("pending")["total"] == .integer(Int64(Self.rows)))
            try await olivia.json("sync")
            #expect(try await olivia.json("pending")["total"] == 0)
            #expect(try await olivia.json("problems")["total"] == 0)
            #expect(try await olivia.json("list", "client", "--limit", "1")["total"] == .integer(Int64(Self.rows)))
            #expect(try await olivia.isIdentical())
        }
    }
}
