// Limits with a name that nothing else reaches: each is met exactly, and passed by one.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct NamedLimitsTests {
    @Test func kindsOfAConsumer_areAtMostAHundred() throws {
        let most = (0..<EventFilter.patternsMax).map { "client.k\($0)" }
        #expect(try EventFilter(checking: most, schema: .testing).patterns.count == EventFilter.patternsMax)
        // Repetitions are none.
        #expect(try EventFilter(checking: most + most, schema: .testing).patterns.count == EventFilter.patternsMax)
        #expect(throws: ErrorReply.self) { try EventFilter(checking: most + ["client.more"], schema: .testing) }
    }

    @Test func reasonOfAPause_isAtMostTwoHundredCharacters() throws {
        let rest = try RestUnderTest()
        #expect(try rest.send("POST", "/v1/consumers", ["name": "reader", "kind": "pull"]).status == 201)
        let most = String(repeating: "ü", count: ConsumerRequests.reasonMax)
        #expect(try rest.send("POST", "/v1/consumers/reader/pause", ["reason": .string(most)]).status == 200)
        let refused = try rest.send("POST", "/v1/consumers/reader/pause", ["reason": .string(most + "ü")])
        #expect(refused.code == "validation_failed" && refused.text.contains("reason"), "\(refused.text)")
    }

    @Test func counterOfAFormerReplica_endsFarFromWhereNumbersDo() throws {
        func former(_ counter: Int64) throws -> FormerReplica {
            try FormerReplica(json: ["identity": "statement", "counter": .integer(counter)])
        }
        #expect(try former(FormerReplica.counterMax).counter == FormerReplica.counterMax)
        for counter in [FormerReplica.counterMax + 1, .max, -1] { #expect(throws: WireError.self) { try former(counter) } }
    }

    @Test func searchedWords_areTheFirstTen() throws {
        let words = (0..<40).map { "word\($0)x" }
        let query = try required(EntityTable.searchQuery(words.joined(separator: " ")))
        #expect(query.contains("word9x") && !query.contains("word10x"))
        #expect(query.components(separatedBy: " & ").count == 10)
    }

    /// A database that is away does not fill the memory: what is not told is looked for.
    @Test func notificationsThatCannotBeSent_areDroppedAtALimit() throws {
        let notifier = PostgresNotifier(PostgresConfiguration(url: "postgresql://nobody@/none?host=/nonexistent"))
        for number in 0..<PostgresNotifier.pendingMax { #expect(notifier.notify("tideline", "\(number)")) }
        #expect(notifier.notify("tideline", "0"), "one that waits already")
        #expect(!notifier.notify("tideline", "one more"))
    }

    @Test func tunnelsOfTheForwarder_areLimited_andAreFreeAgain() async throws {
        try await onOwnThread {
            let forwarder = try EgressForwarder(resolver: HostResolver(addressGuard: AddressGuard()), secret: "secret")
            forwarder.start()
            defer { forwarder.stop() }
            func answer() throws -> Int {
                let client = try LoopbackClient(port: forwarder.port)
                try client.get("/")
                return try client.response().status
            }
            #expect(try answer() >= 400, "it is no server")
            // They are taken in the order in which they come, and say nothing yet.
            var idle = try (0..<EgressForwarder.connectionsMax).map { _ in try LoopbackClient(port: forwarder.port) }
            #expect(throws: LoopbackFailure.self, "one too many is closed") { try answer() }
            idle.removeAll()
            // Those that have gone make room, each as soon as its thread has noticed.
            var isServed = false
            for _ in 0..<500 where !isServed {
                isServed = (try? answer()) ?? 0 >= 400
                if !isServed { usleep(10_000) }
            }
            #expect(isServed)
        }
    }
}
