// SQL functions written in Swift.

import Foundation
import Testing

@testable import Replica

@Suite struct SQLiteFunctionTests {
    @Test(arguments: SQLiteStatementTests.values)
    func function_passesValuesThrough_unchanged(value: SQLiteValue) throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        try connection.registerFunction("same", argumentCount: 1, deterministic: true) { $0[0] }
        #expect(try connection.query("SELECT same(?)", [value]) { $0.value(0) } == [value])
    }

    @Test func function_takesAnyCount_whenVariadic() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        try connection.registerFunction("how_many", argumentCount: -1, deterministic: true) { SQLiteValue($0.count) }
        #expect(try connection.query("SELECT how_many(), how_many(1, 'b', NULL)") { $0.values() } == [[0, 3]])
    }

    @Test func function_failsStatement_whenItThrows() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        try connection.registerFunction("refuse", argumentCount: 0, deterministic: false) { _ in throw Refusal(reason: "not today") }
        let plain = try #require(throws: SQLiteError.self) { try connection.execute("SELECT refuse()") }
        #expect(plain.name == "SQLITE_ERROR")
        #expect(plain.message.contains("not today"))

        let typed = SQLiteError(code: 275, message: "out of range", operation: "function")
        try connection.registerFunction("check_range", argumentCount: 0, deterministic: false) { _ in throw typed }
        let kept = try #require(throws: SQLiteError.self) { try connection.execute("SELECT check_range()") }
        #expect(kept.code == 275 && kept.message == "out of range")
    }

    @Test func function_runsInTrigger_whenRowIsWritten() throws {
        let schema = "CREATE TABLE t (a); CREATE TABLE log (a)"
        let database = try SQLiteTestDatabase(schema)
        defer { database.close() }
        let connection = database.connection
        try connection.registerFunction("shout", argumentCount: 1, deterministic: true) { arguments in
            guard case .text(let text) = arguments[0] else { return nil }
            return .text(text.uppercased())
        }
        try connection.execute("CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO log VALUES (shout(NEW.a)); END")
        try connection.execute("INSERT INTO t VALUES (?)", ["flut ß"])
        #expect(try connection.scalarText("SELECT a FROM log") == "FLUT SS")
    }

    @Test func function_isReleased_whenReplacedOrClosed() throws {
        final class Captured { deinit {} }
        weak var first: Captured?
        weak var second: Captured?
        let connection = try SQLiteConnection(path: "", mode: .memory)
        func register(_ captured: Captured) throws {
            try connection.registerFunction("held", argumentCount: 0, deterministic: true) { _ in
                withExtendedLifetime(captured) { 1 }
            }
        }
        func registerFirst() throws {
            let captured = Captured()
            first = captured
            try register(captured)
        }
        func registerSecond() throws {
            let captured = Captured()
            second = captured
            try register(captured)
        }
        try registerFirst()
        #expect(first != nil)
        try registerSecond()
        #expect(first == nil && second != nil)
        connection.close()
        #expect(second == nil)
    }

    @Test func registration_fails_whenArgumentCountIsImpossible() throws {
        let connection = try SQLiteConnection(path: "", mode: .memory)
        #expect(throws: SQLiteError.self) {
            try connection.registerFunction("many", argumentCount: 100_000, deterministic: true) { _ in nil }
        }
    }
}
