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

/// What a word of a command line is, for completion.
enum ArgumentKind: Sendable, Hashable {
    case text, file, command, shell
    case entity
    /// A record of the entity named before; live ones, or deleted ones.
    case record, deletedRecord
    /// A field of the entity named before, and its value.
    case assignment
    /// A field with a sign for the order; several fields with commas.
    case sortField, fields
    case condition
    case transition, transitionArgument
    /// A report, and an argument of it.
    case report, reportArgument
    case problem
    /// An own change set that can be taken back.
    case ownSet
    case word([String])
}

struct Command: Sendable {
    enum Group: String, Sendable, CaseIterable {
        case exchange = "Begin, and exchange with the server"
        case records = "Records"
        case problems = "What is on its way, and what came back"
        case bulk = "In bulk"
        case more = "More"
    }

    var name: String
    /// Words after the name, as help shows them.
    var words: String
    var summary: String
    /// What a newcomer needs to know, with examples.
    var help: String
    var options: [OptionSpecification] = []
    /// Needs an existing replica file. `enroll` makes one.
    var opensReplica = true
    var group = Group.more
    /// What each word is; the last one repeats.
    var arguments: [ArgumentKind] = []
    /// Long output goes through the pager.
    var isPaged = false
    /// Not for people.
    var isHidden = false
    /// What it does about a file that cannot be opened because it is damaged; nil: nothing but tell.
    var examine: (@Sendable (Context, ParsedArguments, ReplicaError) throws -> ExitCode)?
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

    /// Entities that replicas hold.
    var entities: [EntitySchema] { schema.entities.filter { $0.scopes != [.none] } }

    func entity(_ name: String) throws -> EntitySchema {
        guard let entity = entities.first(where: { $0.name == name }) else {
            let near = Near.names(to: name, in: entities.map(\.name))
            throw UsageError(
                "there is no entity \(name)",
                hint: near.isEmpty
                    ? "entities: \(entities.map(\.name).joined(separator: ", "))" : "did you mean \(near.joined(separator: " or "))?")
        }
        return entity
    }

    /// Words of a command, exactly so many.
    static func words(_ arguments: ParsedArguments, _ count: ClosedRange<Int>, _ usage: String) throws -> [String] {
        guard count.contains(arguments.words.count) else {
            let isShort = arguments.words.count < count.lowerBound
            // The usage names them in order, after the command.
            let names = usage.split(separator: " ").dropFirst().map { $0.filter { !"[]…".contains($0) } }
            throw UsageError(
                isShort
                    ? "\(names.indices.contains(arguments.words.count) ? names[arguments.words.count] : "something") is missing"
                    : "too many words after \"\(arguments.words[count.upperBound - 1 < 0 ? 0 : count.upperBound - 1])\"",
                hint: "usage: replica \(usage)\(isShort ? "" : "   (a name with spaces is written in quotes)")")
        }
        return arguments.words
    }

    static func words(ofRefused count: Int) -> String {
        "\(count) \(count == 1 ? "edit by plain SQL was" : "edits by plain SQL were") refused; see replica problems"
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
    func resolve(_ entity: String, _ name: String) async throws -> Identifier { try await record(entity, name).id }

    /// The record that a person means, or an error that says how to find it.
    func record(_ entity: String, _ name: String, includingDeleted: Bool = false) async throws -> Record {
        do {
            return try await requireReplica().resolve(entity, name, includingDeleted: includingDeleted)
        } catch let error as ReplicaError where error.code == .notFound {
            let looks =
                self.schema.entity(entity)?.titleField.map { " --where '\($0) ~ \(name.prefix(12).replacing("'", with: ""))'" } ?? ""
            throw HintedError(error: error, hint: "look for it: replica list \(entity)\(Identifier(name) == nil ? looks : "")")
        } catch let error as ReplicaError where error.code == .ambiguous {
            throw HintedError(error: error, hint: "give more of the name, or the id as replica list shows it")
        }
    }
}

/// An error, and what to do next.
struct HintedError: Error {
    var error: ReplicaError
    var hint: String
}
