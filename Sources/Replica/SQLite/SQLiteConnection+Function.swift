// SQL functions written in Swift, for triggers and queries of this connection.

import CSQLite

extension SQLiteConnection {
    /// Makes `body` callable from SQL. With `argumentCount` -1 it takes any number of values. An error that `body` throws fails
    /// the statement; the code and message of a `SQLiteError` are kept. `body` must not use the connection.
    ///
    /// - Parameter deterministic: equal arguments always give equal results, so that indexes may use it and SQLite may call it less.
    func registerFunction(
        _ name: String,
        argumentCount: Int,
        deterministic: Bool,
        _ body: @escaping ([SQLiteValue]) throws -> SQLiteValue
    ) throws(SQLiteError) {
        let database = try requireOpen("function")
        let flags = SQLITE_UTF8 | (deterministic ? SQLITE_DETERMINISTIC : 0)
        let function = Unmanaged.passRetained(RegisteredFunction(body))
        // SQLite calls the destructor when the function is replaced, when the connection closes, and when this call fails.
        let result = sqlite3_create_function_v2(
            database, name, Int32(clamping: argumentCount), flags, function.toOpaque(),
            { context, count, values in
                guard let context, let function = sqlite3_user_data(context) else { return }
                Unmanaged<RegisteredFunction>.fromOpaque(function).takeUnretainedValue().call(context, count, values)
            },
            nil, nil,
            { function in
                guard let function else { return }
                Unmanaged<RegisteredFunction>.fromOpaque(function).release()
            }
        )
        guard result == SQLITE_OK else { throw error(result, operation: "function") }
    }
}

private final class RegisteredFunction {
    private let body: ([SQLiteValue]) throws -> SQLiteValue

    init(_ body: @escaping ([SQLiteValue]) throws -> SQLiteValue) {
        self.body = body
    }

    func call(_ context: OpaquePointer, _ count: Int32, _ values: UnsafeMutablePointer<OpaquePointer?>?) {
        let arguments = UnsafeBufferPointer(start: values, count: values == nil ? 0 : Int(count)).map(Self.argument)
        do {
            Self.setResult(try body(arguments), context)
        } catch let error as SQLiteError {
            Self.setError(error.message, code: error.code, context)
        } catch {
            Self.setError(String(describing: error), code: SQLITE_ERROR, context)
        }
    }

    private static func argument(_ value: OpaquePointer?) -> SQLiteValue {
        switch sqlite3_value_type(value) {
        case SQLITE_INTEGER: return .integer(sqlite3_value_int64(value))
        case SQLITE_FLOAT: return .real(sqlite3_value_double(value))
        case SQLITE_TEXT:
            guard let start = sqlite3_value_text(value) else { return .text("") }
            let bytes = UnsafeBufferPointer(start: start, count: Int(sqlite3_value_bytes(value)))
            return .text(String(decoding: bytes, as: UTF8.self))
        case SQLITE_BLOB:
            guard let start = sqlite3_value_blob(value) else { return .blob([]) }
            return .blob(Array(UnsafeRawBufferPointer(start: start, count: Int(sqlite3_value_bytes(value)))))
        default: return .null
        }
    }

    private static func setResult(_ value: SQLiteValue, _ context: OpaquePointer) {
        switch value {
        case .null: sqlite3_result_null(context)
        case .integer(let value): sqlite3_result_int64(context, value)
        case .real(let value): sqlite3_result_double(context, value)
        case .text(var value): value.withUTF8 { csqlite_result_text(context, $0.baseAddress, UInt64($0.count)) }
        case .blob(let value): value.withUnsafeBytes { csqlite_result_blob(context, $0.baseAddress, UInt64($0.count)) }
        }
    }

    // The message first: setting it resets the code to the general one.
    private static func setError(_ message: String, code: Int32, _ context: OpaquePointer) {
        sqlite3_result_error(context, message, -1)
        sqlite3_result_error_code(context, code)
    }
}
