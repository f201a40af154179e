// Who gets the next sender thread, and the next session: turns, shares, and endpoints that fail.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct SenderTurnsTests {
    private func tenant(_ number: UInt64) -> Identifier { Identifier(high: 1, low: number) }

    /// Takes all that may be taken, and says whose it was.
    private func takeAll(_ turns: inout SenderTurns<String>) -> [String] {
        var taken: [String] = []
        while let next = turns.take() { taken.append(next.job) }
        return taken
    }

    @Test func tenantsTakeTurns_whateverTheirNumberOfJobs() {
        var turns = SenderTurns<String>(threads: 100)
        for number in 0..<30 { turns.append("a\(number)", of: tenant(1), isFailing: false) }
        for number in 0..<3 { turns.append("b\(number)", of: tenant(2), isFailing: false) }
        turns.append("c0", of: tenant(3), isFailing: false)
        #expect(takeAll(&turns).prefix(7) == ["a0", "b0", "c0", "a1", "b1", "a2", "b2"])
    }

    @Test(arguments: [(1, 1), (2, 2), (3, 2), (4, 3), (16, 9), (32, 17)])
    func tenantAlone_leavesThreadsToOthers(threads: Int, share: Int) {
        var turns = SenderTurns<String>(threads: threads)
        for number in 0..<100 { turns.append("a\(number)", of: tenant(1), isFailing: false) }
        #expect(takeAll(&turns).count == share)
        turns.append("b", of: tenant(2), isFailing: false)
        #expect(takeAll(&turns) == (share < threads ? ["b"] : []))
        if share < threads { turns.finished(tenant(2), isFailing: false) }
        // It gets its share again, and not more.
        turns.finished(tenant(1), isFailing: false)
        #expect(takeAll(&turns).count == 1)
    }

    @Test func severalBusyTenants_comeToLeaveRoomForOneMore() {
        var turns = SenderTurns<Int>(threads: 32)
        for number in 0..<6 {
            for _ in 0..<100 { turns.append(number, of: tenant(UInt64(number)), isFailing: false) }
        }
        var running: [Int: Int] = [:]
        func fill() { while let next = turns.take() { running[next.job, default: 0] += 1 } }
        fill()
        // Whoever has most finishes first; what is free again goes to whoever may have it.
        for _ in 0..<200 {
            guard let most = running.max(by: { ($0.value, $0.key) < ($1.value, $1.key) })?.key else { break }
            running[most, default: 0] -= 1
            turns.finished(tenant(UInt64(most)), isFailing: false)
            fill()
        }
        #expect(running.values.reduce(0, +) < 32, "\(running)")
        #expect((running.values.max() ?? 0) - (running.values.min() ?? 0) <= 2, "\(running)")
        turns.append(99, of: tenant(99), isFailing: false)
        var isServed = false
        while let next = turns.take() { isServed = isServed || next.job == 99 }
        #expect(isServed)
    }

    @Test func endpointsThatFail_haveHalf_andDoNotHoldUpTheirTenant() {
        var turns = SenderTurns<String>(threads: 4)
        for number in 0..<4 { turns.append("bad\(number)", of: tenant(UInt64(number)), isFailing: true) }
        turns.append("good", of: tenant(0), isFailing: false)
        #expect(takeAll(&turns) == ["good", "bad1", "bad2"])
        turns.finished(tenant(1), isFailing: true)
        #expect(takeAll(&turns) == ["bad3"], "one for another, though two threads are free")
    }

    @Test func tenantsWithNothingLeft_areForgotten() {
        var turns = SenderTurns<String>(threads: 2)
        for number in 0..<1_000 {
            turns.append("x", of: tenant(UInt64(number)), isFailing: false)
            #expect(turns.take() != nil)
            turns.finished(tenant(UInt64(number)), isFailing: false)
        }
        #expect(turns.laneCount == 0)
        #expect(turns.take() == nil)
    }

    @Test func sessionsOfTheOutbox_areNeverAllOneTenants() async throws {
        let url = try ServerUnderTest().url
        let connections = OutboxConnections(
            countMax: 4, metrics: Metrics(), connect: { try PostgresConnection(PostgresConfiguration(url: url)) })
        let entered = AwaitableCounter()
        let gate = DispatchSemaphore(value: 0)
        let (busy, quiet) = (tenant(1), tenant(2))
        let threads = (0..<8).map { number in
            DedicatedThread("busy \(number)") {
                try? connections.use(for: busy) { _ in
                    entered.add()
                    gate.wait()
                }
            }
        }
        try await onOwnThread {
            #expect(entered.wait(for: 3))
            for _ in 0..<5 {
                let answer = try connections.use(for: quiet) { try $0.run("SELECT 1").integer(0, 0) }
                #expect(answer == 1)
            }
            #expect(entered.current == 3, "the others wait for their tenant's share")
            for _ in threads { gate.signal() }
            for thread in threads { thread.join() }
            #expect(entered.current == 8)
            connections.close()
        }
    }
}
