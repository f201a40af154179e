// The body of a REST write as a change: plain values where sync has operations, made into operations against the record
// as it is under the tenant's lock.

import Foundation
import SyncProtocol

struct WriteBody {
    let object: JSONObject

    /// Largest body of one write; the limit of a sealed set.
    static let bytesMax = Limits.bytesPerSet

    /// Throws `payload_too_large`, `unsupported_media_type` or `bad_request`.
    init(_ request: HTTPRequest, mayBeEmpty: Bool) throws(ErrorReply) {
        guard request.body.count <= WriteBody.bytesMax else {
            throw ErrorReply(
                .payloadTooLarge, "the body of a write has at most \(WriteBody.bytesMax) bytes",
                details: ["max": .integer(Int64(WriteBody.bytesMax))])
        }
        if request.body.isEmpty, mayBeEmpty {
            object = JSONObject()
            return
        }
        try WriteBody.checkType(request.headers["Content-Type"])
        if let coding = request.headers["Content-Encoding"], coding.lowercased() != "identity" {
            throw ErrorReply(.unsupportedMediaType, "send the body as it is, without Content-Encoding")
        }
        let json: JSONValue
        do { json = try JSONValue(parsing: request.body) } catch {
            throw ErrorReply(.badRequest, "not valid JSON: \(error.message) at byte \(error.offset)")
        }
        guard let object = json.objectValue else { throw ErrorReply(.badRequest, "the body is a JSON object") }
        self.object = WriteBody.withWholeNumbers(.object(object)).objectValue ?? object
    }

    /// JSON has one kind of number, and many writers print whole ones as `5.0`: that is 5.
    static func withWholeNumbers(_ value: JSONValue) -> JSONValue {
        switch value {
        case .decimal(let text):
            let parts = text.split(separator: ".", omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[1].isEmpty, parts[1].utf8.allSatisfy({ $0 == 0x30 }), let number = Int64(parts[0]) else {
                return value
            }
            return .integer(number)
        case .array(let items): return .array(items.map(withWholeNumbers))
        case .object(let members): return .object(JSONObject(members.map { ($0, withWholeNumbers($1)) }))
        default: return value
        }
    }

    private static func checkType(_ header: String?) throws(ErrorReply) {
        guard let header else { return }
        let type = header.prefix { $0 != ";" }.filter { $0 != " " && $0 != "\t" }.lowercased()
        guard type == "application/json" || (type.hasPrefix("application/") && type.hasSuffix("+json")) else {
            throw ErrorReply(.unsupportedMediaType, "send the body as application/json")
        }
    }

    // MARK: Creation

    /// The id the caller chose, the one that a link must have, or a new one.
    func creation(of entity: EntitySchema, newID: () -> Identifier) throws(ErrorReply) -> Change {
        var fields = object
        fields["id"] = nil
        var chosen: Identifier?
        if let value = object["id"], !value.isNull {
            guard let id = value.stringValue.flatMap({ Identifier($0) }) else {
                throw WriteBody.refusal(
                    Violation(entity: entity.name, id: nil, field: "id", code: .invalidFormat, message: "id is a UUID"))
            }
            chosen = id
        }
        let derived = entity.deterministicID { name in
            guard let value = fields[name], let field = entity.field(name) else { return nil }
            return try? field.type.normalized(value)
        }
        return Change(entity.name, chosen ?? derived ?? newID(), .create(fields: fields))
    }

    // MARK: Patch

    /// A set given whole becomes what it adds and removes; a counter changes by `{"add": n}`.
    func patch(of record: RecordState) throws(ErrorReply) -> Change {
        var fields = object
        var was = JSONObject()
        for (name, value) in object {
            guard let field = record.schema.field(name) else { continue }
            switch field.policy {
            case .addWinsSet:
                if case .array(let items) = value { fields[name] = try WriteBody.difference(items, field, record) }
                if value.isNull { fields[name] = try WriteBody.difference([], field, record) }
            case .counter:
                guard let delta = value["add"]?.integerValue, value.objectValue?.count == 1 else {
                    throw WriteBody.refusal(
                        Violation(
                            entity: record.schema.name, id: record.id, field: name, code: .invalidFormat,
                            message: "\(name) is a counter; change it by {\"add\": a whole number}"))
                }
                fields[name] = .integer(delta)
            case .guarded: was[name] = record[name]
            default: break
            }
        }
        return Change(key: record.key, operation: .patch(fields: fields, was: was))
    }

    private static func difference(_ items: [JSONValue], _ field: FieldSchema, _ record: RecordState) throws(ErrorReply) -> JSONValue {
        let wanted: [JSONValue]
        do { wanted = try field.type.normalized(.array(items)).arrayValue ?? [] } catch {
            throw refusal(
                Violation(
                    entity: record.schema.name, id: record.id, field: field.name, code: error.code,
                    message: "\(field.name) \(error.message)", parameters: error.parameters))
        }
        let present = record[field.name].arrayValue ?? []
        return [
            "add": .array(wanted.filter { !present.contains($0) }), "remove": .array(present.filter { !wanted.contains($0) }),
        ]
    }

    // MARK: Limits of texts

    /// Texts that are within their limit only because white space at their ends is taken off. Whoever sends them counts otherwise
    /// than the server, and learns of it here instead of with the first longer one.
    /// - Parameter transition: Its name, when the texts are arguments.
    func textsTooLong(of record: RecordKey, _ entity: EntitySchema, transition: String?) -> [Violation] {
        let arguments = transition.flatMap { name in entity.machine?.transitions.first { $0.name == name } }?.arguments
        let values = arguments == nil ? object : object["arguments"]?.objectValue ?? JSONObject()
        return values.compactMap { name, value in
            let type = arguments == nil ? entity.field(name)?.type : arguments?.first { $0.name == name }?.type
            guard let type, let maximum = WriteBody.lengthPassed(value, type) else { return nil }
            return Violation(
                entity: entity.name, id: record.id, field: name, code: .tooLong, message: "\(name) has at most \(maximum) characters",
                parameters: ["max": .integer(Int64(maximum))])
        }
    }

    private static func lengthPassed(_ value: JSONValue, _ type: FieldType) -> Int? {
        switch (type, value) {
        case (.text(let range), .string(let text)): return lengthPassed(text, range.upperBound)
        case (.rich(let maximum), .string(let text)): return lengthPassed(text, maximum)
        case (.set(let element, _), .array(let items)): return items.lazy.compactMap { lengthPassed($0, element) }.first
        case (.set, .object(let parts)): return parts["add"].flatMap { lengthPassed($0, type) }
        default: return nil
        }
    }

    private static func lengthPassed(_ text: String, _ maximum: Int) -> Int? {
        guard TextNormalization.scalarCount(text) > maximum else { return nil }
        return TextNormalization.scalarCount(text.precomposedStringWithCanonicalMapping) > maximum ? maximum : nil
    }

    // MARK: Limits of sets

    /// Not more than a set may have were to be added; only with what is in it already they are too many.
    func addsTooManyToWhatIsThere(_ violation: Violation) -> Bool {
        guard violation.code == ViolationCode.tooMany.rawValue, let field = violation.field, let items = object[field]?["add"]?.arrayValue,
            let maximum = violation.parameters["max"]?.integerValue
        else { return false }
        return items.count <= maximum
    }

    // MARK: Transition

    /// `{"observed"?: state, "arguments"?: {…}}`; without `observed` the state it is in now.
    func transition(_ name: String, of record: RecordState) throws(ErrorReply) -> Change {
        for member in object.keys where member != "observed" && member != "arguments" {
            throw WriteBody.refusal(
                Violation(
                    entity: record.schema.name, id: record.id, field: member, code: .unknownField,
                    message: "a transition has observed and arguments, not \(member)"))
        }
        var observed = record.state ?? ""
        if let value = object["observed"], !value.isNull {
            guard let state = value.stringValue else {
                throw WriteBody.refusal(
                    Violation(
                        entity: record.schema.name, id: record.id, field: "observed", code: .invalidFormat,
                        message: "observed is the name of a state"))
            }
            observed = state
        }
        var arguments = JSONObject()
        if let value = object["arguments"], !value.isNull {
            guard let given = value.objectValue else {
                throw WriteBody.refusal(
                    Violation(
                        entity: record.schema.name, id: record.id, field: "arguments", code: .invalidFormat,
                        message: "arguments is an object"))
            }
            arguments = given
        }
        return Change(key: record.key, operation: .transition(name: name, observed: observed, arguments: arguments))
    }

    private static func refusal(_ violation: Violation) -> ErrorReply { RestRefusal.reply([violation], target: nil) }
}
