// What a tool wrote may hold bytes that are no text, or JSON that is none. The rest of the row is kept, and a person says what was meant.

import SyncProtocol

/// A captured row as far as it can be read.
struct SalvagedRow {
    var record: RecordState
    /// By column: what cannot be read, with a sign in place of each byte that is no text.
    var unreadable: [String: String]
}

extension Store {
    /// Reads an image column by column; nil when it is no object at all.
    /// - Parameters:
    ///   - number: Of the row in the log.
    ///   - image: `old` or `new`.
    func salvaged(_ number: Int64, _ image: String, _ schema: EntitySchema, _ id: Identifier) throws -> SalvagedRow? {
        var readable = JSONObject()
        var unreadable: [String: String] = [:]
        do {
            try connection.forEach(
                "SELECT j.key, j.type, j.value FROM _tideline_edit e, json_each(e.\(image)) j WHERE e.seq = ?1", [.integer(number)]
            ) { row in
                let column = row.text(0)
                switch row.text(1) {
                case "null": break
                case "integer": readable[column] = .integer(row.integer(2))
                case "true", "false": readable[column] = .bool(row.boolean(2))
                case "text":
                    let (text, isText) = row.withUTF8(2) { bytes in
                        let text = String(decoding: bytes, as: UTF8.self)
                        return (text, text.utf8.elementsEqual(bytes))
                    }
                    if isText { readable[column] = .string(text) } else { unreadable[column] = text }
                default:
                    row.withUTF8(2) { bytes in
                        if let value = try? JSONValue(parsing: bytes) {
                            readable[column] = value
                        } else {
                            unreadable[column] = String(decoding: bytes, as: UTF8.self)
                        }
                    }
                }
            }
            return SalvagedRow(record: try RecordImage.decode(readable, schema: schema, id: id), unreadable: unreadable)
        } catch {
            if let error = error as? SQLiteError, error.isCorrupt || error.isRetryable { throw error }
            return nil
        }
    }
}

extension CapturedEdit {
    /// Leaves out what cannot be read: to the rest of the set it did not happen.
    mutating func leaveOut(old: [String: String], new: [String: String]) {
        for column in Set(old.keys).union(new.keys) where self.new?.schema.field(column) != nil {
            self.new?[column] = self.old?[column] ?? .null
        }
        // Written by an earlier statement, whose problem it is.
        unreadable = new.filter { old[$0.key] != $0.value }
    }

    var unreadableViolations: [Violation] {
        unreadable.sorted { $0.key < $1.key }.map { column, text in
            Violation(
                entity: key.entity, id: key.id, field: column, code: .invalidSyntax,
                message: "what was written by plain SQL cannot be read: say what was meant",
                parameters: ["text": .string(text), "unreadable": true])
        }
    }
}

extension Problem {
    /// Fields whose words could not be read, and that nobody can do again without saying what was meant.
    var unreadableFields: Set<String> {
        Set(violations.filter { $0.parameters["unreadable"]?.boolValue == true }.compactMap(\.field))
    }
}
