// The command killed between every two writes to its file, step by step: what it had said it did is there, once; what it was doing
// is there once or not at all; the file goes on.

import Foundation
import Replica
import SyncProtocol
import TestSupport
import Testing

extension FaultTests {
    @Suite struct StorageKillTests {
        /// What leads to a step, and what may be left of it.
        private struct Case {
            /// Tokens that were acknowledged before the kill.
            var kept: [String] = []
            /// The killed command's own.
            var open: String?
            var command: [String]
            var environment: [String: String] = [:]
            /// Works on another file than the main one.
            var file: String?
        }

        @Test func death_atEveryStorageStep_losesAndDoublesNothing() async throws {
            let place = try await Workplace()
            let server = try await place.server()
            let losesPushes = Locked(false)
            let balancer = try RequestBalancer(to: [server.port]) { request in
                let isPush =
                    request.line.hasPrefix("POST /v1/sync/push") && String(decoding: request.body, as: UTF8.self).contains("\"set\":")
                return isPush && losesPushes.with({ $0 }) ? .loseRequest : .pass
            }
            defer { balancer.close() }
            let (olivia, marcus) = try await place.oliviaAndMarcus(at: balancer.address)
            for number in 1...6 { _ = try await marcus.add("client", "name=News \(number)") }
            for person in [marcus, olivia] { try await person.syncUntilQuiet() }

            var reached = 0
            var (kept, opened) = ([String](), [String]())
            for step in StorageStep.whileWorking {
                let name = "T \(step.rawValue)"
                let one = try await prepared(step, name, olivia, marcus, place)
                let victim = one.file.map { Person("copy", file: $0) } ?? olivia
                losesPushes.with { $0 = step == .withdraw }
                var environment = one.environment
                environment["TIDELINE_TEST_STORAGE_KILL"] = "\(step.rawValue):1"
                let killed = try await victim.run(one.command, environment: environment)
                losesPushes.with { $0 = false }
                #expect(killed.code == -SIGKILL, "\(step): \(one.command) did not come there: \(killed)")
                if killed.code == -SIGKILL { reached += 1 }
                #expect(try await victim.isSound(), "\(step)")
                try await victim.syncUntilQuiet()
                let names = try await victim.clientNames()
                for kept in one.kept { #expect(names[kept] == 1, "\(step): \(kept)") }
                if let open = one.open { #expect(names[open] ?? 0 <= 1, "\(step)") }
                #expect(try await victim.isIdentical(), "\(step)")
                (kept, opened) = (kept + one.kept, opened + (one.open.map { [$0] } ?? []))
            }
            for person in [olivia, marcus] {
                try await person.syncUntilQuiet()
                let names = try await person.clientNames()
                for name in kept { #expect(names[name] == 1, "\(person.name): \(name)") }
                for name in opened { #expect(names[name] ?? 0 <= 1, "\(person.name): \(name)") }
                #expect(try await person.isIdentical(), "\(person.name)")
                #expect(try await person.problems() == 0, "\(person.name)")
            }
            print("storage steps: \(reached) kills")
            try await olivia.json("doctor")
            #expect(await server.end(SIGTERM) == 0)
        }

        private func prepared(
            _ step: StorageStep, _ name: String, _ olivia: Person, _ marcus: Person, _ place: Workplace
        ) async throws -> Case {
            /// A pending set here, and news there.
            func meet() async throws -> [String] {
                _ = try await marcus.add("client", "name=\(name) there")
                try await marcus.syncUntilQuiet()
                _ = try await olivia.add("client", "name=\(name) here")
                return ["\(name) there", "\(name) here"]
            }
            switch step {
            // Of enrolments and of older files: FileKillTests.
            case .enrolAsk, .enrolAnswer, .enrolStored, .upgradeBegin, .upgradeRecords, .upgradeTriggers, .upgradeStored:
                preconditionFailure("\(step) is no step of working")
            case .writeBases, .writeView, .writePending: return Case(open: name, command: ["add", "client", "name=\(name)"])
            case .applySeal:
                let inserted = try await olivia.shell("INSERT INTO client (name) VALUES ('\(name)');")
                #expect(inserted.code == 0, "\(inserted)")
                return Case(kept: [name], command: ["pending"])
            case .recordOutcomes, .applyRows, .applyOutcomes, .applyView, .applyReplay, .applyCheckpoint, .applyCleanup:
                return Case(kept: try await meet(), command: ["sync"])
            case .applyForget, .prepareRebuild: return Case(kept: try await meet(), command: ["sync", "--rebuild"])
            case .stagePage:
                return Case(kept: try await meet(), command: ["sync", "--rebuild"], environment: ["TIDELINE_TEST_PAGE_LIMIT": "3"])
            case .withdraw: return Case(kept: try await meet(), command: ["sync"])
            case .heal:
                // The operator says that the database was restored from a backup.
                let kept = try await meet()
                _ = try await Tenant.admin(["restored"], place.database)
                return Case(kept: kept, command: ["sync"])
            case .fork:
                // A copy of the file, and both go on.
                let copy = place.folder.appendingPathComponent("copy.db").path
                try FileManager.default.copyItem(atPath: olivia.file, toPath: copy)
                _ = try await olivia.add("client", "name=\(name) here")
                try await olivia.syncUntilQuiet()
                _ = try await Person("copy", file: copy).add("client", "name=\(name) copy")
                return Case(kept: ["\(name) here", "\(name) copy"], command: ["sync"], file: copy)
            }
        }

        /// A step that comes again and again: the death is at the second, and at a later one.
        @Test func death_atALaterOccurrenceOfAStep_losesAndDoublesNothing() async throws {
            let place = try await Workplace()
            let server = try await place.server()
            let (olivia, marcus) = try await place.oliviaAndMarcus(at: server.address)
            for number in 1...6 { _ = try await marcus.add("client", "name=News \(number)") }
            for person in [marcus, olivia] { try await person.syncUntilQuiet() }
            let rows = 60
            var kept: [String: Int64] = [:]
            var opened: [String] = []
            for (step, occurrence) in drawn(5, of: Self.recurring) {
                let name = "T \(step.rawValue) \(occurrence)"
                var environment = ["TIDELINE_TEST_STORAGE_KILL": "\(step.rawValue):\(occurrence)"]
                let command: [String]
                switch step {
                case .writeBases, .writeView, .writePending:
                    // A set a line; the file is asked once and may be imported again from where it stopped.
                    let names = (1...4).map { "\(name) line \($0)" }
                    let file = place.folder.appendingPathComponent("\(step.rawValue)\(occurrence).csv")
                    try ("name\n" + names.map { "\($0)\n" }.joined()).write(to: file, atomically: true, encoding: .utf8)
                    opened += names
                    command = ["import", "client", file.path]
                case .applySeal:
                    let inserted = try await olivia.shell(
                        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < \(rows)) INSERT INTO client (name) SELECT '\(name)' FROM n;"
                    )
                    #expect(inserted.code == 0, "\(inserted)")
                    kept[name] = Int64(rows)
                    environment["TIDELINE_TEST_SEALED_AT_ONCE"] = "5"
                    command = ["pending"]
                default:
                    _ = try await marcus.add("client", "name=\(name) there")
                    try await marcus.syncUntilQuiet()
                    _ = try await olivia.add("client", "name=\(name) here")
                    for place in ["there", "here"] { kept["\(name) \(place)"] = 1 }
                    environment["TIDELINE_TEST_PAGE_LIMIT"] = "3"
                    command = step == .stagePage ? ["sync", "--rebuild"] : ["sync"]
                }
                let killed = try await olivia.run(command, environment: environment)
                #expect(killed.code == -SIGKILL, "\(step) \(occurrence): \(command) did not come there: \(killed)")
                #expect(try await olivia.isSound(), "\(step) \(occurrence)")
                let names = try await olivia.clientNames()
                for (name, count) in kept where !name.hasSuffix("there") { #expect(names[name] == count, "\(step) \(occurrence): \(name)") }
                try await olivia.json("doctor")
            }
            // In the middle of a log that is sealed in parts, what was sealed stays and the rest is sealed next.
            for _ in 0..<2 { for person in [olivia, marcus] { try await person.syncUntilQuiet(rounds: 20) } }
            for person in [olivia, marcus] {
                let names = try await person.clientNames()
                for (name, count) in kept { #expect(names[name] == count, "\(person.name): \(name)") }
                for name in opened { #expect(names[name] ?? 0 <= 1, "\(person.name): \(name)") }
                #expect(try await person.isIdentical(), "\(person.name)")
                #expect(try await person.problems() == 0, "\(person.name)")
                try await person.json("doctor")
            }
            #expect(await server.end(SIGTERM) == 0)
        }

        /// Whoever watches applies again and again: the watch dies in a later exchange.
        @Test func death_ofAWatch_inALaterExchange_losesAndDoublesNothing() async throws {
            let place = try await Workplace()
            let server = try await place.server()
            let (olivia, marcus) = try await place.oliviaAndMarcus(at: server.address)
            var kept: [String] = []
            for (step, occurrence) in drawn(3, of: Self.ofExchanges.flatMap { [($0, 2), ($0, 4)] }) {
                let watch = try olivia.start(
                    ["sync", "--watch"], environment: ["TIDELINE_TEST_STORAGE_KILL": "\(step.rawValue):\(occurrence)"])
                var round = 0
                let isDead = try await until {
                    round += 1
                    for (person, place) in [(marcus, "there"), (olivia, "here")] {
                        kept.append("\(step.rawValue) \(occurrence) \(round) \(place)")
                        _ = try await person.add("client", "name=\(kept[kept.count - 1])")
                    }
                    try await marcus.syncUntilQuiet()
                    return !watch.isRunning
                }
                if !isDead { watch.signal(SIGKILL) }
                #expect(await watch.finish().code == -SIGKILL && isDead, "\(step) \(occurrence) did not come")
                #expect(try await olivia.isSound(), "\(step) \(occurrence)")
                let names = try await olivia.clientNames()
                for name in kept where name.hasSuffix(" here") { #expect(names[name] == 1, "\(step) \(occurrence): \(name)") }
            }
            for _ in 0..<2 { for person in [olivia, marcus] { try await person.syncUntilQuiet() } }
            for person in [olivia, marcus] {
                let names = try await person.clientNames()
                for name in kept { #expect(names[name] == 1, "\(person.name): \(name)") }
                #expect(try await person.isIdentical(), "\(person.name)")
                #expect(try await person.problems() == 0, "\(person.name)")
                try await person.json("doctor")
            }
            #expect(await server.end(SIGTERM) == 0)
        }

        private static let ofExchanges: [StorageStep] = [
            .recordOutcomes, .applySeal, .applyRows, .applyOutcomes, .applyView, .applyReplay, .applyCheckpoint, .applyCleanup,
        ]

        private static let recurring: [(StorageStep, Int)] = [
            (.applySeal, 2), (.applySeal, 3), (.writeBases, 2), (.writeBases, 4), (.writeView, 2), (.writeView, 4), (.writePending, 2),
            (.writePending, 4), (.stagePage, 2), (.stagePage, 3),
        ]
    }
}
