// `postmaster.pid`, which a running Postgres keeps in its data directory: who runs it, where it listens, and how far it has come.

import Foundation

struct PostmasterFile: Sendable, Equatable {
    let processIdentifier: pid_t
    let socketDirectory: String?
    let isReady: Bool

    init?(dataDirectory: String) {
        guard let lines = ClusterDirectory.lines(of: dataDirectory + "/postmaster.pid"),
            let first = lines.first, let number = Int32(first), number > 0
        else { return nil }
        processIdentifier = number
        socketDirectory = lines.count > 4 && !lines[4].isEmpty ? lines[4] : nil
        isReady = lines.count > 7 && lines[7].hasPrefix("ready")
    }
}

/// Processes of a cluster that nobody supervises any more: after kill -9 of the server, or of the postmaster alone.
enum ClusterRemains {
    /// Every Postgres process works inside its data directory, which identifies it beyond doubt, unlike a number in a file.
    static func processes(dataDirectory: String) -> [pid_t] {
        guard let resolved = realpath(dataDirectory, nil) else { return [] }
        defer { free(resolved) }
        let dataDirectory = String(cString: resolved)
        let entries = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return entries.compactMap { pid_t($0) }.filter { process in
            guard let folder = link("/proc/\(process)/cwd"), folder == dataDirectory else { return false }
            guard let program = link("/proc/\(process)/exe") else { return false }
            return program.split(separator: "/").last?.hasPrefix("postgres") ?? false
        }
    }

    private static func link(_ path: String) -> String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink(path, &buffer, buffer.count)
        return count > 0 ? String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
    }
}
