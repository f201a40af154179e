// One parameter of a statement, and a statement with its parameters: plain values, built anywhere, sent by a connection.

enum PostgresValue: Sendable, Equatable {
    case null
    case text(String)
    /// Text or JSON that already is UTF-8 bytes; passed through unread.
    case utf8([UInt8])
    /// For `bytea` parameters only: travels in binary, so that a megabyte is a megabyte.
    case bytes([UInt8])
    case integer(Int64)
    case bool(Bool)
    case textArray([String])
    case integerArray([Int64])
    case optionalTextArray([String?])
    case optionalIntegerArray([Int64?])
    /// Elements are UTF-8 text or JSON, for `text[]`, `jsonb[]` and the like.
    case utf8Array([[UInt8]?])

    static func optional(_ value: String?) -> PostgresValue { value.map(PostgresValue.text) ?? .null }
    static func optional(_ value: Int64?) -> PostgresValue { value.map(PostgresValue.integer) ?? .null }
    static func optional(_ value: Bool?) -> PostgresValue { value.map(PostgresValue.bool) ?? .null }
}

extension PostgresValue: ExpressibleByStringLiteral, ExpressibleByStringInterpolation {
    init(stringLiteral value: String) { self = .text(value) }
}

extension PostgresValue: ExpressibleByIntegerLiteral {
    init(integerLiteral value: Int64) { self = .integer(value) }
}

extension PostgresValue: ExpressibleByBooleanLiteral {
    init(booleanLiteral value: Bool) { self = .bool(value) }
}

extension PostgresValue: ExpressibleByNilLiteral {
    init(nilLiteral: ()) { self = .null }
}

/// SQL with `$1…$n` and the values for them. The text is the key of the prepared-statement cache, so it should not vary with the data.
struct PostgresStatement: Sendable, Equatable {
    var sql: String
    var parameters: [PostgresValue]

    init(_ sql: String, _ parameters: [PostgresValue] = []) {
        self.sql = sql
        self.parameters = parameters
    }
}

enum PostgresIdentifier {
    /// A name as SQL text, whatever it contains (U+0000, which Postgres cannot store, is dropped).
    static func quoted(_ name: String) -> String {
        var text = "\""
        for scalar in name.unicodeScalars where scalar != "\0" {
            if scalar == "\"" { text += "\"" }
            text.unicodeScalars.append(scalar)
        }
        return text + "\""
    }
}
