// Reports over REST: who asks gets an answer about what they may read, and about nothing else.

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct ReportRequestTests {
    private let rest: RestUnderTest
    private let client: String

    init() throws {
        rest = try RestUnderTest()
        client = try rest.create("client", ["name": "Harbor"]).id
    }

    @discardableResult
    private func deal(_ amount: Int64, of owner: Identifier, closes: Int64? = nil) throws -> String {
        try rest.create(
            "deal",
            [
                "title": .string("Deal \(amount)"), "client": .string(client), "currency": "EUR", "owner": .string(owner.text),
                "amount": .integer(amount), "expected_close": closes.map { .integer($0) } ?? .null,
            ]
        ).id
    }

    @Test func list_hasEveryReport_withItsArguments() throws {
        let reply = try rest.get("/v1/reports")
        #expect(reply.status == 200 && reply.json["total"]?.integerValue == Int64(Schema.testing.reports.count))
        #expect(reply.rows == Schema.testing.reports.map(\.json))
        #expect(try rest.get("/v1/reports?limit=5").json["error"]?["parameter"] == "limit")
        #expect(try rest.send("POST", "/v1/reports", [:]).status == 405)
        #expect(try rest.send("POST", "/v1/reports/pipeline", [:]).status == 405)
        #expect(try rest.get("/v1/reports/profit").code == "not_found")
        #expect(try rest.get("/v1/reports/pipeline/x").code == "not_found")
    }

    @Test func report_answersAsTheCommandDoes() throws {
        let day = rest.server.context.now() / 86_400_000
        try deal(1_000, of: rest.tenant.owner, closes: day - 1)
        try deal(500, of: rest.tenant.owner, closes: day)
        let reply = try rest.get("/v1/reports/pipeline")
        #expect(
            reply.json == [
                "report": "pipeline", "arguments": ["as_of": .integer(day)], "total": 1, "has_more": false, "next_cursor": .null,
                "data": [["currency": "EUR", "stage": "lead", "deals": 2, "amount": 1_500, "weighted": 150, "overdue": 1]],
            ], "\(reply.text)")
        let later = CalendarDate.iso(fromDays: day + 1)
        for asked in [later, "\(day + 1)"] {
            #expect(try rest.get("/v1/reports/pipeline?as_of=\(asked)").rows.first?["overdue"] == 2, "\(asked)")
        }
        let overview = try rest.get("/v1/reports/client_overview")
        #expect(overview.rows == [["client": .string(client), "status": "active", "sites": 0, "contacts": 0, "open_deals": 2]])
        try rest.create("client", ["name": "Quay"])
        let first = try rest.get("/v1/reports/client_overview?limit=1")
        #expect(first.rows.count == 1 && first.json["has_more"] == true && first.json["total"] == .null)
        #expect(try rest.get("/v1/reports/client_overview?limit=2").json["has_more"] == false)
    }

    @Test(arguments: [
        ("as_of=tomorrow", "as_of"), ("as_of=2026-02-30", "as_of"), ("as_of=", "as_of"), ("as_of=99999999", "as_of"), ("when=1", "when"),
        ("as_of=1&as_of=2", "as_of"), ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"),
    ])
    func wrongParameter_isNamed(_ query: String, _ parameter: String) throws {
        let reply = try rest.get("/v1/reports/pipeline?\(query)")
        #expect(reply.code == "bad_request" && reply.json["error"]?["parameter"] == .string(parameter), "\(reply.text)")
    }

    /// A report counts what a list shows to the same reader.
    @Test func everyRole_isToldOfWhatItMayRead_only() throws {
        let (finn, farah) = (try rest.member(.field), try rest.member(.field))
        try deal(100, of: finn.id)
        try deal(20, of: farah.id)
        try deal(3, of: rest.tenant.owner)
        let (linked, alone) = (
            try rest.create("contact", ["last_name": "Linked"]).id, try rest.create("contact", ["last_name": "Alone"]).id
        )
        try rest.create("client_contact", ["client": .string(client), "contact": .string(linked)])
        func amounts(_ token: AccessToken?) throws -> JSONValue? {
            try rest.get("/v1/reports/pipeline", as: token).rows.first?["amount"]
        }
        #expect(try amounts(nil) == 123)
        for role in [Role.manager, .viewer] { #expect(try amounts(try rest.member(role).token) == 123) }
        #expect(try amounts(finn.token) == 100)
        #expect(try amounts(farah.token) == 20)
        for (token, expected) in [(finn.token, 1), (rest.token, 3)] {
            let row = try rest.get("/v1/reports/client_overview", as: token).rows.first
            #expect(row?["open_deals"] == .integer(Int64(expected)) && row?["contacts"] == 1)
            #expect(try rest.get("/v1/deal", as: token).json["total"] == row?["open_deals"])
        }
        // What is in nobody's circle is counted for those who see all.
        _ = alone
        let other = try rest.otherTenant()
        for report in Schema.testing.reports { #expect(try other.get("/v1/reports/\(report.name)").rows.isEmpty) }
    }

    /// Restricted fields are nothing to those who may not see them, secret ones to nobody, and a table that a report does not say it reads
    /// is not there.
    @Test func statement_readsWhatItsReaderMayRead() throws {
        try rest.send("PATCH", "/v1/client/\(client)", ["tax_number": "PT9", "credit_limit": 700])
        func rows(_ reads: [String], _ sql: String, _ role: Role) throws -> [[String?]] {
            let report = Report("test", title: "test", reads: reads, columns: [.init("a", .text(0...99))], sql: sql)
            let member = try rest.member(role)
            let query = try ReportQuery(report, [], today: 20_600)
            let statement = try query.statement(
                for: ReaderAccess(member: member.id, role: role), tenant: rest.tenant.id, tables: rest.server.context.tables,
                schema: .testing)
            return try rest.server.connection.transaction(.readOnlySnapshot, tenant: rest.tenant.id) { connection in
                try connection.run("SELECT set_config('search_path', 'pg_catalog', true)")
                let result = try connection.run(statement)
                return result.rows.map { [result.text($0, 0)] }
            }
        }
        let sql = "SELECT tax_number AS a FROM client WHERE deleted_at IS NULL ORDER BY id"
        #expect(try rows(["client"], sql, .manager) == [["PT9"]])
        #expect(try rows(["client"], sql, .field) == [[nil]])
        #expect(try rows(["client"], "SELECT name AS a FROM client WHERE credit_limit > 0 ORDER BY id", .field).isEmpty)
        #expect(throws: PostgresError.self) { _ = try rows(["client"], "SELECT id::text AS a FROM deal ORDER BY id", .owner) }
        #expect(throws: PostgresError.self) { _ = try rows(["member"], "SELECT account::text AS a FROM member ORDER BY id", .owner) }
        #expect(throws: ErrorReply.self) { _ = try rows(["account"], "SELECT email AS a FROM account ORDER BY id", .owner) }
    }
}
