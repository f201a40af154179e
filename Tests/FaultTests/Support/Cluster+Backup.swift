// A base backup of a test's Postgres and its return, as an operator does it: the data directory put back while nothing runs on it.

import Foundation

#if canImport(Glibc)
    import Glibc
#endif

extension Cluster {
    private var backup: String { folder.appendingPathComponent("backup").path }

    /// Of the running Postgres. Replaces the one before it once it is whole.
    func backUp() throws {
        let next = folder.appendingPathComponent("backup.next").path
        try Self.run(["/bin/rm", "-rf", next])
        mkdir(next, 0o700)
        if let user = Self.user { chown(next, user.id, user.group) }
        try Self.run(
            Self.tie + [
                "\(try Self.binaries.get())/pg_basebackup", "-D", next, "-c", "fast", "-X", "stream", "--no-sync", "-h", socketFolder, "-U",
                Self.superuser,
            ])
        try Self.run(["/bin/rm", "-rf", backup])
        try FileManager.default.moveItem(atPath: next, toPath: backup)
    }

    /// Everything since the backup is forgotten. The same backup can be put back again.
    func putBack() throws {
        try whileStopped {
            try Self.run(["/bin/rm", "-rf", data])
            try Self.run(["/bin/cp", "-a", backup, data])
        }
    }
}
