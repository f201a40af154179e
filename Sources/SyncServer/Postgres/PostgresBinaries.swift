// Finds a Postgres installation to run the private cluster with. Debian keeps each major version in a folder of its own, off the PATH.

import Foundation

struct PostgresBinaries: Sendable, Equatable {
    /// Folder that holds `postgres` and `initdb`.
    let directory: String
    /// For example 15; nil where the folder does not tell.
    let majorVersion: Int?

    var postgres: String { directory + "/postgres" }
    var initdb: String { directory + "/initdb" }

    /// The folder named by TIDELINE_POSTGRES_BIN alone; else Debian's, highest version first; else the PATH. With `majorVersion`
    /// (of a cluster that exists) only that version will do, because Postgres reads no other version's files.
    static func find(
        majorVersion: Int?, environment: [String: String], versionedRoot: String = "/usr/lib/postgresql"
    ) throws(EmbeddedPostgresError) -> PostgresBinaries {
        let candidates = candidates(environment: environment, versionedRoot: versionedRoot)
        guard !candidates.isEmpty else {
            let place =
                environment["TIDELINE_POSTGRES_BIN"].map { "in TIDELINE_POSTGRES_BIN (\($0))" }
                ?? "in \(versionedRoot)/*/bin or on the PATH"
            throw EmbeddedPostgresError(
                .binariesNotFound,
                "no postgres and initdb \(place); install the package `postgresql`, or give a --database-url",
                operation: "find")
        }
        guard let majorVersion else { return candidates[0] }
        if let match = candidates.first(where: { $0.majorVersion == majorVersion }) { return match }
        // A folder that does not tell its version may be the right one; Postgres itself checks.
        if let unknown = candidates.first(where: { $0.majorVersion == nil }) { return unknown }
        let installed = candidates.compactMap { $0.majorVersion.map(String.init) }.joined(separator: ", ")
        throw EmbeddedPostgresError(
            .versionNotInstalled,
            "the data directory belongs to Postgres \(majorVersion), installed is \(installed): install postgresql-\(majorVersion), or move the data with pg_upgrade",
            operation: "find")
    }

    private static func candidates(environment: [String: String], versionedRoot: String) -> [PostgresBinaries] {
        if let chosen = environment["TIDELINE_POSTGRES_BIN"], !chosen.isEmpty {
            return [PostgresBinaries(directory: chosen, majorVersion: version(ofFolder: chosen))].filter(\.isComplete)
        }
        // A missing folder simply has no versions.
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: versionedRoot)) ?? []
        let versioned = versions.compactMap { Int($0) }.sorted(by: >)
            .map { PostgresBinaries(directory: "\(versionedRoot)/\($0)/bin", majorVersion: $0) }
        let onPath = (environment["PATH"] ?? "").split(separator: ":").map(String.init)
            .map { PostgresBinaries(directory: $0, majorVersion: nil) }
        return (versioned + onPath).filter(\.isComplete)
    }

    private static func version(ofFolder folder: String) -> Int? {
        folder.split(separator: "/").reversed().lazy.compactMap { Int($0) }.first
    }

    private var isComplete: Bool { access(postgres, X_OK) == 0 && access(initdb, X_OK) == 0 }
}
