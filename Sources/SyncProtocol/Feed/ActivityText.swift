// A feed entry as one line that people read: "Farah set phone of Nina Ortiz from +15550100 to +15550142". The server's
// timeline and a replica's log both show it, each with the names that it can look up.

public enum ActivityText {
    /// Changes spelled out in one line; the rest are counted.
    private static let changesShownMax = 4

    /// - Parameters:
    ///   - name: The title of a record, tombstones included; nil when it is not known here.
    ///   - currency: The currency of a record's money; asked only when the entry does not say.
    public static func line(
        _ entry: ActivityEntry, schema: Schema, name: (RecordKey) -> String?, currency: (RecordKey) -> String? = { _ in nil }
    ) -> String {
        withoutActuallyEscaping(name) { name in
            withoutActuallyEscaping(currency) { currency in
                Sentence(entry: entry, schema: schema, name: name, currency: currency).text
            }
        }
    }

    /// What a person calls the record of an entry.
    public static func title(_ entry: ActivityEntry, schema: Schema, name: (RecordKey) -> String?) -> String {
        if let title = linkTitle(entry, schema: schema, name: name) ?? name(entry.key) { return title }
        let changes = entry.allChanges
        let fields = schema.entity(entry.key.entity)?.titleFields ?? []
        let parts = fields.compactMap { changes[$0]?["new"]?.stringValue ?? changes[$0]?["old"]?.stringValue }
        return parts.isEmpty ? String(entry.key.id.text.prefix(8)) : parts.joined(separator: " ")
    }

    /// Who did it.
    public static func actor(_ entry: ActivityEntry, name: (RecordKey) -> String?) -> String {
        if let member = entry.actor { return name(RecordKey("member", member)) ?? "member \(member.text.prefix(8))" }
        return entry.actorKind == .portal ? "a client" : "the server"
    }

    /// The records whose titles ``line(_:schema:name:currency:)`` may ask for: load them together, then render.
    public static func namedRecords(_ entry: ActivityEntry, schema: Schema) -> [RecordKey] {
        var keys = [entry.key]
        if let actor = entry.actor { keys.append(RecordKey("member", actor)) }
        guard let entity = schema.entity(entry.key.entity) else { return keys }
        func add(_ value: JSONValue?, _ entities: [String]) {
            let ids = value?.arrayValue ?? [value].compactMap { $0 }
            for id in ids.compactMap(\.stringValue).compactMap({ Identifier($0) }) {
                for entity in entities where !keys.contains(RecordKey(entity, id)) { keys.append(RecordKey(entity, id)) }
            }
        }
        for (field, change) in entry.allChanges {
            guard let targets = entity.field(field)?.referencedEntities, !targets.isEmpty else { continue }
            for side in ["old", "new", "lost", "kept"] { add(change[side], targets) }
        }
        if !entity.deterministicKeys.isEmpty {
            let targets = Set(entity.deterministicKeys.flatMap { entity.field($0)?.referencedEntities ?? [] })
            for anchor in entry.anchors.dropFirst() {
                let parts = anchor.split(separator: ":", maxSplits: 1)
                if parts.count == 2, targets.contains(String(parts[0])) { add(.string(String(parts[1])), [String(parts[0])]) }
            }
        }
        return keys
    }

    /// A link is called by what it connects: from its creation, else from the timelines it stands on.
    private static func linkTitle(_ entry: ActivityEntry, schema: Schema, name: (RecordKey) -> String?) -> String? {
        guard let entity = schema.entity(entry.key.entity), !entity.deterministicKeys.isEmpty else { return nil }
        var names: [String] = []
        for key in entity.deterministicKeys {
            for target in entity.field(key)?.referencedEntities ?? [] {
                let anchor = entry.anchors.dropFirst().first { $0.hasPrefix(target + ":") }?.dropFirst(target.utf8.count + 1)
                let id = entry.changes[key]?["new"]?.stringValue ?? anchor.map(String.init)
                if let title = id.flatMap({ Identifier($0) }).flatMap({ name(RecordKey(target, $0)) }) { names.append(title) }
            }
        }
        return names.count == entity.deterministicKeys.count ? names.joined(separator: " – ") : nil
    }

    /// One line being written.
    private struct Sentence {
        let entry: ActivityEntry
        let schema: Schema
        let name: (RecordKey) -> String?
        let currency: (RecordKey) -> String?

        private var entity: EntitySchema? { schema.entity(entry.key.entity) }
        private var title: String { ActivityText.title(entry, schema: schema, name: name) }
        private var actor: String { ActivityText.actor(entry, name: name) }
        private var noun: String { FieldWords.noun(entry.key.entity) }

        var text: String {
            let text = sentence
            return text.prefix(1).uppercased() + text.dropFirst()
        }

        private var sentence: String {
            switch entry.kind {
            case "sync.superseded": return superseded
            case "sync.rejected": return rejected
            case "sync.epoch_started":
                return "the server was restored from a backup; epoch \(FieldWords.plain(entry.changes["epoch"]?["new"] ?? .null)) began"
            case FeedEntry.rescoped: return "who holds \(noun) \(title) has changed"
            default: break
            }
            switch entry.operation {
            case .create: return "\(actor) created \(noun) \(title)"
            case .update: return "\(actor) \(edit)"
            case .delete: return "\(actor) deleted \(noun) \(title)"
            case .restore: return "\(actor) restored \(noun) \(title)"
            case .transition: return transition
            case .derived: return derived
            }
        }

        private var transition: String {
            let changes = entry.allChanges
            guard let field = entity?.machine?.field, let move = changes[field] else { return "\(actor) changed \(noun) \(title)" }
            let along = self.changes(leavingOut: [field])
            return "\(actor) moved \(noun) \(title) from \(value(move["old"], field)) to \(value(move["new"], field))"
                + (along.isEmpty ? "" : " (\(along.joined(separator: "; ")))")
        }

        /// What followed from another entry: nobody did it by itself.
        private var derived: String {
            switch entry.kind {
            case "\(entry.key.entity).deleted": return "\(noun) \(title) was deleted with it"
            case "\(entry.key.entity).restored": return "\(noun) \(title) was restored with it"
            case "\(entry.key.entity).updated": return "as a result, \(noun) \(title): \(all(changes(leavingOut: [])))"
            default:
                let event = entry.kind.split(separator: ".", maxSplits: 1).last.map(String.init) ?? entry.kind
                let facts = changes(leavingOut: [])
                return "\(noun) \(title): \(FieldWords.noun(event))" + (facts.isEmpty ? "" : " (\(all(facts)))")
            }
        }

        private var superseded: String {
            let parts = entry.allChanges.map { field, change in
                "\(actor)'s \(FieldWords.label(field)) of \(title), \(value(change["lost"], field)), gave way to \(value(change["kept"], field))"
            }
            return parts.isEmpty ? "an edit of \(title) by \(actor) gave way to a later one" : parts.joined(separator: "; ")
        }

        private var rejected: String {
            let violations = entry.changes["violations"]?.arrayValue ?? []
            let operation = entry.changes["changes"]?[0]?["op"]?.stringValue
            let what =
                switch operation {
                case "create": "new \(noun)"
                case "delete": "deletion of \(noun) \(title)"
                case "restore": "restoring of \(noun) \(title)"
                default: "change to \(noun) \(title)"
                }
            let reason = violations.first?["message"]?.stringValue
            let more = violations.count > 1 ? " (and \(violations.count - 1) more)" : ""
            return "\(actor)'s \(what) was rejected" + (reason.map { ": \(FieldWords.clip($0))\(more)" } ?? "")
        }

        // MARK: Changes

        /// `set phone of Nina Ortiz from … to …`, or a list after the title.
        private var edit: String {
            let clauses = clauses(leavingOut: [])
            switch clauses.count {
            case 0: return "changed \(noun) \(title)"
            case 1: return clauses[0].verb(title)
            default: return "changed \(title): \(all(clauses.map(\.phrase)))"
            }
        }

        private func all(_ phrases: [String]) -> String {
            let shown = phrases.prefix(changesShownMax).joined(separator: "; ")
            return phrases.count > changesShownMax ? shown + "; and \(phrases.count - changesShownMax) more" : shown
        }

        private func changes(leavingOut fields: [String]) -> [String] { clauses(leavingOut: fields).map(\.phrase) }

        private func clauses(leavingOut left: [String]) -> [Clause] {
            let changes = entry.allChanges
            let order = entity?.fields.map(\.name) ?? []
            let known = order.filter { changes[$0] != nil && !left.contains($0) }
            let names = known + changes.keys.filter { !order.contains($0) && !left.contains($0) && $0 != "deleted_at" }
            return names.flatMap { clauses($0, old: changes[$0]?["old"] ?? .null, new: changes[$0]?["new"] ?? .null) }
        }

        private func clauses(_ field: String, old: JSONValue, new: JSONValue) -> [Clause] {
            let label = FieldWords.label(field)
            switch entity?.field(field)?.type {
            case .set:
                let (before, after) = (old.arrayValue ?? [], new.arrayValue ?? [])
                return [
                    Clause.elements(
                        label,
                        added: after.filter { !before.contains($0) }.isEmpty
                            ? nil : value(.array(after.filter { !before.contains($0) }), field),
                        removed: before.filter { !after.contains($0) }.isEmpty
                            ? nil : value(.array(before.filter { !after.contains($0) }), field))
                ]
            case .map:
                let (before, after) = (old.objectValue ?? JSONObject(), new.objectValue ?? JSONObject())
                let keys = Set(before.keys + after.keys).filter { before[$0] != after[$0] }.sorted()
                return keys.map { key in
                    Clause.value(
                        FieldWords.label(key), from: before[key].map(FieldWords.plain), to: after[key].map(FieldWords.plain))
                }
            case .rich, .json: return [new.isNull ? .value(label, from: value(old, field), to: nil) : .text(label)]
            default:
                return [
                    Clause.value(label, from: isEmpty(old) ? nil : value(old, field), to: isEmpty(new) ? nil : value(new, field))
                ]
            }
        }

        private func isEmpty(_ value: JSONValue) -> Bool {
            value.isNull || value.arrayValue?.isEmpty == true || value.objectValue?.isEmpty == true
        }

        private func value(_ value: JSONValue?, _ field: String) -> String {
            let value = value ?? .null
            guard let schema = entity?.field(field) else { return FieldWords.plain(value) }
            var currency: String?
            if case .money = schema.type {
                currency = entry.changes["currency"]?["new"]?.stringValue ?? self.currency(entry.key)
            }
            return FieldWords.value(value, of: schema, currency: currency, name: name)
        }
    }

    /// What happened to one field.
    private enum Clause {
        case value(String, from: String?, to: String?)
        /// A long text: that it changed is enough.
        case text(String)
        case elements(String, added: String?, removed: String?)

        /// With a subject of its own: `set phone of Nina Ortiz to …`.
        func verb(_ title: String) -> String {
            switch self {
            case .value(let label, let from?, let to?): "set \(label) of \(title) from \(from) to \(to)"
            case .value(let label, nil, let to?): "set \(label) of \(title) to \(to)"
            case .value(let label, let from?, nil): "cleared \(label) of \(title) (was \(from))"
            case .value(let label, nil, nil), .text(let label): "changed \(label) of \(title)"
            case .elements(let label, let added?, let removed?): "added \(added) to and removed \(removed) from \(label) of \(title)"
            case .elements(let label, let added?, nil): "added \(added) to \(label) of \(title)"
            case .elements(let label, nil, let removed?): "removed \(removed) from \(label) of \(title)"
            case .elements(let label, nil, nil): "changed \(label) of \(title)"
            }
        }

        /// In a list about a record that was named already.
        var phrase: String {
            switch self {
            case .value(let label, let from?, let to?): "\(label) from \(from) to \(to)"
            case .value(let label, nil, let to?): "\(label) \(to)"
            case .value(let label, let from?, nil): "\(label) cleared (was \(from))"
            case .value(let label, nil, nil), .text(let label): "\(label)"
            case .elements(let label, let added?, let removed?): "\(label) with \(added), without \(removed)"
            case .elements(let label, let added?, nil): "\(label) with \(added)"
            case .elements(let label, nil, let removed?): "\(label) without \(removed)"
            case .elements(let label, nil, nil): "\(label)"
            }
        }
    }
}
