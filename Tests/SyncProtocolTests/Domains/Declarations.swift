// Declarations in the words in which they were decided, a line a field, so that a test can hold them against a text that people read.

import SyncProtocol

extension EntitySchema {
    /// `client! ref(client)^cascade W ix`, and so on: see ``DeclarationTests``.
    var declaration: String {
        var head = "\(name): \(category), access \(access.rawValue), scope \(scopes.map { "\($0)" }.joined(separator: " + "))"
        if !accessNotes.isEmpty {
            head += ", " + accessNotes.map { "\($0.role.rawValue) only \($0.operations.map { "\($0)" }.sorted())" }.joined(separator: ", ")
        }
        if let ownerField { head += ", owner \(ownerField)" }
        if selfEditable { head += ", self may edit" }
        if !deterministicKeys.isEmpty { head += ", id of \(deterministicKeys.joined(separator: " "))" }
        if !isCreatable { head += ", not created" }
        if !isDeletable { head += ", not deleted" }
        let lines = fields.map { "  " + $0.declaration } + (machine?.transitions ?? []).map { "  > " + $0.declaration }
        return ([head] + lines + (machine.map { [$0.rebases ? "  rebases" : "  does not rebase"] } ?? [])).joined(separator: "\n")
    }
}

extension FieldSchema {
    fileprivate var declaration: String {
        var words = ["\(name)\(isRequired ? "!" : "") \(type.declaration)"]
        if let defaultValue { words.append("=\(defaultValue.stringValue ?? defaultValue.canonicalText)") }
        words.append(policy.letter)
        if isIndexed { words.append("ix") }
        if isSearchable { words.append("se") }
        if let uniqueWith {
            words.append(isUniqueGlobally ? "uq(global)" : uniqueWith.isEmpty ? "uq" : "uq(+\(uniqueWith.joined(separator: " ")))")
        }
        if isRestricted { words.append("mgr") }
        if isPortalVisible { words.append("pt") }
        if isSecret { words.append("secret") }
        return words.joined(separator: " ")
    }
}

extension Policy {
    fileprivate var letter: String {
        switch self {
        case .lastWriter, .lastWriterPerKey: "L"
        case .addWinsSet: "A"
        case .counter: "C"
        case .writeOnce: "W"
        case .serverAssigned: "S"
        case .guarded: "G"
        case .transition: "T"
        }
    }
}

extension FieldType {
    fileprivate var declaration: String {
        func limits(_ range: ClosedRange<Int64>) -> String {
            let low = range.lowerBound == .min ? "" : "\(range.lowerBound)"
            let high = range.upperBound == .max ? "" : "\(range.upperBound)"
            return low.isEmpty && high.isEmpty ? "" : "(\(low)..\(high))"
        }
        return switch self {
        case .text(let range): range.lowerBound == 0 ? "text(\(range.upperBound))" : "text(\(range.lowerBound)..\(range.upperBound))"
        case .rich(let maximum), .slug(let maximum): "\(name)(\(maximum))"
        case .integer(let range), .money(let range), .quantity(let range), .basisPoints(let range): name + limits(range)
        case .choice(let choices): choices.joined(separator: "|")
        case .reference(let entity, let action): "ref(\(entity))\(action == .restrict ? "" : action == .cascade ? "^c" : "^n")"
        case .set(let element, let count): "set<\(element.declaration)>(\(count.lowerBound)..\(count.upperBound))"
        case .map(let keys): keys.isEmpty ? "map" : "map{\(keys.joined(separator: ","))}"
        default: name
        }
    }
}

extension Transition {
    fileprivate var declaration: String {
        let who = grantees.map { grantee in
            switch grantee {
            case .role(let role): role.rawValue
            case .memberInField(let field): "member in \(field)"
            case .itself: "itself"
            case .system: "system"
            }
        }
        let arguments = arguments.map {
            "\($0.name)\($0.isRequired ? "!" : "") \($0.type.declaration)\($0.field.map { " kept in \($0)" } ?? "")"
        }
        return "\(name)\(arguments.isEmpty ? "" : "(\(arguments.joined(separator: ", ")))"): \(from.joined(separator: " ")) → \(to) by "
            + who.joined(separator: ", ") + ", \(mode.rawValue)\(locks ? ", locks" : ""), \(kind), \(icon)"
    }
}
