// One history: four people with files on this disk, two servers on one Postgres, proxies that spoil connections on both sides of
// the servers, and everything killed, starved, cut off and put back from copies while they work. In the end all of it is put right and
// looked at.

import Foundation
import SyncProtocol
import TestSupport

#if canImport(Glibc)
    import Glibc
#endif

final class History: Sendable {
    let plan: HistoryPlan
    let ledger = Ledger()
    let cluster: Cluster
    let servers: [Server]
    let databaseProxy: FaultProxy
    let proxy: FaultProxy
    /// Between the servers and Postgres' proxy, if at all.
    let pooler: Pooler?
    let desks: [Desk]
    let tenant: Tenant
    let progress = ProgressBoard()
    private let folder: URL

    private init(
        _ plan: HistoryPlan, _ folder: URL, _ cluster: Cluster, _ servers: [Server], _ databaseProxy: FaultProxy, _ proxy: FaultProxy,
        _ pooler: Pooler?, _ desks: [Desk], _ tenant: Tenant
    ) {
        (self.plan, self.folder, self.cluster, self.servers) = (plan, folder, cluster, servers)
        (self.databaseProxy, self.proxy, self.pooler, self.desks, self.tenant) = (databaseProxy, proxy, pooler, desks, tenant)
    }

    /// Sets everything up while the connections are still sound.
    static func prepared(_ plan: HistoryPlan) async throws -> History {
        let folder = try Programs.temporaryFolder()
        let cluster = try await Cluster.started()
        let gate = folder.appendingPathComponent("gate")
        try FileManager.default.createDirectory(at: gate, withIntermediateDirectories: true)
        let databaseProxy = try FaultProxy(
            listening: .unix(gate.path + "/.s.PGSQL.5432"), to: [.unix(cluster.socket)], seed: plan.seed &+ 1, percent: 0)
        // pgbouncer is not root either.
        chmod(gate.path + "/.s.PGSQL.5432", 0o777)
        let direct = ["--database-url", cluster.url()]
        _ = try await Tenant.admin(["migrate"], direct)
        let tenant = try await Tenant.made(direct)
        let pooler = plan.usesPooler ? try Pooler(to: cluster, through: gate.path, size: 3) : nil
        var (url, environment) = (cluster.url(socketFolder: gate.path), [String: String]())
        if let pooler {
            try await offPool { try pooler.start() }
            environment = [
                "TIDELINE_PREPARED_STATEMENTS": "off", "TIDELINE_LISTEN_DATABASE_URL": url, "TIDELINE_OWNER_DATABASE_URL": url,
            ]
            url = cluster.url(socketFolder: pooler.socketFolder, port: 6432)
        }
        var servers: [Server] = []
        for _ in 0..<2 {
            servers.append(
                try await Server.started(["--database-url", url, "--workers", "2", "--webhook-threads", "0"], environment: environment))
        }
        // Enrolled through this one, whose address the files keep.
        let proxy = try FaultProxy(to: servers.map { .tcp($0.port) }, seed: plan.seed &+ 2, percent: 0)
        var codes = [tenant.ownerCode]
        for index in plan.steps.indices.dropFirst() { codes.append(try await tenant.code(for: "person\(index)")) }
        var desks: [Desk] = []
        for (index, code) in codes.enumerated() {
            // Until there is a better one: the last of them is enrolled after it.
            if index == codes.count - 1 { try await offPool { try cluster.backUp() } }
            let person = try await Person("person\(index)", in: folder, server: proxy.address, code: code)
            try await person.syncUntilQuiet()
            let desk = try await Desk(person, isWatched: index >= codes.count / 2)
            try await desk.keepOlder()
            desks.append(desk)
        }
        return History(plan, folder, cluster, servers, databaseProxy, proxy, pooler, desks, tenant)
    }

    // MARK: Running

    func run() async throws {
        proxy.spoil(percent: 45)
        databaseProxy.spoil(percent: 15)
        for desk in desks { try await desk.watcher?.start() }
        await progress.begun(next: plan.disasters.first?.after)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, desk) in desks.enumerated() {
                group.addTask {
                    for step in self.plan.steps[index] {
                        await self.progress.mayBegin()
                        // Whatever happens to one step, the disasters wait for the count.
                        do {
                            try await desk.alone {
                                try await self.lookAfterWatch(of: desk)
                                let (person, syncs) = desk.file(step.pick / 16)
                                try await self.work(step, person, desk, syncs: syncs)
                            }
                        } catch { await self.ledger.surprise("\(desk.name) \(step.work): \(error)") }
                        await self.progress.finishedOne()
                    }
                }
            }
            group.addTask {
                do { try await self.bringDisasters() } catch {
                    // Nobody waits for those that do not come any more.
                    await self.progress.begun(next: nil)
                    throw error
                }
            }
            try await group.waitForAll()
        }
    }

    /// A watch ends by itself when the server does not accept its file any more; its person does what it said.
    func lookAfterWatch(of desk: Desk) async throws {
        guard let watcher = desk.watcher, let code = await watcher.ended() else { return }
        if code == 4 {
            try await enrolAgain(desk.first, of: desk)
        } else {
            await ledger.surprise("the watch of \(desk.name) ended with \(code)")
        }
        try await watcher.start()
    }

    /// What systemd does for the operator: Postgres may end by itself, of a full disk for instance, and is started again. Until all is
    /// settled: it may take seconds to give up over a disk that was put right meanwhile.
    func supervisePostgres() -> Task<Void, Never> {
        Task { [cluster, ledger] in
            while !Task.isCancelled {
                if !cluster.isRunning {
                    do { try await offPool { try cluster.start() } } catch { await ledger.count("failed starts of Postgres") }
                }
                do { try await Task.sleep(nanoseconds: 100_000_000) } catch { return }
            }
        }
    }

    private func work(_ step: HistoryPlan.Step, _ person: Person, _ desk: Desk, syncs: Bool) async throws {
        let client = await ledger.client(step.pick)
        let token = await ledger.token()
        switch step.work {
        case .addClient: try await add(person, "client", ["name=\(token)", "tags=a"], [token])
        case .addDeal:
            guard let client else { return }
            try await add(
                person, "deal", ["title=\(token)", "client=\(client)", "amount=12.50", "currency=USD", "owner=\(email(desk))"], [token])
        case .setName: try await edit(person, client, ["name=\(token)"], [token])
        case .setNotes: try await edit(person, client, ["notes=\(token)"], [token])
        case .setOwnField: try await edit(person, client, ["custom.k=\(token)", "phone=+155501\(step.pick % 90 + 10)"], [token])
        case .addTag: try await edit(person, client, ["tags+=\(token)"], [token])
        case .removeTag: try await edit(person, client, ["tags-=a"], [])
        case .moveClient:
            let transition = ["hold", "release", "archive", "reactivate"][Int(step.pick % 4)]
            if let client { try await command(person, ["do", transition, "client", client], []) }
        case .removeClient: if let client { try await command(person, ["remove", "client", client], []) }
        case .restoreClient: if let client { try await command(person, ["restore", "client", client], []) }
        case .qualifyDeal:
            if let deal = await ledger.deal(step.pick) { try await command(person, ["do", "qualify", "deal", deal], []) }
        case .undo: try await command(person, ["undo"], [])
        case .importClients:
            let tokens = [token, await ledger.token(), await ledger.token()]
            let file = folder.appendingPathComponent("\(token).csv")
            try ("name,tags\n" + tokens.map { "\($0),a;b\n" }.joined()).write(to: file, atomically: true, encoding: .utf8)
            try await command(person, ["import", "client", file.path], tokens)
        case .shellInsert: try await shell(person, "INSERT INTO client (name) VALUES ('\(token)');", token)
        case .shellUpdate:
            guard let client else { return }
            // A second one before the command has seen the first would rightly be one edit with it; so the command looks at once.
            try await shell(person, "UPDATE client SET website = 'https://example.com/\(token)' WHERE id = '\(client)';", nil)
            try await command(person, ["pending"], [])
        case .sync: if syncs { try await sync(person, of: desk) }
        case .killedSync:
            guard syncs else { return }
            let isKilled = try await person.syncKilled(afterMilliseconds: step.milliseconds)
            await ledger.count(isKilled ? "kill of a sync" : "sync")
        case .killedEdit:
            let edit = try person.start(["add", "client", "name=\(token)"])
            _ = try await edit.wait(seconds: Double(step.milliseconds) / 3000) { !$0.isRunning }
            edit.signal(SIGKILL)
            let code = await edit.finish().code
            if code == 0 { await ledger.acknowledge([token], by: "\(person.name) add") } else { await ledger.leaveOpen([token]) }
            await ledger.count(code == -SIGKILL ? "kill of an edit" : "edit")
        }
    }

    private func email(_ desk: Desk) -> String { desk.name == "person0" ? "olivia@example.com" : "\(desk.name)@example.com" }

    private func edit(_ person: Person, _ client: String?, _ assignments: [String], _ tokens: [String]) async throws {
        guard let client else { return }
        try await command(person, ["set", "client", client] + assignments, tokens)
    }

    private func add(_ person: Person, _ entity: String, _ assignments: [String], _ tokens: [String]) async throws {
        guard let output = try await command(person, ["add", entity] + assignments, tokens) else { return }
        guard let id = try JSONValue(parsing: output)["id"]?.stringValue else { return }
        if entity == "client" { await ledger.made(client: id) } else { await ledger.made(deal: id) }
    }

    /// Output of a command that was done. Refusals are expected: of people who work on the same records, and of what is not here yet.
    @discardableResult
    private func command(_ person: Person, _ arguments: [String], _ tokens: [String]) async throws -> String? {
        let finished = try await person.run(arguments)
        await ledger.count("edit")
        switch finished.code {
        case 0:
            await ledger.acknowledge(tokens, by: "\(person.name) \(arguments.joined(separator: " "))")
            return finished.output
        // 2: a field of the company's own that has not come here yet.
        case 1, 2: await ledger.count("refusal")
        default: await ledger.surprise("\(person.name) \(arguments): exit \(finished.code): \(finished.output) \(finished.errors)")
        }
        return nil
    }

    private func shell(_ person: Person, _ sql: String, _ token: String?) async throws {
        let finished = try await person.shell(sql)
        await ledger.count("edit by sqlite3")
        if finished.code == 0 {
            if let token { await ledger.acknowledge([token], by: "\(person.name) sqlite3 \(sql)") }
        } else if finished.errors.contains("locked") || finished.errors.contains("I/O") {
            await ledger.surprise("\(person.name) sqlite3: \(finished.errors)")
        }
    }

    private func sync(_ person: Person, of desk: Desk) async throws {
        let finished = try await person.run(["sync"])
        await ledger.count("sync")
        switch finished.code {
        case 0: break
        case 1: await ledger.count("sync with problems")
        case 3: await ledger.count("sync without a connection")
        case 4: try await enrolAgain(person, of: desk)
        default: await ledger.surprise("\(person.name) sync: exit \(finished.code): \(finished.output) \(finished.errors)")
        }
    }

    // MARK: Putting right

    /// Everything is sound again, and all that is pending goes out.
    func settle() async throws {
        cluster.disk.heal()
        proxy.heal()
        databaseProxy.heal()
        try await offPool { [cluster] in try cluster.start() }
        for server in servers where !server.isRunning {
            await ledger.surprise("a server had ended by itself: \(server.log.suffix(2000))")
            try await server.start()
        }
        for desk in desks {
            try await lookAfterWatch(of: desk)
            if let watcher = desk.watcher {
                let code = await watcher.stop()
                // 4: it was about to say that the file is to be enrolled again.
                if ![0, -SIGTERM, 4].contains(code) { await ledger.surprise("a watch ended with \(code)") }
            }
        }
        let isReady = try await until { [servers] in
            for server in servers { if try await server.get("/readyz").status != 200 { return false } }
            return true
        }
        if !isReady { throw UnexpectedResult("a server does not find its database again") }
        // Again and again: what the last one sent, or that it parted from its copies, is news for the first, and may be what another one's
        // sets waited for.
        var isQuiet = false
        for round in 0..<12 where !isQuiet {
            var left: [String] = []
            isQuiet = true
            for desk in desks {
                for file in desk.files {
                    let rest = try await bringToRest(file, of: desk)
                    if rest.isPending { left.append(file.name) }
                    if rest.isPending || rest.madeNews { isQuiet = false }
                }
            }
            if round == 5, !left.isEmpty { try await letWaitingEnd(left) }
        }
        if !isQuiet { throw UnexpectedResult("the files do not come to rest") }
    }

    /// Syncs a few times. What is to be said of the file then.
    private func bringToRest(_ file: Person, of desk: Desk) async throws -> (isPending: Bool, madeNews: Bool) {
        var madeNews = false
        for _ in 0..<4 {
            let finished = try await file.run(["sync"])
            switch finished.code {
            case 0, 1:
                let report = try? JSONValue(parsing: Array(finished.output.utf8))
                if report?["pushed"] != 0 || report?["fork"] != .null { madeNews = true }
                if try await file.pending() == 0 { return (false, madeNews) }
            case 3: await ledger.count("sync without a connection")
            case 4:
                try await enrolAgain(file, of: desk)
                madeNews = true
            default: await ledger.surprise("\(file.name) sync: exit \(finished.code): \(finished.output) \(finished.errors)")
            }
        }
        return (true, madeNews)
    }

    /// Sets may wait for what only a file had that was put back since: 72 hours. That time passes by moving the epoch's beginning.
    private func letWaitingEnd(_ names: [String]) async throws {
        guard await ledger.counts["\(PlannedDisaster.putBackPostgres)"] != nil, await ledger.counts["\(PlannedDisaster.putBackFile)"] != nil
        else {
            throw UnexpectedResult("something is pending for no reason: \(names)")
        }
        await ledger.count("files that waited for what is gone", names.count)
        _ = try await offPool { [cluster, tenant] in
            try cluster.sql("UPDATE tideline.feed SET at = at - 262800000 WHERE tenant = '\(tenant.id)' AND kind = 'sync.epoch_started'")
        }
    }

    func close() async {
        cluster.disk.heal()
        for desk in desks { _ = await desk.watcher?.stop() }
        for server in servers { await server.end(SIGKILL) }
        pooler?.end(SIGKILL)
        proxy.close()
        databaseProxy.close()
        try? FileManager.default.removeItem(at: folder)
    }
}

/// How many operations are done, for those who wait for a number.
actor ProgressBoard {
    private var done = 0
    private var waiting: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
    /// Nobody works far beyond the next disaster before that has begun: they come when the plan says.
    private var limit: Int?
    private var held: [CheckedContinuation<Void, Never>] = []

    func finishedOne() {
        done += 1
        let due = waiting.filter { $0.count <= done }
        waiting.removeAll { $0.count <= done }
        for one in due { one.continuation.resume() }
    }

    func wait(for count: Int) async {
        if done >= count { return }
        await withCheckedContinuation { waiting.append((count, $0)) }
    }

    /// A disaster has begun; nil: it is the last.
    func begun(next: Int?) {
        limit = next.map { $0 + 2 }
        for one in held { one.resume() }
        held = []
    }

    func mayBegin() async {
        while let limit, done >= limit { await withCheckedContinuation { held.append($0) } }
    }
}
