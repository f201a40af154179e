// What administrative commands share: the database, found or started for as long as they need it, and a context to write with.

import Foundation
import SyncProtocol

struct Administration {
    let context: SyncContext
    let connection: PostgresConnection

    /// Runs `body` on a migrated database. A cluster that a running server keeps is used, not started.
    static func run<R>(_ configuration: Configuration, _ body: (Administration) throws -> R) throws -> R {
        let database = try Database(configuration, mayShare: true, log: { _ in })
        defer { database.stop() }
        try database.migrate(.tideline)
        let connection = try database.connect(name: "tideline admin")
        defer { connection.close() }
        // A server that is running hears of it and wakes who waits.
        let notifier = PostgresNotifier(configuration.postgres(database.url, name: "tideline admin"))
        notifier.start()
        defer { notifier.stop() }
        let context = SyncContext(
            tables: EntityTables(.tideline), cursorSeal: try CursorSeal.load(from: connection), now: WallClock.milliseconds,
            announce: { notifier.notify("tideline", $0.text) }, step: database.step)
        return try body(Administration(context: context, connection: connection))
    }

    func identifier(_ text: String, _ what: String) throws -> Identifier {
        guard let id = Identifier(text) else { throw UsageError("\(what) is a UUID") }
        return id
    }

    func write(_ tenant: Identifier) -> ServerWrite { ServerWrite(context: context, tenant: tenant, connection: connection) }

    /// A new id; not before those of other processes, and unguessable.
    func newIdentifier() -> Identifier { context.identifiers.next(milliseconds: context.now()) }

    func requireTenant(_ tenant: Identifier) throws {
        let found = try connection.transaction(.readOnlySnapshot, tenant: tenant) { try $0.run(TenantHead.read(tenant)).rowCount }
        if found == 0 { throw ErrorReply(.notFound, "there is no tenant \(tenant.text)") }
    }
}

enum AdministrationCommand {
    static func migrate(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        try arguments.finish()
        let database = try Database(configuration, mayShare: true, log: { _ in })
        defer { database.stop() }
        let report = try database.migrate(.tideline, isForced: true)
        console.show(["migrated": true, "schema": .integer(report.schemaVersion)], "the database is at schema \(report.schemaVersion)")
        return .done
    }

    /// After a backup was put back: all tenants begin a new epoch, before any replica finds out by itself.
    static func restored(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        try arguments.finish()
        return try Administration.run(configuration) { administration in
            let tenants = try Maintenance.tenants(on: administration.connection)
            for tenant in tenants {
                try Epoch(context: administration.context, tenant: tenant, connection: administration.connection).begin(after: 0)
            }
            console.show(
                ["tenants": .integer(Int64(tenants.count))],
                "\(tenants.count) \(tenants.count == 1 ? "tenant" : "tenants") began a new epoch; replicas will rebuild, keeping what is pending"
            )
            return .done
        }
    }
}
