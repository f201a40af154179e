// What the schema can judge about one value alone, and the stored form it normalises to.

/// Why a value was refused: code, message and parameters, before entity, id and field are known.
public struct ValueRefusal: Error, Hashable, Sendable {
    public var code: ViolationCode
    public var message: String
    public var parameters: JSONObject

    init(_ code: ViolationCode, _ message: String, _ parameters: JSONObject = JSONObject()) {
        self.code = code
        self.message = message
        self.parameters = parameters
    }
}

extension FieldType {
    /// The stored form of a value that a client sent. `null` passes: whether a value is needed is the field's matter.
    public func normalized(_ value: JSONValue) throws(ValueRefusal) -> JSONValue {
        if value.isNull { return .null }
        switch self {
        case .text(let range):
            return try Self.text(value, range, TextNormalization.singleLine)
        case .rich(let maximum):
            return try Self.text(value, 0...maximum, TextNormalization.multiLine)
        case .integer(let range), .money(let range), .quantity(let range), .basisPoints(let range):
            return try Self.number(value, range)
        case .counter: return try Self.number(value, Int64.min...Int64.max)
        case .date:
            if let text = value.stringValue, let days = CalendarDate.days(fromISO: text) { return .integer(days) }
            return try Self.number(value, -1_000_000...3_000_000, expecting: "a date (days since 1970-01-01, or YYYY-MM-DD)")
        case .instant:
            if let text = value.stringValue, let milliseconds = Instant.milliseconds(fromISO8601: text) { return .integer(milliseconds) }
            return try Self.number(
                value, -62_135_596_800_000...HybridTimestamp.maximumMilliseconds,
                expecting: "an instant (milliseconds since 1970 UTC, or ISO 8601 with zone)")
        case .bool:
            if let flag = value.boolValue { return .integer(flag ? 1 : 0) }
            if value == .integer(0) || value == .integer(1) { return value }
            throw ValueRefusal(.invalidFormat, "is true or false")
        case .choice(let choices), .anyReferenceEntity(let choices):
            guard let text = value.stringValue else { throw ValueRefusal(.invalidFormat, "is a text") }
            guard choices.contains(text) else {
                throw ValueRefusal(
                    .invalidChoice, "is one of \(choices.joined(separator: ", "))", ["choices": .array(choices.map { .string($0) })])
            }
            return value
        case .reference, .anyReferenceID:
            guard let id = value.stringValue.flatMap({ Identifier($0) }) else { throw ValueRefusal(.invalidFormat, "is a UUID") }
            return .string(id.text)
        case .anyReference: preconditionFailure("an any_reference is expanded to two fields before it holds a value")
        case .set(let element, let count):
            guard let items = value.arrayValue else { throw ValueRefusal(.invalidFormat, "is a list") }
            let elements = try Self.setElements(items, of: element)
            guard elements.count <= count.upperBound else {
                throw ValueRefusal(.tooMany, "has at most \(count.upperBound)", ["max": .integer(Int64(count.upperBound))])
            }
            return .array(elements)
        case .map(let keys):
            guard let object = value.objectValue else { throw ValueRefusal(.invalidFormat, "is an object") }
            guard object.count <= FieldType.mapKeysMax else { throw FieldType.tooManyKeys }
            for key in object.keys {
                guard keys.isEmpty ? Formats.isSlug(key) && key.utf8.count <= 40 : keys.contains(key) else {
                    throw ValueRefusal(.unknownField, "has no key \(key)", ["key": .string(key)])
                }
            }
            try Self.checkFreeForm(value, levels: FieldType.freeFormLevelsMax)
            try Self.checkFreeFormBytes(value)
            return value
        case .json:
            try Self.checkFreeForm(value, levels: FieldType.freeFormLevelsMax)
            try Self.checkFreeFormBytes(value)
            return value
        case .address: return try Self.address(value)
        case .email:
            let text = try Self.text(value, 0...254, TextNormalization.singleLine)
            guard let lower = text.stringValue?.lowercased() else { return .null }
            guard Formats.isEmail(lower) else {
                throw ValueRefusal(.invalidFormat, "is an e-mail address")
            }
            return .string(lower)
        case .phone:
            let text = try Self.text(value, 0...40, TextNormalization.singleLine)
            guard let written = text.stringValue else { return .null }
            let compact = written.filter { !" -().".contains($0) }
            guard Formats.isPhone(compact) else { throw ValueRefusal(.invalidFormat, "is a phone number like +15550100") }
            return .string(compact)
        case .url: return try Self.formatted(value, 2_000, "is an http or https address", Formats.isURL)
        case .slug(let maximum): return try Self.formatted(value, maximum, "is lower-case letters, digits, _ and -", Formats.isSlug)
        case .currency: return try Self.formatted(value, 3, "is an ISO 4217 currency code", Formats.isCurrency)
        case .timeZone: return try Self.formatted(value, 64, "is an IANA time zone", Formats.isTimeZone)
        case .hex64: return try Self.formatted(value, 64, "is 64 hexadecimal digits", Formats.isHex64)
        }
    }

    /// Arrays and objects within one another in a map or a json value. Feed entries and pages put more of them around it.
    public static let freeFormLevelsMax = 32
    /// Bytes of a map or a json value: all other types have a longest value of their own, and a record is read whole.
    public static let freeFormBytesMax = 256 << 10
    public static let mapKeysMax = 200

    static let tooManyKeys = ValueRefusal(.tooMany, "has at most \(mapKeysMax) keys", ["max": .integer(Int64(mapKeysMax))])

    static func checkFreeFormBytes(_ value: JSONValue) throws(ValueRefusal) {
        let bytes = value.canonicalBytes().count
        guard bytes > freeFormBytesMax else { return }
        throw ValueRefusal(
            .tooLong, "has at most \(freeFormBytesMax) bytes",
            ["max_bytes": .integer(Int64(freeFormBytesMax)), "bytes": .integer(Int64(bytes))])
    }

    /// Only what both engines give back as it came: Postgres writes `1e30` out as digits and `-0` as 0.
    private static func checkFreeForm(_ value: JSONValue, levels: Int) throws(ValueRefusal) {
        switch value {
        case .null, .bool, .integer, .string: return
        case .decimal: throw ValueRefusal(.invalidFormat, "has whole numbers only; write others as text")
        case .array, .object: break
        }
        guard levels > 0 else {
            throw ValueRefusal(
                .invalidFormat, "is nested more than \(freeFormLevelsMax) levels deep", ["max": .integer(Int64(freeFormLevelsMax))])
        }
        for element in value.arrayValue ?? [] { try checkFreeForm(element, levels: levels - 1) }
        for (_, member) in value.objectValue ?? JSONObject() { try checkFreeForm(member, levels: levels - 1) }
    }

    /// Normalised, sorted, without duplicates.
    static func setElements(_ items: [JSONValue], of element: FieldType) throws(ValueRefusal) -> [JSONValue] {
        var texts: [String] = []
        texts.reserveCapacity(items.count)
        for item in items {
            texts.append(try setElement(item, of: element))
        }
        if texts.count > 1 {
            texts.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            var unique: [String] = []
            for text in texts where unique.last != text { unique.append(text) }
            texts = unique
        }
        return texts.map { .string($0) }
    }

    /// Elements are texts whatever their type, so that both engines, merge and wire treat all sets alike: a number is its digits.
    private static func setElement(_ item: JSONValue, of element: FieldType) throws(ValueRefusal) -> String {
        let isNumber = element.storage == .integer
        let digits = isNumber ? item.stringValue.flatMap { Int64($0) } : nil
        let value = try element.normalized(digits.map { .integer($0) } ?? item)
        if isNumber, let number = value.integerValue { return String(number) }
        guard let text = value.stringValue, !text.isEmpty else {
            throw ValueRefusal(.invalidFormat, isNumber ? "has only numbers" : "has only non-empty texts")
        }
        return text
    }

    private static func text(
        _ value: JSONValue, _ range: ClosedRange<Int>, _ normalize: (String) -> String
    ) throws(ValueRefusal) -> JSONValue {
        guard let raw = value.stringValue else { throw ValueRefusal(.invalidFormat, "is a text") }
        let text = normalize(raw)
        if text.isEmpty { return .null }
        let count = TextNormalization.scalarCount(text)
        if count > range.upperBound {
            throw ValueRefusal(
                .tooLong, "has at most \(range.upperBound) characters",
                ["max": .integer(Int64(range.upperBound)), "length": .integer(Int64(count))])
        }
        if count < range.lowerBound {
            throw ValueRefusal(.tooShort, "has at least \(range.lowerBound) characters", ["min": .integer(Int64(range.lowerBound))])
        }
        return .string(text)
    }

    private static func formatted(
        _ value: JSONValue, _ maximum: Int, _ message: String, _ test: (String) -> Bool
    ) throws(ValueRefusal) -> JSONValue {
        let text = try Self.text(value, 0...maximum, TextNormalization.singleLine)
        guard let string = text.stringValue else { return .null }
        guard test(string) else { throw ValueRefusal(.invalidFormat, message) }
        return text
    }

    private static func number(
        _ value: JSONValue, _ range: ClosedRange<Int64>, expecting: String = "a whole number"
    ) throws(ValueRefusal) -> JSONValue {
        guard let number = value.integerValue else { throw ValueRefusal(.invalidFormat, "is \(expecting)") }
        guard range.contains(number) else {
            throw ValueRefusal(
                .outOfRange, "is between \(range.lowerBound) and \(range.upperBound)",
                ["min": .integer(range.lowerBound), "max": .integer(range.upperBound)])
        }
        return value
    }

    private static let addressLimits = [
        ("line1", 200), ("line2", 200), ("city", 120), ("region", 120), ("postal_code", 20), ("country", 2),
    ]

    private static func address(_ value: JSONValue) throws(ValueRefusal) -> JSONValue {
        guard let object = value.objectValue else { throw ValueRefusal(.invalidFormat, "is an address object") }
        var normalized = JSONObject()
        for (key, part) in object {
            guard let limit = addressLimits.first(where: { $0.0 == key })?.1 else {
                throw ValueRefusal(.unknownField, "an address has no \(key)", ["key": .string(key)])
            }
            do {
                let text = try Self.text(part.isNull ? .string("") : part, 0...limit, TextNormalization.singleLine)
                if !text.isNull { normalized[key] = text }
            } catch {
                throw ValueRefusal(error.code, "\(key) \(error.message)", error.parameters)
            }
        }
        if let country = normalized["country"]?.stringValue, !Formats.isCountry(country) {
            throw ValueRefusal(.invalidFormat, "country is an ISO 3166-1 code like US")
        }
        return normalized.isEmpty ? .null : .object(normalized)
    }
}
