// A file that cannot be opened any more: what can be said about it from outside, for a check-up and a support bundle.

import Foundation
import SyncProtocol

extension Replica {
    /// The check-up of a file that ``open(_:schema:transport:environment:journal:)`` has refused with `storage`.
    public static func diagnose(unopened path: String, _ error: ReplicaError) -> Diagnosis {
        var diagnosis = Diagnosis()
        diagnosis.add("file", .problem, error.message, unopenedAdvice)
        do {
            let header = try DatabaseHeader(path)
            if !header.isDatabase {
                diagnosis.addDamage("its first bytes are not those of a SQLite database: it was overwritten, or is a file of another kind")
            } else if header.bytes < header.pages * header.pageSize {
                diagnosis.addDamage("it has \(header.bytes) of \(header.pages * header.pageSize) bytes: its end is missing")
            } else {
                diagnosis.addDamage("its first bytes are those of a SQLite database, and none is missing at its end")
            }
        } catch {
            diagnosis.addDamage("it cannot be read: \(error.localizedDescription)")
        }
        diagnosis.add("pending", .problem, "what waits in it cannot be counted", nil)
        return diagnosis
    }

    /// The support bundle of such a file.
    public static func supportBundle(
        unopened path: String, _ error: ReplicaError, _ diagnosis: Diagnosis, schema: Schema = .tideline
    ) -> JSONValue {
        // Messages of opening name the file, and a path may name a person.
        func nameless(_ text: String) -> String { text.replacing(path, with: "FILE") }
        var facts: JSONObject = ["unreadable": .string(nameless(error.detail ?? error.code.rawValue))]
        if let header = try? DatabaseHeader(path) {
            facts["bytes"] = .integer(header.bytes)
            facts["is_database"] = .bool(header.isDatabase)
            facts["page_size"] = .integer(header.pageSize)
            facts["pages"] = .integer(header.pages)
        }
        var told = diagnosis
        told.findings = diagnosis.findings.map {
            Diagnosis.Finding(check: $0.check, level: $0.level, text: nameless($0.text), advice: $0.advice)
        }
        return bundle(told, schema, nil, .object(facts))
    }

    private static let unopenedAdvice = """
        if there is a copy or a backup of the file, put that in its place and run replica sync; else enrol a new file \
        (replica --db NEWFILE enroll URL CODE): whatever was sent is at the server. Keep this file and send a support bundle \
        (replica doctor --bundle FILE): what had not been sent may still be in it
        """
}

/// The beginning of a database file (SQLite's file format, the first 100 bytes).
private struct DatabaseHeader {
    let bytes: Int64
    let isDatabase: Bool
    let pageSize: Int64
    /// As the header counts them; 0 where it does not say.
    let pages: Int64

    init(_ path: String) throws {
        let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
        defer { try? handle.close() }
        let head = Array(try handle.read(upToCount: 100) ?? Data())
        bytes = Int64(try handle.seekToEnd())
        isDatabase = head.count == 100 && head.starts(with: Array("SQLite format 3\u{0}".utf8))
        let size = head.count == 100 ? Int64(head[16]) << 8 | Int64(head[17]) : 0
        pageSize = size == 1 ? 65_536 : size
        pages = head.count == 100 ? head[28..<32].reduce(0) { $0 << 8 | Int64($1) } : 0
    }
}
