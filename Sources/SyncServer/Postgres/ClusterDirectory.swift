// The files of the private cluster: `DIR/postgres` (data), `DIR/socket`, `DIR/postgres.log`, `DIR/server.lock`. Made once, locked while in use.

import Foundation

/// Used by the supervising thread only, after `lock()`.
final class ClusterDirectory {
    /// Absolute, without symbolic links.
    let root: String
    let user: ClusterUser
    private(set) var socketDirectory = ""
    private var lockDescriptor: Int32 = -1

    var data: String { root + "/postgres" }
    var log: String { root + "/postgres.log" }
    var lockFile: String { root + "/server.lock" }
    private static let unfinishedPrefix = "postgres.unfinished-"
    private static let logBytesMax = 10 << 20
    /// The limit of the operating system for the whole path of a socket.
    private static let socketPathBytesMax = 107
    private static let socketName = ".s.PGSQL.5432"

    init(_ path: String) throws(EmbeddedPostgresError) {
        let isRoot = geteuid() == 0
        if access(path, F_OK) != 0 {
            do {
                // Others may pass through, not look: the cluster's user has to get to its own folder inside.
                try FileManager.default.createDirectory(
                    atPath: path, withIntermediateDirectories: true,
                    attributes: [.posixPermissions: isRoot ? 0o711 : 0o700])
            } catch {
                throw EmbeddedPostgresError(
                    .directoryNotUsable, "cannot make \(path): \(error.localizedDescription)", operation: "prepare")
            }
        }
        guard let resolved = realpath(path, nil) else {
            throw EmbeddedPostgresError(
                .directoryNotUsable, "cannot open \(path): \(EmbeddedPostgresError.systemReason)", operation: "prepare")
        }
        defer { free(resolved) }
        root = String(cString: resolved)
        user = ClusterUser.choose(owner: ClusterDirectory.owner(of: root + "/postgres"))
    }

    deinit { unlock() }

    // MARK: One process at a time

    /// Who has the lock, as far as that is known at this moment.
    var holder: DirectoryHolder? { DirectoryHolder(lockFile: lockFile) }

    /// Takes the lock, if nobody has it. It ends with the process that holds it, however that ends.
    func tryLock(as use: DirectoryHolder.Use) throws(EmbeddedPostgresError) -> Bool {
        let descriptor = open(lockFile, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw EmbeddedPostgresError(
                .directoryNotUsable, "cannot write in \(root): \(EmbeddedPostgresError.systemReason)", operation: "lock")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let isHeld = errno == EWOULDBLOCK
            let reason = EmbeddedPostgresError.systemReason
            close(descriptor)
            if isHeld { return false }
            throw EmbeddedPostgresError(.directoryNotUsable, "cannot lock \(lockFile): \(reason)", operation: "lock")
        }
        let text = DirectoryHolder(process: getpid(), use: use).text
        _ = ftruncate(descriptor, 0)
        _ = pwrite(descriptor, text, text.utf8.count, 0)
        lockDescriptor = descriptor
        return true
    }

    var inUse: EmbeddedPostgresError {
        let holder = ClusterDirectory.firstLine(of: lockFile).map { "process \($0)" } ?? "another process"
        return EmbeddedPostgresError(.directoryInUse, "the data directory \(root) is in use by \(holder)", operation: "lock")
    }

    func unlock() {
        guard lockDescriptor >= 0 else { return }
        // Nobody takes this process for the holder while the next one has not written its own name yet.
        _ = ftruncate(lockDescriptor, 0)
        // Closing alone is not enough: a child between fork and exec holds the same lock for a moment.
        flock(lockDescriptor, LOCK_UN)
        close(lockDescriptor)
        lockDescriptor = -1
    }

    // MARK: Preparing

    var isInitialized: Bool { access(data + "/PG_VERSION", F_OK) == 0 }

    /// The major version whose files these are, if there are any.
    var majorVersion: Int? { ClusterDirectory.firstLine(of: data + "/PG_VERSION").flatMap { Int($0) } }

    /// An empty folder of the cluster's user, to be filled by initdb and then moved into place.
    func makeUnfinished() throws(EmbeddedPostgresError) -> String {
        // What a kill in the middle left behind.
        let leftovers = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        for name in leftovers where name.hasPrefix(ClusterDirectory.unfinishedPrefix) { remove("\(root)/\(name)") }
        // A name of its own, in case an orphaned initdb still writes to an older one.
        let path = "\(root)/\(ClusterDirectory.unfinishedPrefix)\(getpid())-\(UInt32.random(in: 0 ... .max))"
        try makePrivate(path)
        if let obstacle = user.firstObstacle(on: path) { throw notTraversable(obstacle) }
        return path
    }

    func remove(_ path: String) { try? FileManager.default.removeItem(atPath: path) }

    /// From here on the cluster exists.
    func adopt(_ unfinished: String) throws(EmbeddedPostgresError) {
        guard rename(unfinished, data) == 0 else {
            throw EmbeddedPostgresError(
                .initializationFailed, "cannot move the new cluster to \(data): \(EmbeddedPostgresError.systemReason)",
                operation: "initialize")
        }
        let descriptor = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if descriptor >= 0 {
            fsync(descriptor)
            close(descriptor)
        }
    }

    /// Checks the way to the data, and picks a folder for the socket whose path is short enough.
    func prepareToStart() throws(EmbeddedPostgresError) {
        if user.isSwitched, let owner = ClusterDirectory.owner(of: data), owner.user == 0 {
            throw EmbeddedPostgresError(
                .directoryNotUsable, "\(data) belongs to root, and Postgres does not run as root: chown -R it",
                operation: "prepare")
        }
        if let obstacle = user.firstObstacle(on: data) { throw notTraversable(obstacle) }
        var refusals: [String] = []
        for candidate in socketCandidates {
            do throws(EmbeddedPostgresError) {
                try makePrivate(candidate)
            } catch {
                refusals.append(error.message)
                continue
            }
            if user.firstObstacle(on: candidate) == nil {
                socketDirectory = candidate
                return
            }
            refusals.append("\(candidate) cannot be reached by the cluster's user")
        }
        throw EmbeddedPostgresError(
            .directoryNotUsable, "no place for the socket: \(refusals.joined(separator: "; "))", operation: "prepare")
    }

    private var socketCandidates: [String] {
        let own = root + "/socket"
        if "\(own)/\(ClusterDirectory.socketName)".utf8.count <= ClusterDirectory.socketPathBytesMax { return [own] }
        // FNV-1a: names the folder after the directory, so that each directory has one and the same.
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in root.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        let name = "tideline-\(user.userIdentifier)-" + String(hash, radix: 16)
        let parents = [geteuid() == 0 ? "/run" : "/run/user/\(geteuid())", "/tmp"]
        return parents.map { "\($0)/\(name)" }
    }

    /// A folder only the cluster's user can enter. One that exists must already be exactly that: in /tmp somebody else may have made it.
    private func makePrivate(_ path: String) throws(EmbeddedPostgresError) {
        if mkdir(path, 0o700) == 0 {
            guard !user.isSwitched || lchown(path, user.userIdentifier, user.groupIdentifier) == 0 else {
                let reason = EmbeddedPostgresError.systemReason
                rmdir(path)
                throw EmbeddedPostgresError(
                    .directoryNotUsable, "cannot give \(path) to the cluster's user: \(reason)", operation: "prepare")
            }
            return
        }
        guard errno == EEXIST else {
            throw EmbeddedPostgresError(
                .directoryNotUsable, "cannot make \(path): \(EmbeddedPostgresError.systemReason)", operation: "prepare")
        }
        var information = stat()
        guard lstat(path, &information) == 0, information.st_mode & S_IFMT == S_IFDIR,
            information.st_uid == user.userIdentifier
        else {
            throw EmbeddedPostgresError(
                .directoryNotUsable, "\(path) exists and is not a folder of the cluster's user", operation: "prepare")
        }
        if information.st_mode & 0o077 != 0 { chmod(path, 0o700) }
    }

    private func notTraversable(_ obstacle: String) -> EmbeddedPostgresError {
        EmbeddedPostgresError(
            .directoryNotTraversable,
            "Postgres runs as user \(user.userIdentifier) and may not pass through \(obstacle): run `chmod o+x \(obstacle)`, choose another data directory, or do not start as root",
            operation: "prepare")
    }

    // MARK: Log and files

    /// For the cluster's output, appended; rotated when large.
    func openLog() throws(EmbeddedPostgresError) -> Int32 {
        var information = stat()
        if stat(log, &information) == 0, information.st_size > off_t(ClusterDirectory.logBytesMax) {
            rename(log, log + ".1")
        }
        let descriptor = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw EmbeddedPostgresError(
                .directoryNotUsable, "cannot write \(log): \(EmbeddedPostgresError.systemReason)", operation: "prepare")
        }
        return descriptor
    }

    /// The last lines of the log, for an error message.
    func logTail() -> String {
        guard let file = FileHandle(forReadingAtPath: log) else { return "" }
        defer { try? file.close() }
        let size = (try? file.seekToEnd()) ?? 0
        try? file.seek(toOffset: size > 2048 ? size - 2048 : 0)
        let bytes = (try? file.readToEnd()) ?? Data()
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").suffix(4).joined(separator: " | ")
    }

    static func owner(of path: String) -> (user: uid_t, group: gid_t)? {
        var information = stat()
        return stat(path, &information) == 0 ? (information.st_uid, information.st_gid) : nil
    }

    static func firstLine(of path: String) -> String? { lines(of: path)?.first }

    static func lines(of path: String) -> [String]? {
        guard let bytes = FileManager.default.contents(atPath: path) else { return nil }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
            .map(String.init)
    }
}
