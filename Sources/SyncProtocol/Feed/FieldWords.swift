// Names and values of fields as people write them, for sentences about changes. Display only: nothing reads them back.

enum FieldWords {
    /// Longer texts are cut in a sentence.
    static let charactersMax = 80

    /// `due_on` → `due on`; the unit at the end of a name shows in the value: `on_hand_milli` → `on hand`.
    static func label(_ field: String) -> String {
        var words = field.split(separator: "_").map(String.init)
        if words.count > 1, let unit = words.last, ["milli", "bp", "minutes", "e6"].contains(unit) { words.removeLast() }
        return words.joined(separator: " ")
    }

    /// `client_contact` → `client contact`.
    static func noun(_ entity: String) -> String { entity.split(separator: "_").joined(separator: " ") }

    /// - Parameters:
    ///   - currency: Of money in the record.
    ///   - name: The title of a record that a reference points at.
    static func value(
        _ value: JSONValue, of field: FieldSchema, currency: String?, name: (RecordKey) -> String?
    ) -> String {
        switch (field.type, value) {
        case (_, .null): return "nothing"
        case (.money, .integer(let amount)):
            return Decimals.format(amount, scale: CurrencyDigits.of(currency)) + (currency.map { " \($0)" } ?? "")
        case (.quantity, .integer(let amount)): return quantity(amount)
        case (.counter, .integer(let amount)) where field.name.hasSuffix("_milli"): return quantity(amount)
        case (.basisPoints, .integer(let rate)): return Decimals.format(rate, scale: 2) + " %"
        case (.date, .integer(let days)): return CalendarDate.iso(fromDays: days)
        case (.instant, .integer(let milliseconds)): return instant(milliseconds)
        case (.bool, .integer(let flag)): return flag == 0 ? "no" : "yes"
        case (.integer, .integer(let minutes)) where field.name.hasSuffix("_minutes"): return duration(minutes)
        case (.integer, .integer(let degrees)) where field.name.hasSuffix("_e6"): return Decimals.format(degrees, scale: 6)
        case (.choice, .string(let choice)): return choice.split(separator: "_").joined(separator: " ")
        case (.reference(let entity, _), .string(let id)): return title(entity, id, name)
        case (.anyReferenceID(let entities), .string(let id)):
            let id = Identifier(id) ?? .zero
            return entities.compactMap { name(RecordKey($0, id)) }.first ?? String(id.text.prefix(8))
        case (.set(let element, _), .array(let items)):
            let one = FieldSchema(field.name, element, policy: field.policy)
            return items.isEmpty ? "nothing" : clipped(items.map { self.value($0, of: one, currency: currency, name: name) })
        case (.address, .object(let parts)):
            let order = ["line1", "line2", "postal_code", "city", "region", "country"]
            return clipped(order.compactMap { parts[$0]?.stringValue })
        default: return plain(value)
        }
    }

    /// A value whose type is not declared: of a map's key, or of an entity that this build does not know.
    static func plain(_ value: JSONValue) -> String {
        switch value {
        case .null: "nothing"
        case .bool(let flag): flag ? "yes" : "no"
        case .string(let text): clip(text)
        case .array(let items) where items.allSatisfy({ $0.stringValue != nil }): clipped(items.compactMap(\.stringValue))
        default: clip(value.canonicalText)
        }
    }

    static func clipped(_ parts: [String]) -> String { clip(parts.joined(separator: ", ")) }

    /// One line, at most ``charactersMax`` long.
    static func clip(_ text: String) -> String {
        let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
        return line.count > charactersMax ? line.prefix(charactersMax - 1) + "…" : line
    }

    private static func title(_ entity: String, _ id: String, _ name: (RecordKey) -> String?) -> String {
        Identifier(id).flatMap { name(RecordKey(entity, $0)) } ?? String(id.prefix(8))
    }

    /// Thousandths; whole quantities without the point.
    private static func quantity(_ amount: Int64) -> String {
        amount % 1000 == 0 ? String(amount / 1000) : Decimals.format(amount, scale: 3)
    }

    private static func instant(_ milliseconds: Int64) -> String {
        let iso = Instant.iso(fromMilliseconds: milliseconds)
        guard let time = iso.firstIndex(of: "T") else { return iso }
        return "\(iso[..<time]) \(iso[time...].dropFirst().prefix(5)) UTC"
    }

    private static func duration(_ minutes: Int64) -> String {
        let (hours, rest) = minutes.quotientAndRemainder(dividingBy: 60)
        if hours == 0 { return "\(minutes) min" }
        return rest == 0 ? "\(hours) h" : "\(hours) h \(rest.magnitude) min"
    }
}
