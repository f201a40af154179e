// Values as people type and read them. Everything travels as integers; only here is a decimal point put in or taken out.

import Foundation
import SyncProtocol

extension FieldType {
    /// People read and type it with decimals; it travels as an integer.
    var isDecimal: Bool {
        switch self {
        case .money, .quantity, .basisPoints: true
        default: false
        }
    }
}

struct FieldText {
    /// Currency of the record, else of the tenant.
    var currency: String?
    var moment = Moment.now

    /// The stored form of what a person typed for a field; an empty text is null.
    func parse(_ text: String, as type: FieldType, field: String) throws -> JSONValue {
        if text.isEmpty, !isSet(type) { return .null }
        switch type {
        case .integer, .counter:
            guard let number = Decimals.parse(text, scale: 0) else { throw refuse(field, "is a whole number, not \"\(text)\"") }
            return .integer(number)
        case .money: return .integer(try money(text, field))
        case .quantity: return .integer(try decimal(text, 3, field, "a quantity like 2.5"))
        case .basisPoints:
            return .integer(try decimal(text.hasSuffix("%") ? String(text.dropLast()) : text, 2, field, "a rate like 7.5 (percent)"))
        case .date:
            guard let days = DateWords.day(text, moment) else { throw refuse(field, "is a date, not \"\(text)\": \(DateWords.hint)") }
            return .integer(days)
        case .instant:
            guard let milliseconds = DateWords.instant(text, moment) else {
                throw refuse(field, "is a time, not \"\(text)\": \(DateWords.timeHint)")
            }
            return .integer(milliseconds)
        case .bool:
            switch text.lowercased() {
            case "yes", "true", "1", "on", "y": return 1
            case "no", "false", "0", "off", "n": return 0
            default: throw refuse(field, "is yes or no, not \"\(text)\"")
            }
        case .set: return .array(Self.elements(text).map { .string($0) })
        case .map, .json, .address:
            do { return try JSONValue(parsing: text) } catch {
                throw refuse(field, "is JSON; set one part with \(field).name=value")
            }
        case .currency: return .string(text.uppercased())
        default: return .string(text)
        }
    }

    private func isSet(_ type: FieldType) -> Bool { if case .set = type { true } else { false } }

    /// `a;b` or `a,b` as elements.
    static func elements(_ text: String) -> [String] {
        text.split(whereSeparator: { $0 == ";" || $0 == "," }).map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
    }

    private func money(_ text: String, _ field: String) throws -> Int64 {
        guard let (amount, code) = MoneyWords.parse(text, currency: currency) else {
            let digits = CurrencyDigits.of(currency)
            let decimals = currency.map { " (\($0) has \(digits == 0 ? "no" : "\(digits)") decimals)" } ?? ""
            throw refuse(field, "is an amount, not \"\(text)\": \(MoneyWords.hint)\(decimals)")
        }
        if let code, let currency, code != currency { throw refuse(field, "is in \(currency), not in \(code)") }
        return amount
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
        case (.money, .integer(let amount)): return Self.grouped(amount, currency) + (currency.map { " \($0)" } ?? "")
        case (.quantity, .integer(let amount)): return Self.trimmed(Decimals.format(amount, scale: 3))
        case (.basisPoints, .integer(let rate)): return Self.trimmed(Decimals.format(rate, scale: 2)) + "%"
        case (.date, .integer(let days)): return CalendarDate.iso(fromDays: days)
        case (.instant, .integer(let milliseconds)): return Self.time(milliseconds)
        case (.bool, .integer(let flag)): return flag == 0 ? "no" : "yes"
        case (.bool, .bool(let flag)): return flag ? "yes" : "no"
        case (_, .array(let items)): return items.map(Self.plain).joined(separator: ", ")
        case (.address, .object(let parts)):
            let order = ["line1", "line2", "postal_code", "city", "region", "country"]
            return order.compactMap { parts[$0]?.stringValue }.joined(separator: ", ")
        case (_, .object(let parts)): return parts.map { "\($0.key)=\(Self.plain($0.value))" }.joined(separator: ", ")
        default: return Self.plain(value)
        }
    }

    static func plain(_ value: JSONValue) -> String { value.stringValue ?? value.canonicalText }

    /// `1,250.50`; typed back it means the same.
    private static func grouped(_ amount: Int64, _ currency: String?) -> String {
        let text = Decimals.format(amount, scale: CurrencyDigits.of(currency))
        let sign = text.hasPrefix("-") ? "-" : ""
        let digits = text.dropFirst(sign.count)
        let point = digits.firstIndex(of: ".") ?? digits.endIndex
        let whole = Array(digits[..<point])
        var groups = ""
        for (index, digit) in whole.enumerated() {
            if index > 0, (whole.count - index) % 3 == 0 { groups.append(",") }
            groups.append(digit)
        }
        return sign + groups + digits[point...]
    }

    /// `2.500` as `2.5`.
    private static func trimmed(_ decimal: String) -> String {
        let short = String(decimal.reversed().drop { $0 == "0" }.reversed())
        return short.hasSuffix(".") ? String(short.dropLast()) : short
    }

    /// An instant in local time.
    static func time(_ milliseconds: Int64) -> String {
        guard (-62_135_596_800_000...253_402_300_799_999).contains(milliseconds) else { return "\(milliseconds) ms" }
        let offset = TimeZone.current.secondsFromGMT(for: Date(timeIntervalSince1970: Double(milliseconds) / 1000))
        let local = Instant.iso(fromMilliseconds: milliseconds + Int64(offset) * 1000)
        return local.prefix(10) + " " + local.dropFirst(11).prefix(5)
    }
}
