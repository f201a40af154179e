// A fresh directory with a database for one test, gone afterwards, with a check that no statement was left open.

import Foundation
import Testing

@testable import Replica

/// Owns a directory of its own, so that tests can run in parallel.
final class SQLiteTestFile: Sendable {
    let directory: URL
    var path: String { directory.appendingPathComponent("test.sqlite").path }

    init() throws {
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("tideline-sqlite-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    }

    deinit {
        try? FileManager.default.removeItem(at: directory)
    }

    func path(_ name: String) -> String {
        directory.appendingPathComponent(name).path
    }

    func connect(
        _ mode: SQLiteOpenMode = .readWriteCreate,
        journalMode: SQLiteJournalMode? = .wal,
        busyTimeoutMilliseconds: Int = 5000
    ) throws -> SQLiteConnection {
        try SQLiteConnection(
            path: path, mode: mode, journalMode: journalMode, synchronous: .normal, busyTimeoutMilliseconds: busyTimeoutMilliseconds)
    }
}

/// A connection to a fresh file. Closing it is part of the test: no statement may be left open.
final class SQLiteTestDatabase {
    let connection: SQLiteConnection
    private let file: SQLiteTestFile

    init(_ schema: String = "") throws {
        file = try SQLiteTestFile()
        connection = try file.connect()
        try connection.script(schema)
    }

    func close() {
        #expect(connection.close() == [])
    }
}

/// The `SQLiteError` that `body` throws; nil when it throws none.
///
/// A function instead of `#expect(throws:)` where that would stand inside another closure: Swift 6.3 gives closures in macro
/// arguments and their neighbours the same symbol there, and calls the wrong one.
func sqliteError(_ body: () throws -> Void) throws -> SQLiteError? {
    do {
        try body()
        return nil
    } catch let error as SQLiteError {
        return error
    }
}

/// True when `body` throws the error that it throws on purpose.
func isRefused(_ body: () throws -> Void) throws -> Bool {
    do {
        try body()
        return false
    } catch is Refusal {
        return true
    }
}

/// What a test body throws on purpose.
struct Refusal: Error, Equatable {
    var reason = "on purpose"
}
