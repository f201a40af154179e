// A file to import as rows: CSV typed by the schema, or an object a line in stored form. It is read whole and checked for its form
// before anything is written.

import Foundation
import Replica
import SyncProtocol

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// One record of the file.
struct ImportRow: Sendable {
    var line: Int
    var id: String?
    /// From CSV, typed by the schema.
    var assignments: [Assignment] = []
    /// Columns of CSV whose cell is empty.
    var empty: [Assignment] = []
    /// From JSON, in stored form.
    var values: [String: JSONValue] = [:]
    /// What it says, the same for rows that say the same whatever their columns' order.
    var content = ""
}

enum ImportFile {
    /// The rows of a file, a pipe or, as `-`, of standard input. What begins with a brace is JSONL, unless its name says otherwise.
    static func rows(_ path: String, _ entity: EntitySchema) throws -> [ImportRow] {
        let bytes: [UInt8]
        do { bytes = try read(path) } catch {
            throw UsageError("cannot read \(path): \(error)", hint: "usage: replica import ENTITY FILE.csv|FILE.jsonl, or - for a pipe")
        }
        let name = path.lowercased()
        let isLines = name.hasSuffix(".jsonl") || !name.hasSuffix(".csv") && bytes.first { ![0x20, 0x09, 0x0A, 0x0D].contains($0) } == 0x7B
        return isLines ? try jsonRows(bytes) : try csvRows(bytes, entity)
    }

    /// A pipe has no size: it is read until it ends.
    private static func read(_ path: String) throws -> [UInt8] {
        let descriptor = path == "-" ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SystemReason() }
        defer { if descriptor != STDIN_FILENO { close(descriptor) } }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = systemRead(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw SystemReason() }
            if count == 0 { return bytes }
            bytes += chunk[..<count]
        }
    }

    private static func csvRows(_ bytes: [UInt8], _ entity: EntitySchema) throws -> [ImportRow] {
        var reader = CSVReader(bytes)
        guard let header = try reader.next() else { throw UsageError("the file is empty") }
        let columns = header.fields.map { $0.trimmingCharacters(in: .whitespaces) }
        guard Set(columns).count == columns.count else { throw UsageError("line 1 names a column twice") }
        for column in columns where column != "id" { try requireField(column, entity) }
        var rows: [ImportRow] = []
        while let (line, fields) = try reader.next() {
            guard fields.count == columns.count else {
                throw CSVError(line: line, message: "\(fields.count) fields, but line 1 names \(columns.count)")
            }
            var row = ImportRow(line: line)
            var said = JSONObject()
            for (column, value) in zip(columns, fields) {
                if column == "id" {
                    row.id = value.isEmpty ? nil : value
                } else if value.isEmpty {
                    row.empty.append(try Assignment("\(column)="))
                } else {
                    row.assignments.append(try Assignment("\(column)=\(value)"))
                    said[column] = .string(value)
                }
            }
            row.content = JSONValue.object(said).canonicalText
            rows.append(row)
        }
        return rows
    }

    /// Told once for the file rather than once a line.
    private static func requireField(_ column: String, _ entity: EntitySchema) throws {
        let field = column.isEmpty ? "" : try Assignment("\(column)=").field
        guard entity.field(field)?.isSecret != false, entity.field(field + "_id") == nil else { return }
        let known = entity.fields.filter { !$0.isSecret }.map(\.name)
        let near = Near.names(to: field, in: known)
        throw UsageError(
            column.isEmpty ? "line 1: a column has no name" : "line 1: \(entity.name) has no field \(column)",
            hint: near.isEmpty ? "fields: \(known.joined(separator: ", "))" : "did you mean \(near.joined(separator: " or "))?")
    }

    private static func jsonRows(_ bytes: [UInt8]) throws -> [ImportRow] {
        var rows: [ImportRow] = []
        for (index, line) in bytes.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated() where !line.isEmpty {
            let object: JSONObject
            do {
                guard let parsed = try JSONValue(parsing: line).objectValue else {
                    throw UsageError("line \(index + 1) is not a JSON object")
                }
                object = parsed
            } catch let error as JSONError {
                throw UsageError("line \(index + 1): \(error.message)")
            }
            var row = ImportRow(line: index + 1)
            var said = JSONObject()
            for (name, value) in object where !RowLayout.common.contains(name) || name == "id" {
                if name == "id" {
                    // What is not a text is no id either, and is refused with its line.
                    row.id = value.isNull ? nil : FieldText.plain(value)
                } else {
                    row.values[name] = value
                    said[name] = value
                }
            }
            row.content = JSONValue.object(said).canonicalText
            rows.append(row)
        }
        return rows
    }
}

/// Why a call into the system failed, in its words.
private struct SystemReason: Error, CustomStringConvertible {
    let description = String(cString: strerror(errno))
}

private func systemRead(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer, _ count: Int) -> Int { read(descriptor, buffer, count) }
