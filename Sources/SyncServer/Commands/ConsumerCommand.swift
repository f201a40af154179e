// `consumer …`: who reads the feed, and what could not be delivered.

import SyncProtocol

enum ConsumerCommand {
    static func run(
        _ action: String, _ configuration: Configuration, _ arguments: inout Arguments, _ console: Console
    ) throws -> ExitCode {
        switch action {
        case "add": return try add(configuration, &arguments, console)
        case "list": return try list(configuration, &arguments, console)
        case "show": return try show(configuration, &arguments, console)
        case "pause": return try pause(configuration, &arguments, console)
        case "resume": return try resume(configuration, &arguments, console)
        case "replay": return try replay(configuration, &arguments, console)
        case "rotate-secret": return try rotateSecret(configuration, &arguments, console)
        case "remove": return try remove(configuration, &arguments, console)
        case "dead":
            let what = arguments.word() ?? ""
            switch what {
            case "list": return try deadList(configuration, &arguments, console)
            case "show": return try deadShow(configuration, &arguments, console)
            case "replay", "discard": return try deadSettle(what, configuration, &arguments, console)
            default: throw UsageError("consumer dead does not know \(what.isEmpty ? "what to do" : what)")
            }
        default: throw UsageError("consumer does not know \(action.isEmpty ? "what to do" : action)")
        }
    }

    // MARK: Registry

    private static func add(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let tenantText = try arguments.required("--tenant")
        let kindText = try arguments.value("--kind")
        let url = try arguments.value("--url")
        let handler = try arguments.value("--handler")
        let kinds = try arguments.value("--kinds").map { $0.split(separator: ",").map(String.init) } ?? []
        let orderedBy = try arguments.value("--ordered-by") ?? "tenant"
        let attempts = try number(&arguments, "--max-attempts")
        let concurrency = try number(&arguments, "--concurrency")
        let rate = try number(&arguments, "--rate-per-minute")
        let from = try arguments.value("--from") ?? "now"
        let includesRestricted = arguments.flag("--include-restricted")
        guard let name = arguments.word() else { throw UsageError("consumer add needs a NAME") }
        try arguments.finish()
        let usual = handler != nil ? "builtin" : url == nil ? "pull" : "webhook"
        let consumer = try Consumer(
            name: name, kind: try Consumer.kind(kindText ?? usual), kinds: kinds, url: url, handler: handler,
            orderedBy: try Consumer.ordering(orderedBy), attemptsMax: attempts ?? 12, concurrency: concurrency ?? 1, ratePerMinute: rate,
            includesRestricted: includesRestricted, schema: .tideline)
        let start = try StartPosition(checking: from)
        return try change(configuration, tenantText) { store, now in
            let secret = try store.add(consumer, from: start, nowMilliseconds: now)
            let added = try store.require(name)
            var json = added.json(nowMilliseconds: now).objectValue ?? JSONObject()
            if let secret { json["secret"] = .string(secret.text) }
            console.show(.object(json), added.words(nowMilliseconds: now) + (secret.map { "\n  secret \($0.text)" } ?? ""))
            if secret != nil, !console.isJSON { console.say("The secret is shown this once: receivers check signatures with it.") }
        }
    }

    private static func list(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let tenantText = try arguments.required("--tenant")
        try arguments.finish()
        return try read(configuration, tenantText) { store, now in
            let all = try store.read()
            console.show(
                ["data": .array(all.map { $0.json(nowMilliseconds: now) }), "total": .integer(Int64(all.count))],
                all.map { $0.line(nowMilliseconds: now) }.joined(separator: "\n"))
        }
    }

    private static func show(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let (tenantText, name) = try target(&arguments)
        return try read(configuration, tenantText) { store, now in
            let one = try store.require(name)
            let log = try AttemptLog.read(tenant: store.tenant, consumer: name, limit: 10, on: store.connection)
            var json = one.json(nowMilliseconds: now).objectValue ?? JSONObject()
            json["attempts"] = .array(log)
            console.show(.object(json), ([one.words(nowMilliseconds: now)] + log.map(attemptLine)).joined(separator: "\n"))
        }
    }

    private static func pause(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let reason = try arguments.value("--reason")
        let (tenantText, name) = try target(&arguments)
        return try change(configuration, tenantText) { store, now in
            try store.pause(name, reason: reason)
            try shown(store, name, now, console)
        }
    }

    private static func resume(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let (tenantText, name) = try target(&arguments)
        return try change(configuration, tenantText) { store, now in
            try store.resume(name)
            try shown(store, name, now, console)
        }
    }

    private static func replay(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let start = try StartPosition(checking: try arguments.required("--from"))
        let (tenantText, name) = try target(&arguments)
        return try change(configuration, tenantText) { store, now in
            _ = try store.replay(name, from: start)
            try shown(store, name, now, console)
        }
    }

    private static func rotateSecret(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let (tenantText, name) = try target(&arguments)
        return try change(configuration, tenantText) { store, now in
            let secret = try store.rotateSecret(name, nowMilliseconds: now)
            let until = Instant.iso(fromMilliseconds: now + ConsumerStore.graceMilliseconds)
            console.show(["name": .string(name), "secret": .string(secret.text), "previous_secret_until": .string(until)], secret.text)
            if !console.isJSON { console.say("Both secrets sign until \(until).") }
        }
    }

    private static func remove(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let (tenantText, name) = try target(&arguments)
        return try change(configuration, tenantText) { store, _ in
            try store.remove(name)
            console.show(["removed": .string(name)], "removed \(name)")
        }
    }

    // MARK: Dead letters

    private static func deadList(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let (tenantText, name) = try target(&arguments)
        return try read(configuration, tenantText) { store, _ in
            let registered = try store.require(name)
            let found = try DeadLetters(tenant: store.tenant, connection: store.connection, consumer: registered.consumer).read()
            let lines = found.map { one in
                "\(one.event.position.position)  \(one.event.kind)  \(one.event.entity)/\(one.event.record.text)  \(one.attempts) attempts  "
                    + (one.lastError ?? "")
            }
            console.show(
                ["data": .array(found.map { $0.json(isWhole: false) }), "total": .integer(registered.deadCount)],
                lines.joined(separator: "\n"))
        }
    }

    private static func deadShow(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        let positionText = try arguments.required("--position")
        let (tenantText, name) = try target(&arguments)
        let position = try self.position(positionText)
        return try read(configuration, tenantText) { store, _ in
            let registered = try store.require(name)
            let one = try DeadLetters(tenant: store.tenant, connection: store.connection, consumer: registered.consumer).require(position)
            let json = one.json(isWhole: true)
            console.show(json, json.canonicalText)
        }
    }

    private static func deadSettle(
        _ action: String, _ configuration: Configuration, _ arguments: inout Arguments, _ console: Console
    ) throws -> ExitCode {
        let positionText = try arguments.value("--position")
        let isAll = arguments.flag("--all")
        let (tenantText, name) = try target(&arguments)
        guard (positionText == nil) == isAll else { throw UsageError("consumer dead \(action) needs --position N or --all") }
        let position = try positionText.map { try self.position($0) }
        return try change(configuration, tenantText) { store, _ in
            let consumer = try store.require(name).consumer
            let letters = DeadLetters(tenant: store.tenant, connection: store.connection, consumer: consumer)
            let count = action == "replay" ? try letters.replay(position) : try letters.discard(position)
            let done = action == "replay" ? "replayed" : "discarded"
            console.show([done: .integer(count)], "\(done) \(count)")
        }
    }

    // MARK: Words

    private static func number(_ arguments: inout Arguments, _ flag: String) throws -> Int64? {
        try arguments.value(flag).map { text in
            guard let number = Int64(text), number > 0 else { throw UsageError("\(flag) is a number above 0") }
            return number
        }
    }

    private static func position(_ text: String) throws -> Int64 {
        guard let position = Int64(text), position >= 0 else { throw UsageError("--position is a position of the feed") }
        return position
    }

    /// `--tenant ID NAME`, and nothing else.
    private static func target(_ arguments: inout Arguments) throws -> (tenant: String, name: String) {
        let tenant = try arguments.required("--tenant")
        guard let name = arguments.word() else { throw UsageError("the NAME of the consumer is missing") }
        try arguments.finish()
        return (tenant, name)
    }

    private static func shown(_ store: ConsumerStore, _ name: String, _ now: Int64, _ console: Console) throws {
        let one = try store.require(name)
        console.show(one.json(nowMilliseconds: now), one.words(nowMilliseconds: now))
    }

    private static func attemptLine(_ attempt: JSONValue) -> String {
        let parts = [
            attempt["at"]?.stringValue, attempt["position"]?.integerValue.map { "position \($0)" },
            attempt["attempt"]?.integerValue.map { "attempt \($0)" }, attempt["result"]?.stringValue,
            attempt["status"]?.integerValue.map(String.init), attempt["duration_ms"]?.integerValue.map { "\($0) ms" },
            attempt["error"]?.stringValue,
        ]
        return "  " + parts.compactMap { $0 }.joined(separator: "  ")
    }

    private static func read(
        _ configuration: Configuration, _ tenantText: String, _ body: (ConsumerStore, Int64) throws -> Void
    ) throws -> ExitCode {
        try Administration.run(configuration) { administration in
            let tenant = try administration.identifier(tenantText, "--tenant")
            try administration.requireTenant(tenant)
            try administration.connection.transaction(.readOnlySnapshot, tenant: tenant) { connection in
                try body(ConsumerStore(tenant: tenant, connection: connection), administration.context.now())
            }
            return .done
        }
    }

    /// Announces afterwards, so that a running dispatcher looks at once.
    private static func change(
        _ configuration: Configuration, _ tenantText: String, _ body: (ConsumerStore, Int64) throws -> Void
    ) throws -> ExitCode {
        try Administration.run(configuration) { administration in
            let tenant = try administration.identifier(tenantText, "--tenant")
            try administration.requireTenant(tenant)
            try administration.connection.transaction(.readWrite, tenant: tenant) { connection in
                try body(ConsumerStore(tenant: tenant, connection: connection), administration.context.now())
            }
            administration.context.announce(tenant)
            return .done
        }
    }
}
