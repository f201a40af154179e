import Testing

@testable import SyncServer

@Suite struct PostgresNotifierTests {
    @Test func notifier_sendsEachPokeOnce_inOneStatement_whenTheyGather() throws {
        let channel = PostgresTesting.uniqueName("gathered")
        let heard = Recorder<String>()
        let listener = PostgresListener(try PostgresTesting.configuration(), channels: [channel]) { heard.record($1) }
        listener.start()
        defer { listener.stop() }
        #expect(listener.waitUntilListening(timeoutSeconds: 10))
        let notifier = PostgresNotifier(try PostgresTesting.configuration())
        for number in 0..<1_000 { #expect(notifier.notify(channel, "\(number % 10)")) }
        notifier.start()
        #expect(heard.wait { $0.count == 10 })
        notifier.stop()
        #expect(heard.values == (0..<10).map(String.init))
        #expect(notifier.counts.statements == 1)
        #expect(!notifier.notify(channel, "late"))
    }

    @Test func notifier_takesFromManyThreads_andLosesNone() throws {
        let channel = PostgresTesting.uniqueName("threads")
        let heard = Recorder<String>()
        let listener = PostgresListener(try PostgresTesting.configuration(), channels: [channel]) { heard.record($1) }
        listener.start()
        defer { listener.stop() }
        #expect(listener.waitUntilListening(timeoutSeconds: 10))
        let notifier = PostgresNotifier(try PostgresTesting.configuration())
        notifier.start()
        defer { notifier.stop() }
        let threads = (0..<4).map { thread in
            DedicatedThread("test.notify") { for number in 0..<50 { notifier.notify(channel, "\(thread).\(number)") } }
        }
        #expect(threads.allSatisfy { $0.join(timeoutSeconds: 10) })
        #expect(heard.wait { Set($0).count == 200 })
    }

    @Test func notifier_comesBack_whenItsBackendIsKilled() throws {
        let channel = PostgresTesting.uniqueName("back")
        let name = PostgresTesting.uniqueName("notifier")
        let heard = Recorder<String>()
        let errors = Recorder<PostgresError>()
        let listener = PostgresListener(try PostgresTesting.configuration(), channels: [channel]) { heard.record($1) }
        listener.start()
        defer { listener.stop() }
        #expect(listener.waitUntilListening(timeoutSeconds: 10))
        let notifier = PostgresNotifier(try PostgresTesting.configuration { $0.applicationName = name }) { errors.record($0) }
        notifier.start()
        defer { notifier.stop() }
        notifier.notify(channel, "first")
        #expect(heard.wait { $0 == ["first"] })
        let killed = try PostgresTesting.connection().run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1", .text(name))
        #expect(killed.rowCount == 1)
        notifier.notify(channel, "second")
        #expect(heard.wait { $0 == ["first", "second"] })
        #expect(errors.values.first?.isConnectionLost == true)
    }

    @Test func notify_refuses_whatPostgresWouldRefuse() throws {
        let notifier = PostgresNotifier(try PostgresTesting.configuration())
        #expect(!notifier.notify("", "x"))
        #expect(!notifier.notify(String(repeating: "c", count: 64)))
        #expect(!notifier.notify("c", String(repeating: "p", count: 8_000)))
        #expect(!notifier.notify("c", "\0"))
        #expect(notifier.notify(String(repeating: "c", count: 63), String(repeating: "p", count: 7_999)))
        notifier.stop()
    }

    @Test func stop_isPrompt_whenTheDatabaseIsAway() {
        let errors = Recorder<PostgresError>()
        let notifier = PostgresNotifier(PostgresConfiguration(url: "postgresql://x@127.0.0.1:1/x")) { errors.record($0) }
        notifier.start()
        notifier.notify("c", "p")
        #expect(errors.wait { $0.count >= 2 })
        #expect(ContinuousClock().measure { notifier.stop() } < .seconds(1))
        notifier.stop()
    }
}
