// Reports on Postgres, as the server's own role sees one tenant: the rows that a replica gives (`ReplicaTests/View/ReportTests`).

import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct ReportStatementTests {
    private let server: ServerUnderTest
    private let tenant: TenantUnderTest

    init() throws {
        server = try ServerUnderTest()
        tenant = try server.makeTenant()
    }

    private func rows(_ name: String, _ given: [String: JSONValue] = [:], of tenant: TenantUnderTest? = nil) throws -> [[JSONValue]] {
        let tenant = tenant ?? self.tenant
        let report = try required(Schema.testing.report(name))
        let values = try report.values(given, today: 20_600)
        return try server.connection.transaction(.readOnlySnapshot, tenant: tenant.id) { connection in
            let result = try connection.run(
                PostgresStatement(report.statement { "$\($0 + 1)::bigint" }, values.map { .integer($0) }))
            return result.rows.map { row in
                report.columns.indices.map { column in
                    switch report.columns[column].type {
                    case .integer, .money: result.integer(row, column).map { .integer($0) } ?? .null
                    default: result.text(row, column).map { .string($0) } ?? .null
                    }
                }
            }
        }
    }

    @Test func reports_answerAsAReplicaDoes_forOneTenantOnly() throws {
        let (client, member) = (server.newIdentifier(), tenant.owner)
        try tenant.write([Edit.client(client)]).requireAccepted()
        func deal(_ amount: Int64, _ currency: String, _ probability: Int64?, closes: Int64) throws -> Identifier {
            let id = server.newIdentifier()
            let fields: JSONObject = [
                "title": .string("Deal \(amount)"), "client": .string(client.text), "owner": .string(member.text),
                "amount": .integer(amount), "currency": .string(currency), "expected_close": .integer(closes),
                "probability": probability.map { .integer($0) } ?? .null,
            ]
            try tenant.write([Change("deal", id, .create(fields: fields))]).requireAccepted()
            return id
        }
        func move(_ deal: Identifier, _ name: String, from state: String) throws {
            try tenant.write([
                Change("deal", deal, .transition(name: name, observed: state, arguments: JSONObject()))
            ]).requireAccepted()
        }
        _ = try deal(1_001, "EUR", 50, closes: 20_599)
        _ = try deal(2_000, "EUR", nil, closes: 20_600)
        try move(try deal(300, "EUR", 10, closes: 20_600), "qualify", from: "lead")
        let won = try deal(5_000, "USD", 100, closes: 20_600)
        try move(won, "qualify", from: "lead")
        try move(won, "win", from: "qualified")
        try tenant.write([Change("deal", try deal(9_000, "USD", 100, closes: 20_600), .delete)]).requireAccepted()

        #expect(try rows("pipeline") == [["EUR", "lead", 2, 3_001, 701, 1], ["EUR", "qualified", 1, 300, 30, 0]])
        #expect(try rows("pipeline", ["as_of": 20_599]).first?[5] == 0)
        #expect(try rows("client_overview") == [[.string(client.text), "active", 0, 0, 3]])
        let closed = try required(try tenant.record("deal", won)?.integer("closed_at"))
        let day = JSONValue.integer(closed / 86_400_000)
        #expect(try rows("closed_deals", ["from": day, "until": day]) == [[.string(member.text), "USD", 1, 5_000, 0, 0]])
        #expect(try rows("closed_deals", ["from": 0, "until": .integer(closed / 86_400_000 - 1)]).isEmpty)

        let other = try server.makeTenant()
        for report in Schema.testing.reports { #expect(try rows(report.name, of: other).isEmpty, "\(report.name)") }
    }
}
