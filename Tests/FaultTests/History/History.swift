// One history: four people with files on this disk, two servers on one Postgres, proxies that spoil connections on both sides of
// the servers, and everything killed, starved and cut off while they work. In the end all of it is put right and looked at.

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
    let people: [Person]
    let tenant: Tenant
    /// Those whose files are watched: their commands never sync.
    private let watchers: [Watcher]
    private let progress = ProgressBoard()
    private let folder: URL

    private init(
        _ plan: HistoryPlan, _ folder: URL, _ cluster: Cluster, _ servers: [Server], _ databaseProxy: FaultProxy, _ proxy: FaultProxy,
        _ people: [Person], _ tenant: Tenant
    ) {
        (self.plan, self.folder, self.cluster, self.servers) = (plan, folder, cluster, servers)
        (self.databaseProxy, self.proxy, self.people, self.tenant) = (databaseProxy, proxy, people, tenant)
        watchers = people.suffix(2).map { Watcher($0) }
    }

    /// Sets everything up while the connections are still sound: a code is spent by its first answer, wherever that goes.
    static func prepared(_ plan: HistoryPlan) async throws -> History {
        let folder = try Programs.temporaryFolder()
        let cluster = try await Cluster.started()
        let gate = folder.appendingPathComponent("gate")
        try FileManager.default.createDirectory(at: gate, withIntermediateDirectories: true)
        let databaseProxy = try FaultProxy(
            listening: .unix(gate.path + "/.s.PGSQL.5432"), to: [.unix(cluster.socket)], seed: plan.seed &+ 1, percent: 0)
        let direct = ["--database-url", cluster.url()]
        _ = try await Tenant.admin(["migrate"], direct)
        let tenant = try await Tenant.made(direct)
        let options = ["--database-url", cluster.url(socketFolder: gate.path), "--workers", "2", "--webhook-threads", "0"]
        var servers: [Server] = []
        for _ in 0..<2 { servers.append(try await Server.started(options)) }
        // Enrolled through this one, whose address the files keep.
        let proxy = try FaultProxy(to: servers.map { .tcp($0.port) }, seed: plan.seed &+ 2, percent: 0)
        var people: [Person] = []
        for index in plan.steps.indices {
            let code = index == 0 ? tenant.ownerCode : try await tenant.code(for: "person\(index)")
            people.append(try await Person("person\(index)", in: folder, server: proxy.address, code: code))
        }
        let history = History(plan, folder, cluster, servers, databaseProxy, proxy, people, tenant)
        for person in people { try await person.syncUntilQuiet() }
        return history
    }

    // MARK: Running

    func run() async throws {
        proxy.spoil(percent: 45)
        databaseProxy.spoil(percent: 15)
        for watcher in watchers { try await watcher.start() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, person) in people.enumerated() {
                group.addTask {
                    for step in self.plan.steps[index] {
                        // Whatever happens to one step, the disasters wait for the count.
                        do {
                            try await self.work(step, person, syncs: index < self.people.count - self.watchers.count)
                        } catch { await self.ledger.surprise("\(person.name) \(step.work): \(error)") }
                        await self.progress.finishedOne()
                    }
                }
            }
            group.addTask { try await self.bringDisasters() }
            try await group.waitForAll()
        }
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

    private func work(_ step: HistoryPlan.Step, _ person: Person, syncs: Bool) async throws {
        let client = await ledger.client(step.pick)
        let token = await ledger.token()
        switch step.work {
        case .addClient: try await add(person, "client", ["name=\(token)", "tags=a"], [token])
        case .addDeal:
            guard let client else { return }
            try await add(
                person, "deal", ["title=\(token)", "client=\(client)", "amount=12.50", "currency=USD", "owner=\(member(person))"], [token])
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
        case .sync: try await sync(person, syncs)
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

    private func member(_ person: Person) -> String {
        person.name == "person0" ? "olivia@example.com" : "\(person.name)@example.com"
    }

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

    private func sync(_ person: Person, _ syncs: Bool) async throws {
        guard syncs else { return }
        let finished = try await person.run(["sync"])
        await ledger.count("sync")
        switch finished.code {
        case 0: break
        case 1: await ledger.count("sync with problems")
        case 3: await ledger.count("sync without a connection")
        default: await ledger.surprise("\(person.name) sync: exit \(finished.code): \(finished.output) \(finished.errors)")
        }
    }

    // MARK: Disasters

    private func bringDisasters() async throws {
        let total = plan.steps.reduce(0) { $0 + $1.count }
        for disaster in plan.disasters {
            await progress.wait(for: disaster.after)
            await ledger.count("\(disaster.what)")
            let server = servers[Int(disaster.pick % UInt64(servers.count))]
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
                let backends = try await offPool { [cluster] in
                    // After another disaster it may be starting, or about to end.
                    for _ in 0..<100 {
                        if let backends = try? cluster.backends() { return backends }
                        usleep(100_000)
                        try cluster.start()
                    }
                    return try cluster.backends()
                }
                if !backends.isEmpty { kill(backends[Int(disaster.pick % UInt64(backends.count))], SIGKILL) }
            case .killWatcher: try await watchers[Int(disaster.pick % UInt64(watchers.count))].restart(after: SIGKILL)
            case .cutConnections:
                proxy.cutAll()
                databaseProxy.cutAll()
            case .fillDisk, .breakDisk:
                let isFull = disaster.what == .fillDisk
                cluster.disk.fail(
                    isFull ? [.write, .grow] : [.write, .read], on: disaster.pick % 2 == 0 ? "/data/pg_wal/" : "/data/base/",
                    with: isFull ? ENOSPC : EIO, skip: Int(disaster.pick / 2 % 3), halves: isFull)
                await progress.wait(for: min(total, disaster.after + 8))
                await ledger.count("failed calls to a disk", cluster.disk.hits)
                cluster.disk.heal()
                // Without room for its log Postgres ends; a supervisor would start it again.
                try await offPool { [cluster] in
                    usleep(100_000)
                    try cluster.start()
                }
            }
        }
    }

    private func restartCluster(_ signal: Int32) async throws {
        try await offPool { [cluster] in
            cluster.stop(signal)
            try cluster.start()
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
        for watcher in watchers {
            let code = await watcher.stop()
            if ![0, -SIGTERM].contains(code) { await ledger.surprise("a watch ended with \(code)") }
        }
        let isReady = try await until { [servers] in
            for server in servers { if try await server.get("/readyz").status != 200 { return false } }
            return true
        }
        if !isReady { throw UnexpectedResult("a server does not find its database again") }
        // Twice: what the last one sent is news for the first.
        for _ in 0..<2 { for person in people { try await person.syncUntilQuiet() } }
    }

    func close() async {
        cluster.disk.heal()
        for watcher in watchers { _ = await watcher.stop() }
        for server in servers { await server.end(SIGKILL) }
        proxy.close()
        databaseProxy.close()
        try? FileManager.default.removeItem(at: folder)
    }
}

/// How many operations are done, for those who wait for a number.
actor ProgressBoard {
    private var done = 0
    private var waiting: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []

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
}

/// Somebody's `sync --watch`, which is killed and started again.
actor Watcher {
    private let person: Person
    private var program: RunningProgram?

    init(_ person: Person) { self.person = person }

    func start() throws { program = try person.start(["sync", "--watch"]) }

    func restart(after signal: Int32) async throws {
        program?.signal(signal)
        _ = await program?.finish()
        try start()
    }

    /// The exit code after SIGTERM.
    func stop() async -> Int32 {
        guard let program else { return 0 }
        self.program = nil
        program.signal(SIGTERM)
        return await program.finish().code
    }
}
