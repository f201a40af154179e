// Who holds a data directory: a server, which keeps it for as long as it runs, or a command, which is done soon.

import Foundation

/// As it stands in `DIR/server.lock`: the process, then on a line of its own what it is.
struct DirectoryHolder: Sendable, Equatable {
    enum Use: String, Sendable {
        case server
        case command
    }

    let process: pid_t
    let use: Use

    init(process: pid_t, use: Use) {
        self.process = process
        self.use = use
    }

    /// nil when the file does not say it, or its writer is gone: then whoever has the lock now is about to write.
    init?(lockFile path: String) {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
        let lines = text.split(separator: "\n")
        guard lines.count == 2, let process = pid_t(lines[0]), process > 0, let use = Use(rawValue: String(lines[1])),
            kill(process, 0) == 0 || errno == EPERM
        else { return nil }
        self.init(process: process, use: use)
    }

    var text: String { "\(process)\n\(use.rawValue)\n" }
}
