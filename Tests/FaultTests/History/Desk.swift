// One person of a history: the file they work in, copies of it that somebody made, and the `sync --watch` that may run beside them.

import Foundation
import TestSupport

#if canImport(Glibc)
    import Glibc
#endif

final class Desk: Sendable {
    let name: String
    /// Their id at the server, for further codes.
    let member: String
    /// Of the first file, whose commands never sync then.
    let watcher: Watcher?
    private let gate = Gate()
    private let papers: Locked<[Person]>

    static let copiesMax = 2

    init(_ person: Person, isWatched: Bool) async throws {
        name = person.name
        member = try await person.json("status")["member"]?.stringValue ?? ""
        watcher = isWatched ? Watcher(person) : nil
        papers = Locked([person])
    }

    var files: [Person] { papers.with { $0 } }
    var first: Person { files[0] }
    /// Where an older state of the first file is kept.
    var older: String { first.file + ".older" }

    /// Nobody else touches the person's files meanwhile, the watch aside.
    func alone<R: Sendable>(_ body: () async throws -> R) async rethrows -> R {
        await gate.enter()
        do {
            let value = try await body()
            await gate.leave()
            return value
        } catch {
            await gate.leave()
            throw error
        }
    }

    /// - Parameter body: Not even the watch runs while it does.
    func withoutWatch(_ signal: Int32 = SIGKILL, _ body: () async throws -> Void) async throws {
        if let watcher { _ = await watcher.stop(signal) }
        try await body()
        try await watcher?.start()
    }

    /// The file to work in now.
    func file(_ pick: UInt64) -> (person: Person, syncs: Bool) {
        let files = files
        let index = Int(pick % UInt64(files.count))
        return (files[index], index > 0 || watcher == nil)
    }

    // MARK: Copies

    /// As a backup tool takes it, while others work in it.
    func keepOlder() async throws {
        let taken = try await first.shell(".backup '\(older)'")
        guard taken.code == 0 else { throw UnexpectedResult("\(name): .backup: \(taken.errors)") }
    }

    /// A second file, byte for byte, that goes on beside the first. False: there are enough.
    func copy() async throws -> Bool {
        let files = files
        guard files.count <= Desk.copiesMax else { return false }
        let copy = Person("\(name) copy \(files.count)", file: "\(first.file).copy\(files.count)")
        try await Desk.copy(first.file, to: copy.file)
        papers.with { $0.append(copy) }
        return true
    }

    /// The first file becomes what it was.
    func putBack() async throws { try await Desk.copy(older, to: first.file) }

    /// With what a killed command may have left beside it.
    private static func copy(_ from: String, to: String) async throws {
        let script = """
            for end in '' -journal -wal -shm; do rm -f "$2$end"; if [ -e "$1$end" ]; then cp -p "$1$end" "$2$end" || exit 1; fi; done
            """
        let copied = try await RunningProgram(path: "/bin/sh", ["-c", script, "sh", from, to]).finish()
        guard copied.code == 0 else { throw UnexpectedResult("copying \(from): \(copied.errors)") }
    }
}

extension Person {
    /// Tokens of the edits that this file holds as edits, sent or not: what it could bring to a server that has lost them. Read with
    /// SQLite's own shell. What others have written and the file only shows is none of them.
    func heldTokens() async throws -> Set<String> {
        let found = try await shell(
            """
            SELECT CAST(sealed AS TEXT) FROM _tideline_journal WHERE sealed IS NOT NULL \
            UNION ALL SELECT CAST(sealed AS TEXT) FROM _tideline_pending WHERE sealed IS NOT NULL \
            UNION ALL SELECT CAST(sealed AS TEXT) FROM _tideline_problem UNION ALL SELECT new FROM _tideline_edit WHERE new IS NOT NULL
            """)
        guard found.code == 0 else { throw UnexpectedResult("\(name): looking into the file: \(found.errors)") }
        return Tokens.found(in: found.output.utf8)
    }
}

/// Somebody's `sync --watch`, which is killed and started again.
actor Watcher {
    private let person: Person
    private var program: RunningProgram?

    init(_ person: Person) { self.person = person }

    func start() throws { program = try person.start(["sync", "--watch"]) }

    /// The exit code of one that has ended by itself.
    func ended() async -> Int32? {
        guard let program, !program.isRunning else { return nil }
        self.program = nil
        return await program.finish().code
    }

    /// The exit code after the signal.
    func stop(_ signal: Int32 = SIGTERM) async -> Int32 {
        guard let program else { return 0 }
        self.program = nil
        program.signal(signal)
        return await program.finish().code
    }
}

/// Lets one in at a time, in the order they came.
actor Gate {
    private var isTaken = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    func enter() async {
        if !isTaken {
            isTaken = true
            return
        }
        await withCheckedContinuation { waiting.append($0) }
    }

    func leave() {
        if waiting.isEmpty { isTaken = false } else { waiting.removeFirst().resume() }
    }
}
