// What the tests of delivering share: a server on a database of its own, dispatchers on it, and a clock that only goes when
// it is asked.

import Foundation
import SyncProtocol
import TestSupport

@testable import SyncServer

final class OutboxUnderTest {
    let server: ServerUnderTest
    let tenant: TenantUnderTest
    let metrics = Metrics()
    private var dispatchers: [Dispatcher] = []

    init(builtins: [BuiltinConsumer] = BuiltinConsumer.all, workLimits: WorkLimits = WorkLimits()) throws {
        server = try ServerUnderTest(isIsolated: true, builtins: builtins, workLimits: workLimits)
        tenant = try server.makeTenant()
    }

    deinit { for one in dispatchers { one.stop() } }

    /// Retries come after a few looks at the clock; attempts end soon.
    static var settings: OutboxSettings {
        var settings = OutboxSettings()
        settings.threads = 4
        settings.pollSeconds = 0.02
        settings.schedule = RetrySchedule(firstMilliseconds: 1, longestMilliseconds: 3)
        settings.limits = WebhookLimits(attemptSeconds: 10, connectSeconds: 5)
        settings.addressGuard = AddressGuard(allowed: [NetworkRange("127.0.0.0/8")].compactMap { $0 })
        return settings
    }

    @discardableResult
    func start(
        _ settings: OutboxSettings = OutboxUnderTest.settings, sender: (any WebhookSender)? = nil,
        step: @escaping @Sendable (OutboxStep) -> Void = { _ in }
    ) -> Dispatcher {
        let url = server.url
        let plain = PlainWebhookSender(resolver: HostResolver(addressGuard: settings.addressGuard), limits: settings.limits)
        let dispatcher = Dispatcher(
            context: server.context, sender: sender ?? plain, settings: settings, metrics: metrics,
            connect: { try PostgresConnection(PostgresConfiguration(url: url, applicationName: "outbox under test")) }, step: step)
        dispatchers.append(dispatcher)
        dispatcher.start()
        return dispatcher
    }

    func stopAll() {
        for one in dispatchers { one.stop() }
        dispatchers = []
    }

    // MARK: Consumers

    @discardableResult
    func add(
        _ name: String = "hook", url: String?, kinds: [String] = ["client.*"], orderedBy: Consumer.Ordering = .tenant,
        attemptsMax: Int64 = 12,
        concurrency: Int64 = 1, ratePerMinute: Int64? = nil, includesRestricted: Bool = false, from: StartPosition = .now,
        to tenant: TenantUnderTest? = nil
    ) throws -> WebhookSecret? {
        let tenant = tenant ?? self.tenant
        let consumer = try Consumer(
            name: name, kind: url == nil ? .pull : .webhook, kinds: kinds, url: url, orderedBy: orderedBy, attemptsMax: attemptsMax,
            concurrency: concurrency, ratePerMinute: ratePerMinute, includesRestricted: includesRestricted, schema: .testing)
        return try store(tenant) { try $0.add(consumer, from: from, nowMilliseconds: self.server.context.now()) }
    }

    func store<R>(_ tenant: TenantUnderTest? = nil, _ body: (ConsumerStore) throws -> R) throws -> R {
        let tenant = tenant ?? self.tenant
        return try server.connection.transaction(.readWrite, tenant: tenant.id) { connection in
            try body(ConsumerStore(tenant: tenant.id, connection: connection))
        }
    }

    func consumer(_ name: String = "hook") throws -> RegisteredConsumer { try store { try $0.require(name) } }

    func letters(_ name: String = "hook") throws -> [DeadLetter] {
        try store { store in
            try DeadLetters(tenant: store.tenant, connection: store.connection, consumer: store.require(name).consumer).read()
        }
    }

    /// Waits until a consumer is as wanted; looks again and again because the database does not tell.
    func wait(_ name: String = "hook", seconds: Double = 60, until isReached: (RegisteredConsumer) -> Bool) throws -> Bool {
        let limit = Date(timeIntervalSinceNow: seconds)
        while Date() < limit {
            if isReached(try consumer(name)) { return true }
            usleep(20_000)
        }
        return false
    }

    // MARK: Work

    /// As many clients; one event each. Returns their ids in feed order.
    @discardableResult
    func makeClients(_ count: Int, tenant: TenantUnderTest? = nil) throws -> [Identifier] {
        try (0..<count).map { _ in
            let id = server.newIdentifier()
            try (tenant ?? self.tenant).write([Edit.client(id, "Client \(id.text.suffix(6))")]).requireAccepted()
            return id
        }
    }

    func touch(_ client: Identifier, _ notes: String) throws {
        try tenant.write([Edit.patch("client", client, ["notes": .string(notes)])]).requireAccepted()
    }
}

extension WebhookReceiver.Delivery {
    var json: JSONValue { (try? JSONValue(parsing: body)) ?? .null }
    var position: Int64 { json["data"]?["position"]?.integerValue ?? -1 }
    var record: String { json["data"]?["record"]?.stringValue ?? "" }
    /// Of a record that was just created.
    var name: String { json["data"]?["changes"]?["name"]?["new"]?.stringValue ?? "" }
}

extension [WebhookReceiver.Delivery] {
    /// Each event once, when it first came.
    var firsts: [WebhookReceiver.Delivery] {
        var seen: Set<String> = []
        return filter { seen.insert($0.id).inserted }
    }

    var positions: [Int64] { map(\.position) }
}
