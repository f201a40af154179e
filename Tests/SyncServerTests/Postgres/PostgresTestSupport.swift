// What the Postgres tests share: a connection to the test cluster, and a recorder that waits for callbacks instead of sleeping.
// Calls block for microseconds against a local socket, so these tests make them where they are.

import Foundation
import TestSupport

@testable import SyncServer

enum PostgresTesting {
    static func configuration(_ change: (inout PostgresConfiguration) -> Void = { _ in }) throws -> PostgresConfiguration {
        var configuration = PostgresConfiguration(url: try PostgresFixture.shared().url)
        change(&configuration)
        return configuration
    }

    static func connection(_ change: (inout PostgresConfiguration) -> Void = { _ in }) throws -> PostgresConnection {
        try PostgresConnection(configuration(change))
    }

    /// A name no other test uses.
    static func uniqueName(_ prefix: String) -> String {
        "\(prefix)_\(UInt64.random(in: 0 ... .max))"
    }

    /// The error `body` throws; nil if it does not throw a `PostgresError`.
    static func error<R>(_ body: () throws -> R) -> PostgresError? {
        do { _ = try body() } catch { return error as? PostgresError }
        return nil
    }
}

/// @unchecked Sendable: guarded by the condition.
final class Recorder<Value: Sendable>: @unchecked Sendable {
    private let condition = NSCondition()
    private var recorded: [Value] = []

    func record(_ value: Value) {
        condition.lock()
        recorded.append(value)
        condition.broadcast()
        condition.unlock()
    }

    var values: [Value] {
        condition.lock()
        defer { condition.unlock() }
        return recorded
    }

    /// Waits until what was recorded satisfies the condition; false after the time limit.
    func wait(seconds: Double = 10, until isSatisfied: ([Value]) -> Bool) -> Bool {
        let limit = Date(timeIntervalSinceNow: seconds)
        condition.lock()
        defer { condition.unlock() }
        while !isSatisfied(recorded) {
            if !condition.wait(until: limit) { return isSatisfied(recorded) }
        }
        return true
    }
}
