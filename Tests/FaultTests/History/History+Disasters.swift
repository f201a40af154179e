// What happens to the machines of a history while its people work: each of the planned disasters, once so many operations are done.

import Foundation
import TestSupport

#if canImport(Glibc)
    import Glibc
#endif

extension History {
    func bringDisasters() async throws {
        for (index, disaster) in plan.disasters.enumerated() {
            await progress.wait(for: disaster.after)
            await progress.begun(next: index + 1 < plan.disasters.count ? plan.disasters[index + 1].after : nil)
            await ledger.count("\(disaster.what)")
            let desk = desks[index % desks.count]
            try await desk.alone { try await desk.keepOlder() }
            try await bring(disaster)
        }
    }

    private func bring(_ disaster: HistoryPlan.Disaster) async throws {
        let server = servers[Int(disaster.pick % UInt64(servers.count))]
        let desk = desks[Int(disaster.pick / 8 % UInt64(desks.count))]
        switch disaster.what {
        case .killServer:
            let code = await server.end(SIGKILL)
            if code != -SIGKILL { await ledger.surprise("a server had ended by itself: \(code) \(server.log.suffix(1000))") }
            try await server.start()
        case .restartServer:
            let code = await server.end(SIGTERM)
            if code != 0 { await ledger.surprise("a server did not drain: \(code) \(server.log.suffix(1000))") }
            try await server.start()
        case .killPostmaster: try await restartCluster(SIGKILL)
        case .restartPostgres: try await restartCluster(SIGINT)
        case .killBackend:
            let backends = try await patiently { [cluster] in try await offPool { try cluster.backends() } }
            if !backends.isEmpty { kill(backends[Int(disaster.pick % UInt64(backends.count))], SIGKILL) }
        case .killPooler:
            guard let pooler else { return }
            try await offPool {
                pooler.end(SIGKILL)
                try pooler.start()
            }
        case .killWatcher:
            let watched = desks.compactMap(\.watcher)
            let watcher = watched[Int(disaster.pick % UInt64(watched.count))]
            _ = await watcher.stop(SIGKILL)
            try await watcher.start()
        case .cutConnections:
            proxy.cutAll()
            databaseProxy.cutAll()
        case .fillDisk, .breakDisk: try await starve(disaster)
        case .backUpPostgres: try await backUp()
        case .putBackPostgres: try await putBackPostgres()
        case .putBackTwice: try await putBackTwice(disaster)
        case .copyFile: try await desk.alone { try await copyFile(of: desk) }
        case .putBackFile: try await desk.alone { try await putBackFile(of: desk) }
        case .enrolAgain: try await desk.alone { try await shutOut(desk) }
        }
    }

    private func starve(_ disaster: HistoryPlan.Disaster) async throws {
        let isFull = disaster.what == .fillDisk
        cluster.disk.fail(
            isFull ? [.write, .grow] : [.write, .read], on: disaster.pick % 2 == 0 ? "/data/pg_wal/" : "/data/base/",
            with: isFull ? ENOSPC : EIO, skip: Int(disaster.pick / 2 % 3), halves: isFull)
        await progress.wait(for: min(plan.operations, disaster.after + plan.operationsBetween))
        // Small as the work is, it may all have been in memory.
        _ = try? await offPool { [cluster] in try cluster.sql("CHECKPOINT") }
        _ = try await until(seconds: 5) { [cluster] in cluster.disk.hits > 0 }
        await ledger.count("failed calls to a disk", cluster.disk.hits)
        cluster.disk.heal()
        // Without room for its log Postgres ends; a supervisor would start it again.
        try await offPool { [cluster] in
            usleep(100_000)
            try cluster.start()
        }
    }

    private func restartCluster(_ signal: Int32) async throws {
        try await offPool { [cluster] in
            cluster.stop(signal)
            try cluster.start()
        }
    }

    /// After another disaster Postgres may be starting, or about to end.
    func patiently<R: Sendable>(_ body: @Sendable () async throws -> R) async throws -> R {
        for _ in 0..<100 {
            if let value = try? await body() { return value }
            try await offPool { [cluster] in
                usleep(100_000)
                try cluster.start()
            }
        }
        return try await body()
    }

    // MARK: Postgres put back

    /// A base backup, as pg_basebackup makes it of a running Postgres. The last one counts.
    func backUp() async throws {
        try await patiently { [cluster] in try await offPool { try cluster.backUp() } }
    }

    /// Whatever was written since the base backup is gone from the server; nobody tells it. What no device holds either, may be lost.
    private func putBackPostgres() async throws {
        try await offPool { [cluster] in try cluster.putBack() }
        let feed = try await patiently { [self] in try await feedTokens() }
        let lost = await ledger.lostOnServer(having: feed)
        await ledger.count("writes that nothing holds any more", lost)
    }

    /// The same copy once more: the first attempt was not good enough, and people have worked on it meanwhile. What devices brought back
    /// to it they have to bring back again.
    private func putBackTwice(_ disaster: HistoryPlan.Disaster) async throws {
        try await putBackPostgres()
        await progress.wait(for: min(plan.operations, disaster.after + plan.operationsBetween))
        try await putBackPostgres()
    }

    // MARK: Files

    private func copyFile(of desk: Desk) async throws {
        try await desk.withoutWatch {
            if try await !desk.copy() { await ledger.count("copies that were too many") }
        }
    }

    /// What only this file held is lost with it; what the server has already, only if that loses it too.
    private func putBackFile(of desk: Desk) async throws {
        try await desk.withoutWatch {
            let before = try await desk.first.heldTokens()
            try await desk.putBack()
            let dropped = try await before.subtracting(desk.first.heldTokens())
            // After the file is gone: what was under way has come there by then, or is counted as lost.
            let feed = try await patiently { [self] in try await feedTokens() }
            await ledger.dropped(dropped, having: feed)
            await ledger.count("edits dropped with a file", dropped.count)
        }
    }

    /// The replica is revoked, and its person gets another code for the same file.
    private func shutOut(_ desk: Desk) async throws {
        try await desk.withoutWatch(SIGTERM) {
            let replica = try await desk.first.json("status")["replica"]?.stringValue ?? ""
            try await patiently { [tenant] in
                do {
                    try await tenant.admin("replica", "revoke", "--replica", replica)
                } catch let error as UnexpectedResult where error.description.contains("there is no replica") {
                    // A restore has taken it; whoever asks in its name is refused just as well.
                }
            }
            try await enrolAgain(desk.first, of: desk)
        }
    }

    /// As a person does who was told so: with a code from the operator, as often as the connection breaks.
    func enrolAgain(_ person: Person, of desk: Desk) async throws {
        for _ in 0..<20 {
            let code = try await patiently { [tenant] in try await tenant.admin("code", "create", "--member", desk.member) }
            for _ in 0..<10 {
                let enrolled = try await person.run(["enroll", proxy.address, code["code"]?.stringValue ?? "", "--label", person.name])
                if enrolled.code == 3 { continue }
                if enrolled.code == 0 { return await ledger.count("files enrolled again") }
                let words = enrolled.output + enrolled.errors
                // A restore in between has taken the revocation, or the code.
                if words.contains("nothing to enrol again") { return }
                if !["code_invalid", "no such enrolment code", "used already"].contains(where: words.contains) {
                    return await ledger.surprise("\(person.name) enroll: exit \(enrolled.code): \(words)")
                }
                break
            }
        }
        await ledger.surprise("\(person.name) cannot enrol again")
    }
}
