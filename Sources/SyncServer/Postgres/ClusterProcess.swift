// Starts a program of the private cluster: clean environment, no inherited descriptors or signal settings, own process group, output to the log.

import CPostgres
import Foundation

/// A child of this process. Used by the supervising thread only: the kernel ties the child's life to the thread that spawned it.
final class ClusterProcess {
    let processIdentifier: pid_t
    /// Readable (end of file) when the child and everything it started are gone.
    let lifeDescriptor: Int32
    private(set) var exitStatus: Int32?

    init(_ command: [String], log: Int32) throws(EmbeddedPostgresError) {
        var life: [Int32] = [-1, -1]
        guard pipe(&life) == 0 else {
            throw EmbeddedPostgresError(.startFailed, "no file descriptors left", operation: "start")
        }
        for end in life { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(life[1]) }

        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        // The log first: it may itself be number 3, and must be copied before that is overwritten.
        posix_spawn_file_actions_adddup2(&actions, log, 1)
        posix_spawn_file_actions_adddup2(&actions, log, 2)
        posix_spawn_file_actions_adddup2(&actions, life[1], 3)
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        // Listening sockets and database files of this process are none of Postgres' business.
        posix_spawn_file_actions_addclosefrom_np(&actions, 4)
        posix_spawn_file_actions_addchdir_np(&actions, "/")

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var mask = sigset_t()
        sigemptyset(&mask)
        posix_spawnattr_setsigmask(&attributes, &mask)
        sigfillset(&mask)
        posix_spawnattr_setsigdefault(&attributes, &mask)
        // A process group of its own: Ctrl-C in a terminal reaches the server, which then stops Postgres when it has drained.
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))

        var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        // Nothing of our environment: PGPORT and its like would change what the cluster does.
        var environment: [UnsafeMutablePointer<CChar>?] = [strdup("PATH=/usr/bin:/bin"), strdup("LC_ALL=C"), nil]
        defer { for pointer in arguments + environment { free(pointer) } }
        var child: pid_t = 0
        let status = posix_spawn(&child, command[0], &actions, &attributes, &arguments, &environment)
        guard status == 0 else {
            close(life[0])
            throw EmbeddedPostgresError(
                .startFailed, "cannot run \(command[0]): \(String(cString: strerror(status)))", operation: "start")
        }
        processIdentifier = child
        lifeDescriptor = life[0]
    }

    deinit { close(lifeDescriptor) }

    /// Without waiting; a child that cannot be found counts as gone.
    func hasExited() -> Bool {
        if exitStatus != nil { return true }
        var status: Int32 = 0
        let answer = waitpid(processIdentifier, &status, WNOHANG)
        if answer == processIdentifier { exitStatus = status }
        if answer < 0 && errno == ECHILD { exitStatus = -1 }
        return exitStatus != nil
    }

    func waitForExit() {
        while exitStatus == nil {
            var status: Int32 = 0
            let answer = waitpid(processIdentifier, &status, 0)
            if answer == processIdentifier { exitStatus = status }
            if answer < 0 && errno == ECHILD { exitStatus = -1 }
        }
    }

    func signal(_ number: Int32) {
        guard exitStatus == nil else { return }
        kill(processIdentifier, number)
    }

    /// For people: `exit 1`, `signal 9`.
    var exitDescription: String {
        guard let exitStatus, exitStatus >= 0 else { return "unknown exit" }
        return exitStatus & 0x7f == 0 ? "exit \((exitStatus >> 8) & 0xff)" : "signal \(exitStatus & 0x7f)"
    }

    /// Part of util-linux, so on every Debian and Ubuntu.
    static func findSetpriv() throws(EmbeddedPostgresError) -> String {
        for path in ["/usr/bin/setpriv", "/bin/setpriv", "/usr/local/bin/setpriv"] where access(path, X_OK) == 0 {
            return path
        }
        throw EmbeddedPostgresError(
            .binariesNotFound, "setpriv is missing; install util-linux, or give a --database-url", operation: "find")
    }
}
