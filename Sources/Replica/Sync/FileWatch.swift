// Edits that other processes make in the file while this one syncs: noticed by looking at the file's stamp, which costs a
// system call and no lock; the database is asked only when the stamp has moved.

import Foundation
import SyncProtocol

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Android)
    import Android
#elseif canImport(Darwin)
    import Darwin
#endif

/// What changes in the file system with every commit.
struct FileStamp: Equatable, Sendable {
    private var parts: [Int64] = []

    init(of path: String) {
        // A write-ahead log takes the commits until it is copied back.
        for name in [path, path + "-wal"] {
            var status = stat()
            guard stat(name, &status) == 0 else {
                parts.append(-1)
                continue
            }
            #if canImport(Darwin)
                let time = status.st_mtimespec
            #else
                let time = status.st_mtim
            #endif
            parts += [Int64(status.st_size), Int64(time.tv_sec), Int64(time.tv_nsec)]
        }
    }
}

/// Tells a file from another that was put in its place.
struct FileIdentity: Equatable, Sendable {
    private let device: UInt64
    private let number: UInt64

    /// nil: there is none at present.
    init?(of path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        (device, number) = (UInt64(truncatingIfNeeded: status.st_dev), UInt64(truncatingIfNeeded: status.st_ino))
    }
}

extension Replica {
    /// Seals what other processes have edited by plain SQL, tells the listeners of ``changes()`` about their commits, and cuts a
    /// waiting sync short so that the edits go up at once. Runs until its task is cancelled, or until another file has taken the place of
    /// this one: what is open here is then no longer what its path names.
    ///
    /// ``syncContinuously(_:onReport:)`` does this by itself; call it in a program that only shows data which others edit.
    /// - Parameter milliseconds: How often the file is looked at.
    public func watchFile(every milliseconds: Int64 = 500) async {
        var stamp: FileStamp?
        var seen: SeenCommits?
        // Two commits may fall into one tick of the file's clock: behind a change comes one look more.
        var looksAgain = false
        while !Task.isCancelled {
            if isReplaced { return }
            let now = FileStamp(of: path)
            if now != stamp || looksAgain {
                looksAgain = now != stamp
                stamp = now
                do {
                    seen = try await noticeCommits(since: seen)
                } catch {
                    // Locked for long, or closed: the next look will tell.
                    stamp = nil
                }
            }
            do { try await Task.sleep(nanoseconds: UInt64(max(1, milliseconds)) * 1_000_000) } catch { return }
        }
    }

    /// Another file has been moved to the path of this one.
    var isReplaced: Bool {
        guard let opened = file.identity, let now = FileIdentity(of: path) else { return false }
        return now != opened
    }

    private func noticeCommits(since known: SeenCommits?) async throws -> SeenCommits {
        let (seen, isWorkWaiting) = try await file.write { [file] store -> (SeenCommits, Bool) in
            // Changes with the commits of other connections only.
            let version = try store.connection.dataVersion()
            if let known, version == known.version { return (known, false) }
            // What tools have edited and nobody has sealed, then what was committed by this library in another process.
            var changed = Set(try store.connection.query("SELECT DISTINCT entity FROM _tideline_edit") { $0.text(0) })
            let theirs = try store.touched()
            if let known { changed.formUnion(theirs.filter { known.touched[$0.key] != $0.value }.keys) }
            try store.sealIfCaptured()
            if known != nil, !changed.isEmpty { file.changes.send(ChangeNotice(entities: changed)) }
            return (SeenCommits(version: version, touched: try store.touched()), try store.unansweredCount() > 0)
        }
        if isWorkWaiting { longPoll.interrupt() }
        return seen
    }
}

/// How far a watch has followed the commits of others.
private struct SeenCommits: Sendable {
    var version: Int64
    var touched: [String: Int64]
}

extension Store {
    fileprivate func touched() throws -> [String: Int64] {
        Dictionary(
            try connection.query("SELECT entity, times FROM _tideline_touched") { ($0.text(0), $0.integer(1)) }, uniquingKeysWith: { $1 })
    }
}
