// Long output, one screen at a time: `$PAGER`, else less, which is told to end by itself when everything fits.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

struct Pager: Sendable {
    private let command: String
    private let variables: [String: String]

    /// nil when none is wanted.
    init?(_ environment: [String: String]) {
        command = environment["PAGER"] ?? "less"
        guard !command.allSatisfy(\.isWhitespace), command != "cat" else { return nil }
        var variables = environment
        if variables["LESS"] == nil { variables["LESS"] = "FRX" }
        self.variables = variables
    }

    /// Shows the text and waits until the reader is done. False when there is no such pager; nothing was shown then.
    func show(_ text: String) -> Bool {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return false }
        // While the pager reads keys, interrupting is its matter.
        let before = signal(SIGINT, SIG_IGN)
        defer { signal(SIGINT, before) }
        guard let child = spawn(input: ends[0], closing: ends[1]) else {
            for end in ends { close(end) }
            return false
        }
        close(ends[0])
        let bytes = Array(text.utf8)
        var sent = 0
        while sent < bytes.count {
            let written = bytes.withUnsafeBytes { write(ends[1], $0.baseAddress.map { $0 + sent }, bytes.count - sent) }
            if written < 0, errno == EINTR { continue }
            // The reader has seen enough.
            guard written > 0 else { break }
            sent += written
        }
        close(ends[1])
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        // What a shell says of a program it cannot find or start.
        let code = (status >> 8) & 0xFF
        return !(status & 0x7F == 0 && (code == 127 || code == 126))
    }

    private func spawn(input: Int32, closing other: Int32) -> pid_t? {
        #if canImport(Darwin)
            var actions: posix_spawn_file_actions_t?
            var attributes: posix_spawnattr_t?
        #else
            var actions = posix_spawn_file_actions_t()
            var attributes = posix_spawnattr_t()
        #endif
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO)
        posix_spawn_file_actions_addclose(&actions, input)
        posix_spawn_file_actions_addclose(&actions, other)
        // Ignored here, but not for the pager.
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGINT)
        sigaddset(&signals, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))
        // A missing pager is told by its exit code, not in words in the reader's way.
        let words = ["sh", "-c", "exec \(command) 2>/dev/null"]
        var arguments = words.map { strdup($0) } + [nil]
        var environment = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for text in arguments + environment { free(text) } }
        var child: pid_t = 0
        return posix_spawn(&child, "/bin/sh", &actions, &attributes, &arguments, &environment) == 0 ? child : nil
    }
}
