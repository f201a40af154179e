// The disk under a replica full or broken at every call the command makes: it says so, exit code 5, the file stays sound, and
// what had been said to be done is done. With room again, work goes on.

import Foundation
import SyncProtocol
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

extension FaultTests {
    @Suite struct ReplicaDiskTests {
        private struct Failure: Sendable {
            var calls: FailingDisk.Calls
            var error: Int32
            var halves: Bool
        }

        private static let failures = [
            Failure(calls: [.write, .grow], error: ENOSPC, halves: false), Failure(calls: [.write, .grow], error: ENOSPC, halves: true),
            Failure(calls: [.write], error: EIO, halves: false), Failure(calls: [.sync], error: EIO, halves: false),
            Failure(calls: [.read], error: EIO, halves: false),
        ]

        /// Every call from the nth on fails, for each n until there are no more: each command meets the failure at each of its calls.
        @Test func editOnAFailingDisk_isDoneOrSaysSo_atEveryCall() async throws {
            let place = try await Workplace()
            let server = try await place.server()
            let olivia = try await Person("olivia", in: place.folder, server: server.address, code: place.tenant.ownerCode)
            try await olivia.syncUntilQuiet()
            let disk = try FailingDisk(in: place.folder)
            let environment = try disk.environment
            let hasTime = ProcessInfo.processInfo.environment["TIDELINE_FAULT_SECONDS"] != nil
            var random = SeededRandom.fresh()
            print("seed \(random.seed)")
            var refused = 0
            var done: [String] = []
            var undone: [String] = []
            var open: [String] = []
            for (index, failure) in Self.failures.enumerated() {
                // Every write; of the rest some do, unless there is time.
                var skip = 0
                while true {
                    let name = "D\(index) \(skip)"
                    disk.fail(failure.calls, on: "/olivia.db", with: failure.error, skip: skip, halves: failure.halves)
                    let edit = try await olivia.run(["add", "client", "name=\(name)"], environment: environment)
                    let hits = disk.hits
                    disk.heal()
                    #expect([0, 5].contains(edit.code), "\(failure) \(skip): \(edit)")
                    if edit.code == 5 {
                        refused += 1
                        // The last sync of a commit comes when the commit stands already.
                        if failure.calls == .sync { open.append(name) } else { undone.append(name) }
                        let error = try JSONValue(parsing: edit.output)["error"]
                        #expect(error?["code"] == "storage" && error?["hint"] != nil, "\(edit.output)")
                    } else {
                        done.append(name)
                    }
                    if hits == 0 { break }
                    let most = index == 0 || hasTime ? 1 : failure.calls == .read ? 60 : 5
                    skip += Int.random(in: 1...most, using: &random)
                }
                #expect(try await olivia.isSound(), "\(failure)")
            }
            print("edits on a failing disk: \(refused) refused, \(done.count) done")
            #expect(refused > 10)
            let names = try await olivia.clientNames()
            for name in done { #expect(names[name] == 1, "\(name)") }
            for name in undone { #expect(names[name] == nil, "\(name) was said not to be done") }
            for name in open { #expect(names[name] ?? 0 <= 1, "\(name) was done twice") }
            try await olivia.syncUntilQuiet()
            #expect(try await olivia.isIdentical())
            #expect(try await olivia.problems() == 0)
        }

        @Test func syncOnAFailingDisk_losesNothing_andGoesOnWhenThereIsRoom() async throws {
            var random = SeededRandom.fresh()
            print("seed \(random.seed)")
            let place = try await Workplace()
            let server = try await place.server()
            let (olivia, marcus) = try await place.oliviaAndMarcus(at: server.address)
            let disk = try FailingDisk(in: place.folder)
            let environment = try disk.environment
            var (names, failed) = ([String](), 0)
            for round in 0..<12 {
                let failure = Self.failures[round % Self.failures.count]
                let skip = Int.random(in: 0...(round < 5 ? 3 : 40), using: &random)
                names += ["here \(round)", "there \(round)"]
                _ = try await marcus.add("client", "name=there \(round)")
                try await marcus.syncUntilQuiet()
                _ = try await olivia.add("client", "name=here \(round)")
                disk.fail(failure.calls, on: "/olivia.db", with: failure.error, skip: skip, halves: failure.halves)
                let sync = try await olivia.run(["sync"], environment: environment)
                if disk.hits > 0 { failed += 1 }
                disk.heal()
                // Failing to keep a copy of the timeline fails no sync.
                #expect([0, 5].contains(sync.code), "\(failure) \(skip): \(sync)")
                #expect(try await olivia.isSound(), "\(failure) \(skip)")
                #expect(try await olivia.count(ofClient: "here \(round)") == 1)
            }
            #expect(failed > 5, "the failures must hit running syncs")
            for person in [olivia, marcus] { try await person.syncUntilQuiet() }
            for person in [olivia, marcus] {
                let found = try await person.clientNames()
                for name in names { #expect(found[name] == 1, "\(person.name): \(name)") }
                #expect(try await person.isIdentical())
                #expect(try await person.problems() == 0)
                try await person.json("doctor")
            }
        }
    }
}
