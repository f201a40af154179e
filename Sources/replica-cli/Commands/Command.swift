// What a command is, and what all of them share.

import Foundation
import Replica
import SyncProtocol

/// Exit codes (docs/cli.md).
enum ExitCode: Int32, Error {
    case done = 0
    case refused = 1
    case usage = 2
    case unreachable = 3
    case notAllowed = 4
    case storage = 5
}

struct Command: Sendable {
    var name: String
    /// Words after the name, as help shows them.
    var words: String
    var summary: String
    /// What a newcomer needs to know, with examples.
    var help: String
    var options: [OptionSpecification] = []
    /// Needs an existing replica file. `enroll` makes one.
    var opensReplica = true
    var run: @Sendable (Context, ParsedArguments) async throws -> ExitCode
}

/// What a running command works with.
struct Context: Sendable {
    let terminal: Terminal
    let databasePath: String
    /// nil only for commands that do not open the file.
    let replica: Replica?

    func requireReplica() throws -> Replica {
        guard let replica else { preconditionFailure("this command was declared without a replica") }
        return replica
    }

    var schema: Schema { .tideline }

    func entity(_ name: String) throws -> EntitySchema {
        let held = schema.entities.filter { $0.scopes != [.none] }
        guard let entity = held.first(where: { $0.name == name }) else {
            let near = held.map(\.name).filter { $0.hasPrefix(name.prefix(3)) || name.hasPrefix($0.prefix(3)) }
            throw UsageError(
                "there is no entity \(name)",
                hint: "entities: \((near.isEmpty ? held.map(\.name) : near).joined(separator: ", "))")
        }
        return entity
    }

    /// Words of a command, exactly so many.
    static func words(_ arguments: ParsedArguments, _ count: ClosedRange<Int>, _ usage: String) throws -> [String] {
        guard count.contains(arguments.words.count) else {
            throw UsageError(arguments.words.count < count.lowerBound ? "something is missing" : "too many words", hint: "replica \(usage)")
        }
        return arguments.words
    }

    /// The currency amounts of a record are typed and shown in.
    func fieldText(for record: Record?, given: String? = nil) async throws -> FieldText {
        if let given { return FieldText(currency: given) }
        if let currency = record?.text("currency") { return FieldText(currency: currency) }
        return FieldText(currency: try await tenantCurrency())
    }

    func tenantCurrency() async throws -> String? {
        let replica = try requireReplica()
        guard let tenant = try await replica.tenant else { return nil }
        return try await replica.get("tenant", tenant)?.text("base_currency")
    }

    /// A reference typed as a name becomes an id.
    func resolve(_ entity: String, _ name: String) async throws -> Identifier { try await requireReplica().resolve(entity, name).id }
}
