// The code of the library's guide. Every Swift block in Sources/Replica/Replica.docc stands here, line for line, and so compiles;
// what can run without a server is run by GuideTests.

import Foundation
import SyncProtocol

@testable import Replica

enum GuideSnippets {
    static func open(_ path: String, server: URL, code: String) async throws {
        let replica = try await Replica.open(path)
        if try await !replica.isEnrolled {
            try await replica.enroll(server: server, code: code, label: "Nina's phone")
        }
    }

    static func sync(_ replica: Replica) async throws {
        let report = try await replica.sync()
        print("\(report.pulledRecords) records, \(report.accepted) changes accepted")
    }

    static func stay(_ replica: Replica) async {
        let syncing = Task { try await replica.syncContinuously() }
        syncing.cancel()
        _ = await syncing.result
    }

    static func write(_ replica: Replica) async throws -> Identifier {
        let result = try await replica.write { edit in
            let client = try edit.create("client", ["name": "Pier 9 Marina", "tags": ["marina"]])
            try edit.create("contact", ["first_name": "Nina", "last_name": "Ortiz"])
            return client
        }
        let client = result.value
        return client
    }

    static func refused(_ replica: Replica, _ client: Identifier) async throws {
        do {
            try await replica.write { try $0.set("client", client, ["name": .null]) }
        } catch let error as ReplicaError {
            for violation in error.refusedViolations ?? [] {
                print("\(violation.field ?? ""): \(violation.message)")
            }
        }
    }

    static func tags(_ replica: Replica, _ client: Identifier) async throws {
        try await replica.write { edit in
            try edit.add("client", client, "tags", ["vip"])
            try edit.remove("client", client, "tags", ["marina"])
        }
    }

    static func read(_ replica: Replica, _ client: Identifier) async throws -> (RecordList, [Row]) {
        let record = try await replica.get("client", client)
        print(record?.title ?? "", record?.elements("tags") ?? [])

        let page = try await replica.list("client", where: [Filter("tags", .contains, "vip")], sort: Sort("name"), limit: 20)
        let totals = try await replica.query("SELECT status, count(*) AS clients FROM client WHERE deleted_at IS NULL GROUP BY status")
        return (page, totals)
    }

    static func problems(_ replica: Replica) async throws {
        for problem in try await replica.problems() {
            print(problem.summary)
            for violation in problem.violations {
                let (server, yours) = (violation.parameters["server"], violation.parameters["yours"])
                print(violation.message, server ?? .null, yours ?? .null)
            }
        }
    }

    static func settle(_ replica: Replica, _ problem: Problem) async throws {
        try await replica.retry(problem)
        try await replica.edit(problem, ["notes": "Key at the desk; ask for Sam"])
        try await replica.discard(problem)
    }

    static func undo(_ replica: Replica) async throws {
        let undone = try await replica.undo()
        for part in undone.kept { print("\(part.title): \(part.reason)") }
    }

    static func history(_ replica: Replica, _ client: Identifier) async throws {
        for event in try await replica.history("client", client) {
            print(event.actor, event.text, event.status)
        }
    }

    static func observe(_ replica: Replica, show: ([Record]) -> Void) async throws {
        for try await page in replica.observeList("client", sort: Sort("name"), limit: 50) {
            show(page.data)
        }
    }

    static func observeCount(_ replica: Replica, showCount: (SQLiteValue?) -> Void) async throws {
        for try await rows in replica.observe("SELECT count(*) AS n FROM client WHERE deleted_at IS NULL") {
            showCount(rows.first?["n"])
        }
    }

    static func status(_ replica: Replica, showStatus: (String) -> Void) async {
        for await state in replica.state {
            switch state {
            case .idle: showStatus("up to date")
            case .pushing(let sets): showStatus("sending \(sets)")
            case .pulling(let records): showStatus("fetched \(records)")
            case .applying: showStatus("applying")
            case .waiting(let milliseconds, let reason): showStatus("\(reason); again in \(milliseconds / 1000) s")
            case .refused(let reason): showStatus("up to date; not sent: \(reason)")
            case .stopped(let reason): showStatus(reason)
            }
        }
    }
}
