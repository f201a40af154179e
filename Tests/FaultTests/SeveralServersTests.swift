// Several servers on one Postgres: whichever of them a request reaches, the answer is the same.

import Foundation
import SyncProtocol
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

extension FaultTests {
    @Suite struct SeveralServersTests {
        @Test func samePush_atTwoServersAtOnce_hasOneEffect_andOneAnswer() async throws {
            let place = try await Workplace()
            let servers = [try await place.server(), try await place.server()]
            var replicas = [try await RawReplica(at: servers[0], code: place.tenant.ownerCode)]
            for name in ["a", "b", "c"] {
                replicas.append(try await RawReplica(at: servers[1], code: try await place.tenant.code(for: name)))
            }
            let ports = servers.map(\.port)
            let rounds: Int64 = 20
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (index, replica) in replicas.enumerated() {
                    group.addTask {
                        for counter in 1...rounds {
                            let body = replica.push(counter, name: "R\(index) \(counter)")
                            async let first = replica.send(body, port: ports[0])
                            async let second = replica.send(body, port: ports[1])
                            let replies = try await [first, second]
                            #expect(replies.map(\.status) == [200, 200], "\(replies.map(\.text))")
                            #expect(try replies[0].outcomes() == replies[1].outcomes())
                        }
                    }
                }
                try await group.waitForAll()
            }
            let all = Int(rounds) * replicas.count
            #expect(try await place.number("SELECT count(*) FROM client WHERE name LIKE 'R% %'") == all)
            #expect(try await place.number("SELECT count(*) FROM tideline.change_set WHERE status = 'accepted'") == all)
            #expect(try await place.number("SELECT count(*) FROM tideline.feed WHERE kind = 'client.created'") == all)
            #expect(try await place.number("SELECT max(position) - count(*) FROM tideline.feed") == 0)
            for server in servers { #expect(await server.end(SIGTERM) == 0) }
        }

        @Test func waitingPull_atOneServer_hearsOfACommitAtAnother() async throws {
            let place = try await Workplace()
            let (writing, waiting) = (try await place.server(), try await place.server())
            let writer = try await RawReplica(at: writing, code: place.tenant.ownerCode)
            let reader = try await RawReplica(at: waiting, code: try await place.tenant.code(for: "reader"))
            for counter in Int64(1)...5 {
                let cursor = try await reader.cursor(port: waiting.port)
                async let news = reader.pull(cursor: cursor, waitMilliseconds: 50_000, port: waiting.port)
                #expect(try await writer.send(writer.push(counter, name: "News \(counter)"), port: writing.port).status == 200)
                let page = try await news
                #expect(page.status == 200 && page.text.contains("News \(counter)"), "\(page.text)")
            }
            for server in [writing, waiting] { #expect(await server.end(SIGTERM) == 0) }
        }

        @Test func replicas_whoseEveryRequestGoesToAnotherServer_endEqual() async throws {
            let place = try await Workplace()
            let servers = [try await place.server(), try await place.server(), try await place.server()]
            let balancer = try RequestBalancer(to: servers.map(\.port))
            defer { balancer.close() }
            let people = [
                try await Person("olivia", in: place.folder, server: balancer.address, code: place.tenant.ownerCode),
                try await Person("marcus", in: place.folder, server: balancer.address, code: try await place.tenant.code(for: "marcus")),
                try await Person("vera", in: place.folder, server: balancer.address, code: try await place.tenant.code(for: "vera")),
            ]
            for person in people { try await person.syncUntilQuiet() }
            let shared = try await people[0].add("client", "name=Shared")
            for person in people { try await person.syncUntilQuiet() }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for person in people {
                    group.addTask {
                        for round in 0..<4 {
                            _ = try await person.add("client", "name=\(person.name) \(round)")
                            try await person.json("set", "client", shared, "tags+=\(person.name)\(round)")
                            try await person.json("sync", codes: [0])
                        }
                    }
                }
                try await group.waitForAll()
            }
            for _ in 0..<2 { for person in people { try await person.syncUntilQuiet() } }
            for person in people {
                #expect(try await person.isIdentical())
                #expect(try await person.problems() == 0)
                let tags = try await person.json("show", "client", shared)["tags"]?.arrayValue?.count
                #expect(tags == 12)
            }
            #expect(balancer.answered.count == 3 && balancer.answered.values.allSatisfy { $0 > 5 }, "\(balancer.answered)")
            for server in servers { #expect(await server.end(SIGTERM) == 0) }
        }

        /// As a proxy does that has lost count of requests and answers: two companies behind it get each other's.
        @Test func answersThatAreMixedUp_areNobodys() async throws {
            let random = SeededRandom.fresh()
            print("mixed up by seed \(random.seed)")
            let place = try await Workplace()
            let server = try await place.server()
            let neighbour = try await Tenant.made(place.database)
            let draw = Locked(random)
            let mixed = Locked(0)
            let isHonest = Locked(true)
            let balancer = try RequestBalancer(to: [server.port]) { request in
                guard !isHonest.with({ $0 }), draw.with({ Bool.random(using: &$0) }) else { return .pass }
                mixed.with { $0 += 1 }
                return .mixUp
            }
            defer { balancer.close() }
            let people = [
                try await Person("olivia", in: place.folder, server: balancer.address, code: place.tenant.ownerCode),
                try await Person("marcus", in: place.folder, server: balancer.address, code: try await place.tenant.code(for: "marcus")),
                try await Person("noor", in: place.folder, server: balancer.address, code: neighbour.ownerCode),
            ]
            for person in people { try await person.syncUntilQuiet() }
            isHonest.with { $0 = false }
            for round in 0..<8 {
                for person in people {
                    _ = try await person.add("client", "name=\(person.name) \(round)")
                    _ = try await person.run(["sync"])
                }
            }
            isHonest.with { $0 = true }
            for _ in 0..<2 { for person in people { try await person.syncUntilQuiet() } }
            #expect(mixed.with { $0 } > 12)
            for (person, others) in zip(people, [["olivia", "marcus"], ["olivia", "marcus"], ["noor"]]) {
                #expect(try await person.isIdentical())
                #expect(try await person.problems() == 0)
                let expected = others.flatMap { name in (0..<8).map { "\(name) \($0)" } }
                #expect(Set(try await person.clientNames().keys) == Set(expected), "\(person.name)")
                // Not a byte of the other company's, wherever in the file.
                let bytes = try Data(contentsOf: URL(fileURLWithPath: person.file))
                for other in people.map(\.name) where !others.contains(other) {
                    #expect(bytes.range(of: Data("\(other) 3".utf8)) == nil, "\(person.name) has something of \(other)'s")
                }
            }
            // What each was told is what the server has decided.
            for person in people {
                let wrong = try await person.json("sql", "SELECT counter FROM _tideline_journal WHERE outcome NOT LIKE '%accepted%'")
                #expect(wrong["data"]?.arrayValue?.isEmpty == true, "\(wrong)")
            }
            #expect(await server.end(SIGTERM) == 0)
        }

        /// What a balancer does for the operator: it tries the other server when one does not take a connection.
        @Test func rollingRestart_underLoad_losesNoRequest() async throws {
            let place = try await Workplace()
            let servers = [try await place.server(), try await place.server()]
            let balancer = try RequestBalancer(to: servers.map(\.port))
            defer { balancer.close() }
            var replicas = [try await RawReplica(at: servers[0], code: place.tenant.ownerCode)]
            for name in ["a", "b", "c"] {
                replicas.append(try await RawReplica(at: servers[0], code: try await place.tenant.code(for: name)))
            }
            let reader = replicas[0]
            let isOver = Locked(false)
            let pushed = Locked(0)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (index, replica) in replicas.enumerated() {
                    group.addTask {
                        var counter: Int64 = 0
                        while !isOver.with({ $0 }) {
                            counter += 1
                            let reply = try await replica.send(replica.push(counter, name: "L\(index) \(counter)"), port: balancer.port)
                            #expect(reply.status == 200, "\(reply.text)")
                            pushed.with { $0 += 1 }
                        }
                    }
                }
                group.addTask {
                    // Waits at a server that is told to stop are answered.
                    var cursor = try await reader.cursor(port: balancer.port)
                    while !isOver.with({ $0 }) {
                        let reply = try await reader.pull(cursor: cursor, waitMilliseconds: 2_000, port: balancer.port)
                        #expect(reply.status == 200, "\(reply.text)")
                        cursor = try PullPage(parsing: reply.body).next
                    }
                }
                for round in 0..<4 {
                    let before = pushed.with { $0 }
                    _ = try await until { pushed.with { $0 } > before + 20 }
                    let server = servers[round % 2]
                    #expect(await server.end(SIGTERM) == 0)
                    try await server.start()
                }
                isOver.with { $0 = true }
                try await group.waitForAll()
            }
            let count = pushed.with { $0 }
            print("rolling restart: \(count) pushes, \(balancer.passedOver) went to the other server")
            #expect(try await place.number("SELECT count(*) FROM client WHERE name LIKE 'L% %'") == count)
            #expect(try await place.number("SELECT max(position) - count(*) FROM tideline.feed") == 0)
            for server in servers { #expect(await server.end(SIGTERM) == 0) }
        }
    }
}
