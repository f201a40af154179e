// Values as people type and read them. Everything travels as integers; only here is a decimal point put in or taken out.

import Foundation
import SyncProtocol

struct FieldText {
    /// Currency of the record, else of the tenant.
    var currency: String?

    /// The stored form of what a person typed for a field; an empty text is null.
    func parse(_ text: String, as type: FieldType, field: String) throws -> JSONValue {
        if text.isEmpty, !isSet(type) { return .null }
        switch type {
        case .integer, .counter: return .integer(try whole(text, field))
        case .money: return .integer(try decimal(text, CurrencyDigits.of(currency), field, "an amount like 1250.00"))
        case .quantity: return .integer(try decimal(text, 3, field, "a quantity like 2.5"))
        case .basisPoints:
            return .integer(try decimal(text.hasSuffix("%") ? String(text.dropLast()) : text, 2, field, "a rate like 7.5 (percent)"))
        case .date:
            guard let days = CalendarDate.days(fromISO: text) else { throw refuse(field, "is a date like 2026-03-16, not \"\(text)\"") }
            return .integer(days)
        case .instant:
            guard let milliseconds = Instant.milliseconds(fromISO8601: text) else {
                throw refuse(field, "is a time like 2026-03-16T09:30:00Z, not \"\(text)\"")
            }
            return .integer(milliseconds)
        case .bool:
            switch text.lowercased() {
            case "yes", "true", "1", "on": return 1
            case "no", "false", "0", "off": return 0
            default: throw refuse(field, "is yes or no, not \"\(text)\"")
            }
        case .set: return .array(Self.elements(text).map { .string($0) })
        case .map, .json, .address:
            do { return try JSONValue(parsing: text) } catch {
                throw refuse(field, "is JSON; set one part with \(field).name=value")
            }
        default: return .string(text)
        }
    }

    private func isSet(_ type: FieldType) -> Bool { if case .set = type { true } else { false } }

    /// `a;b` or `a,b` as elements.
    static func elements(_ text: String) -> [String] {
        text.split(whereSeparator: { $0 == ";" || $0 == "," }).map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
    }

    private func whole(_ text: String, _ field: String) throws -> Int64 {
        guard let number = Decimals.parse(text, scale: 0) else { throw refuse(field, "is a whole number, not \"\(text)\"") }
        return number
    }

    private func decimal(_ text: String, _ scale: Int, _ field: String, _ what: String) throws -> Int64 {
        guard let number = Decimals.parse(text, scale: scale) else { throw refuse(field, "is \(what), not \"\(text)\"") }
        return number
    }

    private func refuse(_ field: String, _ message: String) -> Violation {
        Violation(entity: "", id: nil, field: field, code: .invalidFormat, message: "\(field) \(message)")
    }

    /// The value for people.
    func show(_ value: JSONValue, as type: FieldType) -> String {
        switch (type, value) {
        case (_, .null): return ""
        case (.money, .integer(let amount)):
            return Decimals.format(amount, scale: CurrencyDigits.of(currency)) + (currency.map { " \($0)" } ?? "")
        case (.quantity, .integer(let amount)): return Decimals.format(amount, scale: 3)
        case (.basisPoints, .integer(let rate)): return Decimals.format(rate, scale: 2) + "%"
        case (.date, .integer(let days)): return CalendarDate.iso(fromDays: days)
        case (.instant, .integer(let milliseconds)): return Self.time(milliseconds)
        case (.bool, .integer(let flag)): return flag == 0 ? "no" : "yes"
        case (_, .array(let items)): return items.compactMap(\.stringValue).joined(separator: ", ")
        case (.address, .object(let parts)):
            let order = ["line1", "line2", "postal_code", "city", "region", "country"]
            return order.compactMap { parts[$0]?.stringValue }.joined(separator: ", ")
        case (_, .object(let parts)): return parts.map { "\($0.key)=\(Self.plain($0.value))" }.joined(separator: ", ")
        default: return Self.plain(value)
        }
    }

    static func plain(_ value: JSONValue) -> String { value.stringValue ?? value.canonicalText }

    /// An instant in local time.
    static func time(_ milliseconds: Int64) -> String {
        let offset = TimeZone.current.secondsFromGMT(for: Date(timeIntervalSince1970: Double(milliseconds) / 1000))
        let local = Instant.iso(fromMilliseconds: milliseconds + Int64(offset) * 1000)
        return local.prefix(10) + " " + local.dropFirst(11).prefix(5)
    }
}
