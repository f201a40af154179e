// Joining a company, exchanging work with it, and seeing where one stands.

import Foundation
import Replica
import SyncProtocol

extension Command {
    static let enroll = Command(
        name: "enroll", words: "URL CODE", summary: "make this file a replica of your company's data",
        help: """
            CODE is the one-time code an owner gave you; it expires after 72 hours and works once.

              replica enroll https://sync.example.com 4QKX-7MPT-2WZD-9RHB --label "farah's laptop"

            Then run `replica sync` to fetch the data. Everything else works without a network. If the connection breaks, run the
            same command again.

            When the server does not accept this file any more (it was restored from a backup taken before the file was enrolled,
            or somebody has shut this replica out), a new code makes the same file good again: everything in it stays, and the next
            sync sends what the server does not have.
            """,
        options: [.value("label", "NAME", "what to call this replica; default: the name of this machine")], opensReplica: false,
        group: .exchange
    ) { context, arguments in
        let words = try Context.words(arguments, 2...2, "enroll URL CODE")
        guard let url = URL(string: words[0]), let scheme = url.scheme, ["http", "https"].contains(scheme), url.host != nil else {
            throw UsageError("\"\(words[0])\" is not an http or https address", hint: "replica enroll https://sync.example.com CODE")
        }
        let label = arguments.value("label") ?? ProcessInfo.processInfo.hostName
        try DatabaseFile.makeFolder(for: context.databasePath)
        let isNew = !FileManager.default.fileExists(atPath: context.databasePath)
        let replica = try await Replica.open(context.databasePath, environment: TestSeams.environment)
        let continued: ContinuedReplica?
        do {
            continued = try await replica.enroll(
                server: url, code: words[1].trimmingCharacters(in: .whitespaces), label: String(label.prefix(80)))
        } catch {
            await replica.close()
            // A file that never became a replica would only be in the way of the next try, unless that is the same one again: the answer
            // may be lost and the code spent, and only this file can ask for it.
            if isNew, (error as? ReplicaError)?.code != .unreachable {
                for suffix in ["", "-journal", "-wal", "-shm"] {
                    try? FileManager.default.removeItem(atPath: context.databasePath + suffix)
                }
            }
            throw error
        }
        let (tenant, member, id, role) = (
            try await replica.tenant, try await replica.member, try await replica.replicaID, try await replica.role
        )
        if context.terminal.isJSON {
            var object: JSONObject = [
                "tenant": .string(tenant?.text ?? ""), "member": .string(member?.text ?? ""), "replica": .string(id?.text ?? ""),
                "role": .string(role?.rawValue ?? ""), "server": .string(words[0]), "file": .string(context.databasePath),
            ]
            if let continued {
                object["continued"] = [
                    "keeps_id": .bool(continued.keepsID), "pending": .integer(Int64(continued.pendingSets)),
                    "held": .integer(Int64(continued.heldSets)),
                ]
            }
            context.terminal.json(.object(object))
        } else if let continued {
            show(continued, context)
        } else {
            context.terminal.line("enrolled as \(role?.rawValue ?? "member") with \(context.databasePath)")
            context.terminal.line("next: replica sync")
        }
        await replica.close()
        return .done
    }

    /// What happened to a file that was enrolled before, what was kept, and what comes next.
    private static func show(_ continued: ContinuedReplica, _ context: Context) {
        func sets(_ count: Int) -> String { count == 1 ? "1 change" : "\(count) changes" }
        context.terminal.line(
            continued.keepsID
                ? "enrolled again: the server had lost this replica, and knows it now; everything in \(context.databasePath) stays"
                : "enrolled again as a new replica, as another copy of this file may use the old name; everything in "
                    + "\(context.databasePath) stays")
        context.terminal.line(
            "kept: \(sets(continued.pendingSets)) not sent yet, and \(sets(continued.heldSets)) that the server had confirmed: what it lacks goes out again, once"
        )
        context.terminal.line("next: replica sync")
    }

    static let sync = Command(
        name: "sync", words: "[--watch]", summary: "send what is pending and fetch what is new",
        help: """
            Sends first, then fetches; a problem with one never stops the other. Exit code 1 means that the server rejected something,
            or that edits by plain SQL were refused: they wait in `replica problems` with the reason. Exit code 3 means there was no connection; nothing is lost.

              replica sync
              replica sync --watch      stay connected until interrupted; a line for each exchange, and one of status
            """,
        options: [
            .flag("watch", "stay and sync whenever there is something new"),
            .flag("rebuild", "fetch everything anew, keeping what is pending"),
        ], group: .exchange
    ) { context, arguments in
        _ = try Context.words(arguments, 0...0, "sync")
        var options = SyncOptions(pageLimit: TestSeams.pageLimit ?? 5000, rebuilds: arguments.has("rebuild"))
        options.activityDays = try kept("TIDELINE_LOG_DAYS", 1...36_500) ?? options.activityDays
        options.activityEntries = try kept("TIDELINE_LOG_ENTRIES", 0...10_000_000) ?? options.activityEntries
        let replica = try context.requireReplica()
        if arguments.has("watch") { return try await watch(replica, options, context) }
        let once = options
        let report = try await showingProgress(of: replica, context) { try await replica.sync(once) }
        show(report, context)
        if let failure = report.pushFailure { return ErrorReport.show(failure, afterReportTo: context.terminal) }
        return report.newProblems.isEmpty ? .done : .refused
    }

    /// What the sync is at, for as long as it runs and somebody watches.
    private static func showingProgress(
        of replica: Replica, _ context: Context, _ body: () async throws -> SyncReport
    ) async throws -> SyncReport {
        let states = replica.state
        let progress = Task {
            var progress = Progress("syncing", terminal: context.terminal)
            for await state in states where !Task.isCancelled {
                switch state {
                case .idle, .stopped, .refused: break
                case .pushing(let sets): progress.say("sending \(sets) \(sets == 1 ? "change" : "changes")")
                case .pulling(let records): progress.say(records == 0 ? "fetching" : "fetched \(records) records")
                case .applying: progress.say("storing")
                case .waiting(let milliseconds, let reason): progress.say("\(reason); trying again in \(max(1, milliseconds / 1000)) s")
                }
            }
            progress.finish()
        }
        let result: Result<SyncReport, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        progress.cancel()
        await progress.value
        return try result.get()
    }

    /// How much of the timeline the file keeps, as the environment says; nil: it says nothing.
    private static func kept(_ variable: String, _ range: ClosedRange<Int>) throws -> Int? {
        guard let text = ProcessInfo.processInfo.environment[variable], !text.isEmpty else { return nil }
        guard let number = Int(text), range.contains(number) else {
            throw UsageError("\(variable) is a number from \(range.lowerBound) to \(range.upperBound), not \"\(text)\"")
        }
        return number
    }

    private static func watch(_ replica: Replica, _ once: SyncOptions, _ context: Context) async throws -> ExitCode {
        var options = SyncOptions(waitMilliseconds: 25_000)
        (options.activityDays, options.activityEntries) = (once.activityDays, once.activityEntries)
        let line = StatusLine(context.terminal)
        let states = replica.state
        let following = Task {
            for await state in states {
                line.show(state)
                if case .waiting = state { await tellRefusals(replica, context, line) }
            }
        }
        // Without a connection no report comes, and what a tool has typed is refused all the same.
        let changes = replica.changes()
        let noticing = Task { for await _ in changes where line.isOffline { await tellRefusals(replica, context, line) } }
        defer {
            following.cancel()
            noticing.cancel()
            line.clear()
        }
        // SIGINT and SIGTERM end a watch; what was synced is durable, and the rest goes with the next one.
        try await replica.syncContinuously(options) { report in
            line.clear()
            if report.pushed + report.pulledRecords + report.evicted > 0 || !report.newProblems.isEmpty || report.fork != nil {
                show(report, context)
                context.terminal.flush()
            }
            // Cut short by an edit, it heard nothing from the server.
            if report.pages > 0 { line.synced(isSent: report.pushFailure == nil) }
        }
        return .done
    }

    /// To people; a script reads them in the next document.
    private static func tellRefusals(_ replica: Replica, _ context: Context, _ line: StatusLine) async {
        // What cannot be told now is told by the next report.
        guard !context.terminal.isJSON, let refused = try? await replica.untoldRefusals(), !refused.isEmpty else { return }
        line.clear()
        show(refused, context.terminal)
        context.terminal.flush()
    }

    private static func show(_ problems: [Problem], _ terminal: Terminal) {
        for problem in problems {
            for violation in problem.violations {
                terminal.line(
                    terminal.styled(
                        "problem \(problem.id): \(DisplayWidth.harmless("\(problem.summary): \(ErrorReport.words(violation))"))", .red))
            }
        }
        if !problems.isEmpty { terminal.line("see replica problems; then retry, edit or discard") }
    }

    private static func show(_ report: SyncReport, _ context: Context) {
        let terminal = context.terminal
        if terminal.isJSON {
            terminal.json(report.json)
            return
        }
        var sent: [String] = []
        if report.accepted > 0 { sent.append("\(report.accepted) accepted") }
        if report.noop > 0 { sent.append("\(report.noop) already so") }
        if report.superseded > 0 { sent.append("\(report.superseded) overtaken by a later edit") }
        if report.rejected > 0 { sent.append("\(report.rejected) rejected") }
        if report.withdrawn > 0 { sent.append("\(report.withdrawn) taken out") }
        // The server may have had some already: from a sync whose answer was lost, or from another copy of the file.
        let before = report.accepted + report.noop + report.rejected - report.pushed
        let known = before > 0 ? "; \(before) of these had been sent before" : ""
        let details = sent.isEmpty ? "" : " (\(sent.joined(separator: ", "))\(known))"
        terminal.line("sent \(report.pushed) \(report.pushed == 1 ? "change" : "changes")\(details)")
        let seconds = Decimals.format(max(1, report.durationMilliseconds / 10), scale: 2)
        let again = report.isResync ? ", everything anew" : ""
        terminal.line("fetched \(report.pulledRecords) \(report.pulledRecords == 1 ? "record" : "records")\(again), in \(seconds) s")
        if report.predictedRejections > 0 {
            terminal.line(
                terminal.styled("\(report.predictedRejections) pending would be rejected as things stand; see replica problems", .yellow))
        }
        if report.healing > 0 {
            terminal.line(
                terminal.styled(
                    "the server was restored from a backup; \(report.healing) confirmed "
                        + "\(report.healing == 1 ? "change" : "changes") it had lost went out again", .yellow))
        }
        if report.deferred > 0 {
            terminal.line(
                "\(report.deferred) \(report.deferred == 1 ? "change waits" : "changes wait") for work that another replica has to bring back"
            )
        }
        if let fork = report.fork { show(fork, terminal) }
        show(report.newProblems, terminal)
    }

    private static func show(_ fork: ForkReport, _ terminal: Terminal) {
        terminal.line(
            terminal.styled("this file was a copy, or an old state, of another one that has synced since; both go on", .yellow))
        terminal.line(
            "it is a replica of its own now (\(fork.replica.text)); nothing was applied twice"
                + (fork.movedSets > 0
                    ? ", and \(fork.movedSets) unsent \(fork.movedSets == 1 ? "change" : "changes") came along" : ""))
        if fork.unknownSets > 0 {
            let rejected = fork.unknownRejected > 0 ? ", \(fork.unknownRejected) of them rejected: see the problems of that file" : ""
            terminal.line("\(fork.unknownSets) later \(fork.unknownSets == 1 ? "change" : "changes") of the other file are here\(rejected)")
        }
    }

    static let status = Command(
        name: "status", words: "", summary: "who you are, what is pending, how much there is",
        help: "Needs no network.\n\n  replica status\n  replica --json status", group: .exchange
    ) { context, arguments in
        _ = try Context.words(arguments, 0...0, "status")
        let replica = try context.requireReplica()
        let status = try await replica.status()
        var counts: [(name: String, count: Int)] = []
        for entity in context.schema.entities where entity.scopes != [.none] {
            counts.append((entity.name, try await replica.count(entity.name)))
        }
        let terminal = context.terminal
        if terminal.isJSON {
            terminal.json(status.json(file: context.databasePath, counts: counts))
            return .done
        }
        let member = if let id = status.member { try await replica.get("member", id)?.title ?? String(id.text.prefix(8)) } else { "–" }
        var rows = [
            ["file", context.databasePath], ["server", status.server ?? "not enrolled"],
            ["member", "\(member) (\(status.role?.rawValue ?? "–"))"],
            ["replica", status.replica?.text ?? "–"],
            ["pending", "\(status.pendingSets)"], ["problems", "\(status.problems)"],
            ["last sync", status.syncedAt.map { FieldText.time($0) } ?? "never"],
        ]
        rows += counts.filter { $0.count > 0 }.map { [$0.name, "\($0.count)"] }
        terminal.pairs(rows.map { (name: $0[0], value: $0[1]) })
        if status.checkpoint == nil { terminal.line("\nthe first sync is not complete yet; run: replica sync") }
        return .done
    }

    static let digest = Command(
        name: "digest", words: "[--server]", summary: "count and content hash of every entity",
        help: """
            Equal hashes mean equal content. With --server the server's are fetched and compared; exit code 1 if they differ.
            Pending changes are not part of the server's content yet: sync first.
            """,
        options: [.flag("server", "fetch the server's and compare")], group: .exchange, isPaged: true
    ) { context, arguments in
        _ = try Context.words(arguments, 0...0, "digest")
        let replica = try context.requireReplica()
        let local = try await replica.digest()
        let answer = arguments.has("server") ? try await replica.serverDigest() : nil
        let server = answer?.entities
        // A field more changes the hash of every record that may have it.
        let isComparable = answer?.schemaVersion ?? context.schema.version == context.schema.version
        let isSame = !isComparable || (server.map { $0 == local } ?? true)
        func json(_ digests: [String: EntityDigest]) -> JSONValue {
            .object(JSONObject(digests.map { ($0.key, ["count": .integer($0.value.count), "hash": .string($0.value.hash)] as JSONValue) }))
        }
        if context.terminal.isJSON {
            var object: JSONObject = ["local": json(local)]
            if let server {
                object["server"] = json(server)
                object["identical"] = isComparable ? .bool(isSame) : .null
            }
            context.terminal.json(.object(object))
        } else {
            let names = Set(local.keys).union(server.map { Set($0.keys) } ?? []).sorted()
            context.terminal.table(
                ["entity", "count", "hash"] + (server == nil ? [] : ["server"]),
                names.map { name in
                    let mine = local[name]
                    let row = [name, "\(mine?.count ?? 0)", String((mine?.hash ?? "–").prefix(16))]
                    return server.map { row + [!isComparable ? "other schema" : $0[name] == mine ? "identical" : "DIFFERENT"] } ?? row
                }, alignRight: [1])
            if !isComparable { context.terminal.line("the server has another version of the schema: hashes cannot be compared") }
        }
        return isSame ? .done : .refused
    }
}

extension ReplicaStatus {
    func json(file: String, counts: [(name: String, count: Int)]) -> JSONValue {
        func text(_ value: String?) -> JSONValue { value.map { .string($0) } ?? .null }
        return [
            "file": .string(file), "enrolled": .bool(isEnrolled), "server": text(server), "tenant": text(tenant?.text),
            "member": text(member?.text), "replica": text(replica?.text), "role": text(role?.rawValue), "replication": text(replication),
            "checkpoint": checkpoint?.json ?? .null, "pending": .integer(Int64(pendingSets)),
            "predicted_rejections": .integer(Int64(predictedRejections)), "problems": .integer(Int64(problems)),
            "synced_at": syncedAt.map { .integer($0) } ?? .null, "clock_offset_ms": .integer(clockOffsetMilliseconds),
            "schema": .integer(schemaVersion),
            "entities": .object(JSONObject(counts.map { ($0.name, .integer(Int64($0.count))) })),
        ]
    }
}

extension SyncReport {
    var json: JSONValue {
        func failure(_ error: ReplicaError?) -> JSONValue {
            error.map { ["code": .string($0.code.rawValue), "message": .string($0.message)] } ?? .null
        }
        return [
            "pushed": .integer(Int64(pushed)), "accepted": .integer(Int64(accepted)), "noop": .integer(Int64(noop)),
            "rejected": .integer(Int64(rejected)), "withdrawn": .integer(Int64(withdrawn)), "superseded": .integer(Int64(superseded)),
            "predicted_rejections": .integer(Int64(predictedRejections)), "pulled": .integer(Int64(pulledRecords)),
            "pages": .integer(Int64(pages)), "evicted": .integer(Int64(evicted)), "bytes_sent": .integer(Int64(bytesSent)),
            "bytes_received": .integer(Int64(bytesReceived)), "duration_ms": .integer(durationMilliseconds), "resync": .bool(isResync),
            "healing": .integer(Int64(healing)), "deferred": .integer(Int64(deferred)),
            "problems": .array(newProblems.map(\.json)),
            "fork": fork.map {
                [
                    "replica": .string($0.replica.text), "moved": .integer(Int64($0.movedSets)), "unknown": .integer(Int64($0.unknownSets)),
                    "unknown_rejected": .integer(Int64($0.unknownRejected)),
                ]
            } ?? .null,
            "push_failure": failure(pushFailure), "activity_failure": failure(activityFailure),
        ]
    }
}

extension Problem {
    var json: JSONValue {
        [
            "id": .integer(id), "set": .integer(counter), "summary": .string(summary), "status": .string(status), "at": .integer(createdAt),
            "violations": .array(violations.map(\.json)), "changes": .array(changes.map(\.json)),
            "depends_on": .array(dependsOn.map { .integer($0) }),
        ]
    }
}
