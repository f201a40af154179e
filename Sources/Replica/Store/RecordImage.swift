// A record as one JSON text: how confirmed images and rows of unknown entities are kept.

import SyncProtocol

enum RecordImage {
    /// Object by wire column, without versions and scope keys.
    static func encode(_ record: RecordState) -> String {
        var object = JSONObject()
        for column in RowLayout.common { object[column] = record.column(column) }
        if record.position == .unconfirmed { object["position"] = .integer(.max) }
        for field in record.schema.fields where !field.isSecret { object[field.name] = record[field.name] }
        if !record.extra.isEmpty { object["extra"] = .object(record.extra) }
        return JSONValue.object(object).canonicalText
    }

    static func encode(columns: [String], row: [JSONValue]) -> String {
        JSONValue.object(JSONObject(zip(columns, row).filter { $0.0 != "versions" })).canonicalText
    }

    static func decode(_ text: String, schema: EntitySchema, id: Identifier) throws -> RecordState {
        var text = text
        return try text.withUTF8 { try decode(utf8: $0, schema: schema, id: id) }
    }

    static func decode(utf8: UnsafeBufferPointer<UInt8>, schema: EntitySchema, id: Identifier) throws -> RecordState {
        let object: JSONObject
        do { object = try JSONValue(parsing: utf8).objectValue ?? JSONObject() } catch {
            throw ReplicaError(.storage, "the image of \(schema.name) \(id.text) is damaged: \(error)", operation: "read")
        }
        return try decode(object, schema: schema, id: id)
    }

    static func decode(_ object: JSONObject, schema: EntitySchema, id: Identifier) throws -> RecordState {
        var columns = object.keys
        var row = object.values
        if object["id"] == nil {
            columns.append("id")
            row.append(.string(id.text))
        }
        var record = try RecordState(schema: schema, columns: columns, row: row, epoch: 0)
        // An older build kept what it did not know beside what it did; this one may know it.
        for (name, value) in record.extra where object[name] == nil && schema.field(name) != nil {
            record[name] = value
            record.extra[name] = nil
        }
        return record
    }
}
