// Errors of the file and its disk, as a person is told them.

import Testing

@testable import Replica
@testable import replica_cli

@Suite struct CommandLineStorageTests {
    /// Every kind of trouble has its words and a hint of its own, without SQL in either.
    @Test(arguments: [
        (5, ReplicaError.Trouble.busy, "unsaved changes", "COMMIT"), (6, .busy, "another program", "COMMIT"),
        (13, .full, "disk is full", "make room"),
        (8, .readOnly, "read-only", "ls -l"), (11, .damaged, "damaged", "replica sync first"), (779, .damaged, "damaged", "replica doctor"),
        (26, .foreign, "as a database", "right file"), (14, .cannotOpen, "as a database", "folder"),
        (1034, .disk, "disk could not", "drive"),
        (2067, .contradiction, "does not fit", "--bundle"), (1, .other, "words of SQLite", "--bundle"),
    ]) func storageErrors_areToldInWords_withAFittingHint(code: Int, trouble: ReplicaError.Trouble, words: String, hint: String) throws {
        let error = ReplicaError.translated(
            SQLiteError(code: Int32(code), message: "words of SQLite", operation: "run", sql: "BEGIN IMMEDIATE"), operation: "write")
        #expect(error.code == .storage && error.trouble == trouble && error.isRetryable == (trouble == .busy))
        #expect(error.message.contains(words) && !error.message.contains("SQLITE_") && !error.message.contains("BEGIN"), "\(error.message)")
        #expect(try #require(ErrorReport.hint(error)).contains(hint))
        #expect(error.detail?.contains("SQLITE_") == true && error.detail?.contains("[BEGIN IMMEDIATE]") == true)
        #expect(error.message.contains("disk is full") == (trouble == .full))
    }
}
