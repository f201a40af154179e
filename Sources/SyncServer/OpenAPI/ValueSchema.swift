// JSON Schema of values: what a field holds when it is read, and what may be sent for it.

import SyncProtocol

enum ValueSchema {
    /// The stored form.
    static func read(_ field: FieldSchema) -> JSONObject {
        // Every value of the stored form can be absent: a field that was added later has none in older records.
        orNull(read(field.type), unless: field.isRequired)
    }

    private static func read(_ type: FieldType) -> JSONObject {
        switch type {
        case .text(let range): text(0, range.upperBound)
        case .rich(let maximum), .slug(let maximum): text(0, maximum)
        case .integer(let range): integer(range)
        case .money(let range): integer(range, "Minor units of the record's currency, else of the tenant's: 1250 is 12.50 in USD.")
        case .quantity(let range): integer(range, "Thousandths: 2500 is 2.5.")
        case .basisPoints(let range): integer(range, "Hundredths of a percent: 750 is 7.5 %.")
        case .counter: integer(Int64.min...Int64.max, "Changed by differences only.")
        case .date: ["type": "integer", "format": "int64", "description": "Days since 1970-01-01."]
        case .instant: ["type": "integer", "format": "int64", "description": "Milliseconds since 1970-01-01T00:00:00Z."]
        case .bool: ["type": "integer", "enum": [0, 1]]
        case .choice(let choices), .anyReferenceEntity(let choices):
            ["type": "string", "enum": .array(choices.map { .string($0) })]
        case .reference(let entity, _): identifier("Id of a \(entity).")
        case .anyReferenceID(let entities): identifier("Id of one of: \(entities.joined(separator: ", ")).")
        case .anyReference: preconditionFailure("an any_reference is expanded to two fields")
        case .set(let element, let count):
            [
                "type": "array", "items": .object(read(element)), "uniqueItems": true, "maxItems": .integer(Int64(count.upperBound)),
                "description": "In byte order.",
            ]
        case .map: ["type": "object", "additionalProperties": true, "maxProperties": .integer(Int64(FieldType.mapKeysMax))]
        case .json: freeForm
        case .address: address
        case .email: ["type": "string", "maxLength": 254, "format": "email"]
        case .phone: ["type": "string", "pattern": "^\\+[1-9][0-9]{6,14}$", "description": "E.164."]
        case .url: ["type": "string", "maxLength": 2000, "format": "iri"]
        case .currency: ["$ref": "#/components/schemas/Currency"]
        case .timeZone: ["type": "string", "maxLength": 64, "description": "IANA time zone name."]
        case .hex64: ["type": "string", "pattern": "^[0-9a-f]{64}$"]
        }
    }

    /// What a creation may send.
    static func create(_ field: FieldSchema) -> JSONObject {
        var schema = orNull(write(field.type, isRequired: field.isRequired), unless: field.isRequired && field.defaultValue == nil)
        if let value = field.defaultValue { schema["default"] = value }
        return described(schema, field)
    }

    /// What an edit may send; nil for what is set once.
    static func patch(_ field: FieldSchema) -> JSONObject? {
        guard field.isWritable, field.policy != .writeOnce else { return nil }
        switch field.policy {
        case .addWinsSet:
            guard case .set(let element, let count) = field.type else { return nil }
            // What cannot be in the set any more may be taken out, and what never could is passed over.
            let added = JSONValue.object([
                "type": "array", "items": .object(write(element, isRequired: true)), "maxItems": .integer(Int64(count.upperBound)),
            ])
            let removed: JSONValue = [
                "type": "array",
                "items": ["type": ["string", "integer"], "minimum": .integer(.min), "maximum": .integer(.max)],
            ]
            let whole = write(field.type, isRequired: field.isRequired)
            return described(
                [
                    "anyOf": [
                        .object(whole),
                        [
                            "type": "object", "additionalProperties": false,
                            "properties": ["add": added, "remove": removed],
                        ],
                    ],
                    "description": .string(
                        "The whole set, or what to add and what to remove: an add survives the concurrent removal by someone else. \(count.lowerBound) to \(count.upperBound) elements."
                    ),
                ], field)
        case .counter:
            return described(
                [
                    "type": "object", "required": ["add"], "additionalProperties": false,
                    "properties": ["add": ["type": "integer", "format": "int64"]],
                    "description": "A signed difference; concurrent ones add up.",
                ], field)
        default: return described(orNull(write(field.type, isRequired: field.isRequired), unless: field.isRequired), field)
        }
    }

    /// Values are normalised: text is trimmed, dates and times may be ISO 8601, booleans true and false. Where there need be no value an
    /// empty text is none, whatever form others have.
    static func write(_ type: FieldType, isRequired: Bool) -> JSONObject {
        let schema = present(type, isRequired: isRequired)
        guard !isRequired, takesEmptyText(type) else { return schema }
        return ["anyOf": [.object(schema), ["const": ""]]]
    }

    private static func takesEmptyText(_ type: FieldType) -> Bool {
        switch type {
        case .text(let range): range.lowerBound > 1
        case .slug, .email, .phone, .url, .currency, .timeZone, .hex64: true
        default: false
        }
    }

    private static func present(_ type: FieldType, isRequired: Bool) -> JSONObject {
        switch type {
        case .text(let range):
            var schema = text(range.lowerBound, range.upperBound)
            // Trimmed text has to remain.
            if range.lowerBound > 1 {
                schema["pattern"] = "^[^\\s\\u0000][^\\u0000]*[^\\s\\u0000]$"
            } else if isRequired {
                schema["pattern"] = .string(somethingVisible)
            }
            return schema
        case .rich(let maximum):
            var schema = text(0, maximum)
            if isRequired { schema["pattern"] = .string(somethingVisible) }
            return schema
        case .slug(let maximum):
            return ["type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$", "maxLength": .integer(Int64(maximum))]
        case .date:
            return [
                "anyOf": [
                    ["type": "integer", "minimum": -1_000_000, "maximum": 3_000_000], ["type": "string", "format": "date"],
                ], "description": "Days since 1970-01-01, or YYYY-MM-DD.",
            ]
        case .instant:
            return [
                "anyOf": [
                    ["type": "integer", "minimum": -62_135_596_800_000, "maximum": .integer(HybridTimestamp.maximumMilliseconds)],
                    ["type": "string", "format": "date-time"],
                ], "description": "Milliseconds since 1970 UTC, or ISO 8601 with zone.",
            ]
        case .bool: return ["anyOf": [["type": "boolean"], ["type": "integer", "enum": [0, 1]]]]
        case .set(let element, let count):
            var schema: JSONObject = [
                "type": "array", "items": .object(write(element, isRequired: true)), "maxItems": .integer(Int64(count.upperBound)),
            ]
            if count.lowerBound > 0 { schema["minItems"] = .integer(Int64(count.lowerBound)) }
            return schema
        case .map(let keys):
            var schema: JSONObject = [
                "type": "object", "description": "Merged key by key; null removes a key.", "maxProperties": 200,
            ]
            if keys.isEmpty {
                schema["propertyNames"] = ["pattern": "^[a-z0-9][a-z0-9_-]*$", "maxLength": 40]
                // What fields that a tenant defines can hold.
                schema["additionalProperties"] = [
                    "anyOf": [
                        .object(text(0, 2_000)), ["type": "integer", "minimum": .integer(.min), "maximum": .integer(.max)],
                        ["type": "boolean"], ["type": "array", "items": .object(text(0, 2_000))], ["type": "null"],
                    ]
                ]
                schema["description"] = "Fields that the tenant defined (custom_field), merged key by key; null removes a key."
            } else {
                schema["properties"] = .object(JSONObject(keys.map { ($0, .object(freeForm)) }))
                schema["additionalProperties"] = false
            }
            return schema
        case .email:
            return [
                "type": "string", "maxLength": 254, "format": "email",
                "pattern":
                    "^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\\.)+[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$",
            ]
        case .url:
            return [
                "type": "string", "maxLength": 2000, "pattern": .string(webAddress),
                "description": "http or https; other characters may come percent-encoded or as they are.",
            ]
        case .timeZone: return ["$ref": "#/components/schemas/TimeZone"]
        case .address where isRequired:
            // One part at least has to remain.
            var schema = address
            schema["anyOf"] = .array(
                ["line1", "line2", "city", "region", "postal_code"].map { part in
                    ["required": [.string(part)], "properties": [part: ["pattern": .string(somethingVisible)]]]
                } + [["required": ["country"]]])
            return schema
        case .phone:
            return [
                "type": "string", "pattern": "^\\+[1-9][0-9]{6,14}$",
                "description": "E.164; spaces, dots, dashes and brackets are taken out.",
            ]
        default: return read(type)
        }
    }

    /// An example that the schema accepts.
    static func example(_ field: FieldSchema) -> JSONValue { example(field.type, name: field.name) }

    private static func example(_ type: FieldType, name: String) -> JSONValue {
        switch type {
        case .text(let range): return .string(String("Example \(name)".prefix(max(range.lowerBound, range.upperBound))))
        case .rich: return "Some *text*"
        case .slug: return "example_1"
        case .integer(let range), .money(let range), .quantity(let range), .basisPoints(let range):
            return .integer(range.contains(1_250) ? 1_250 : max(range.lowerBound, min(range.upperBound, 1)))
        case .counter: return 0
        case .date: return 20_528
        case .instant: return 1_773_648_000_000
        case .bool: return 1
        case .choice(let choices), .anyReferenceEntity(let choices): return choices.first.map { .string($0) } ?? .null
        case .reference, .anyReferenceID, .anyReference: return "01900000-0000-7000-8000-00000000000c"
        case .set(let element, _): return .array([example(element, name: name)])
        case .map, .json: return .object(JSONObject())
        case .address: return ["line1": "Pier 9", "city": "Boston", "postal_code": "02110", "country": "US"]
        case .email: return "nina@harbor.example"
        case .phone: return "+15550100"
        case .url: return "https://harbor.example"
        case .currency: return "USD"
        case .timeZone: return "America/New_York"
        case .hex64: return .string(String(repeating: "0", count: 64))
        }
    }

    // MARK: Parts

    private static let freeForm: JSONObject = ["$ref": "#/components/schemas/FreeForm"]

    private static let webAddress: String = {
        let label = "[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
        let character = "([!$&-;=?-Z\\[\\]_a-z~]|%[0-9A-Fa-f]{2})"
        return "^[Hh][Tt][Tt][Pp][Ss]?://\(label)(\\.\(label)){0,4}(:[1-9][0-9]{0,3})?([/?]\(character)*)?(#\(character)*)?$"
    }()

    /// One character that is neither white space nor never shown. Beyond the basic plane regular expressions differ, and all pass.
    private static let somethingVisible = something(besides: [])

    /// One character that words are made of: a letter or digit of ASCII, or anything beyond it that is shown.
    static let somethingToSearch = something(besides: Array(0x21...0x2F) + (0x3A...0x40) + (0x5B...0x60) + (0x7B...0x7E))

    private static func something(besides more: [UInt32]) -> String {
        func escaped(_ scalar: UInt32) -> String {
            let digits = String(scalar, radix: 16)
            return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        }
        var ranges: [ClosedRange<UInt32>] = [0...0]
        for scalar in (TextNormalization.invisibleScalars + more).sorted() {
            if let last = ranges.last, last.upperBound + 1 == scalar {
                ranges[ranges.count - 1] = last.lowerBound...scalar
            } else {
                ranges.append(scalar...scalar)
            }
        }
        let invisible = ranges.map { $0.count == 1 ? escaped($0.lowerBound) : "\(escaped($0.lowerBound))-\(escaped($0.upperBound))" }
        return "^[^\\u0000]*[^\(invisible.joined())][^\\u0000]*$"
    }

    static func text(_ minimum: Int, _ maximum: Int) -> JSONObject {
        var schema: JSONObject = ["type": "string", "maxLength": .integer(Int64(maximum)), "pattern": "^[^\\u0000]*$"]
        if minimum > 0 { schema["minLength"] = .integer(Int64(minimum)) }
        return schema
    }

    static func integer(_ range: ClosedRange<Int64>, _ description: String? = nil) -> JSONObject {
        var schema: JSONObject = ["type": "integer", "format": "int64"]
        if range.lowerBound != .min { schema["minimum"] = .integer(range.lowerBound) }
        if range.upperBound != .max { schema["maximum"] = .integer(range.upperBound) }
        if let description { schema["description"] = .string(description) }
        return schema
    }

    static func identifier(_ description: String) -> JSONObject {
        ["type": "string", "format": "uuid", "description": .string(description)]
    }

    private static let address: JSONObject = {
        func part(_ maximum: Int64) -> JSONValue { ["type": "string", "maxLength": .integer(maximum), "pattern": "^[^\\u0000]*$"] }
        return [
            "type": "object", "additionalProperties": false,
            "properties": [
                "line1": part(200), "line2": part(200), "city": part(120), "region": part(120), "postal_code": part(20),
                "country": ["$ref": "#/components/schemas/Country"],
            ],
        ]
    }()

    static func orNull(_ schema: JSONObject, unless isRequired: Bool) -> JSONObject {
        if isRequired { return schema }
        var schema = schema
        if let type = schema["type"]?.stringValue, schema["enum"] == nil {
            schema["type"] = .array([.string(type), "null"])
            return schema
        }
        guard !schema.isEmpty, schema["type"] != nil || schema["anyOf"] != nil || schema["$ref"] != nil else { return schema }
        let description = schema["description"]
        schema["description"] = nil
        var wrapped: JSONObject = ["anyOf": [.object(schema), ["type": "null"]]]
        if let inner = schema["anyOf"]?.arrayValue { wrapped["anyOf"] = .array(inner + [["type": "null"]]) }
        if let description { wrapped["description"] = description }
        return wrapped
    }

    /// Policy, and what refuses a value besides its type.
    private static func described(_ schema: JSONObject, _ field: FieldSchema) -> JSONObject {
        var schema = schema
        var words: [String] = []
        if let description = schema["description"]?.stringValue { words.append(description) }
        if field.policy == .guarded { words.append("An edit that did not know the current value is a conflict.") }
        if field.policy == .writeOnce { words.append("Set once, at creation.") }
        if let others = field.uniqueWith {
            words.append(others.isEmpty ? "Unique." : "Unique together with \(others.joined(separator: ", ")).")
        }
        if field.isRestricted { words.append("Not for the role field.") }
        if !words.isEmpty { schema["description"] = .string(words.joined(separator: " ")) }
        return schema
    }
}
