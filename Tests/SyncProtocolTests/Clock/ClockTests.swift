import SyncProtocol
import TestSupport
import Testing

@Suite struct HybridClockTests {
    @Test func now_isStrictlyIncreasing_whenWallClockStandsStillOrStepsBack() {
        var clock = HybridClock()
        var last = HybridTimestamp.zero
        for wall: Int64 in [1000, 1000, 1000, 900, 1, 1001, 1001] {
            let stamp = clock.now(wallMilliseconds: wall)
            #expect(stamp > last)
            last = stamp
        }
        #expect(last.milliseconds == 1001)
    }

    @Test func receive_movesPastSeenTimestamp() {
        var clock = HybridClock()
        clock.receive(HybridTimestamp(milliseconds: 5000, logical: 7))
        #expect(clock.now(wallMilliseconds: 1000) == HybridTimestamp(milliseconds: 5000, logical: 8))
    }

    @Test func learn_correctsStampsAndPullsBackARunawayClock() {
        var clock = HybridClock()
        let day: Int64 = 86_400_000
        _ = clock.now(wallMilliseconds: 1_000_000 + day)
        clock.learn(serverMilliseconds: 1_000_000, wallMilliseconds: 1_000_000 + day)
        #expect(clock.offsetMilliseconds == -day)
        #expect(clock.now(wallMilliseconds: 1_000_005 + day).milliseconds == 1_000_005)
    }

    @Test func learn_keepsLogicalOrder_whenOffsetIsSmall() {
        var clock = HybridClock()
        let before = clock.now(wallMilliseconds: 10_000)
        clock.learn(serverMilliseconds: 9_000, wallMilliseconds: 10_000)
        #expect(clock.now(wallMilliseconds: 10_001) > before)
    }
}

@Suite struct VectorClockTests {
    private func randomClock(_ random: inout SeededRandom, lanes: [Identifier]) -> VectorClock {
        var replicas: [Identifier: Int64] = [:]
        for lane in lanes where Bool.random(using: &random) { replicas[lane] = Int64.random(in: 0...4, using: &random) }
        return VectorClock(feed: FeedPosition(epoch: 0, position: Int64.random(in: 0...4, using: &random)), replicas: replicas)
    }

    @Test func merge_obeysLatticeLaws() {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        let lanes = (1...3).map { Identifier(high: 0, low: $0) }
        for _ in 0..<2000 {
            let a = randomClock(&random, lanes: lanes)
            let b = randomClock(&random, lanes: lanes)
            let c = randomClock(&random, lanes: lanes)
            #expect(a.merged(with: b) == b.merged(with: a))
            #expect(a.merged(with: b).merged(with: c) == a.merged(with: b.merged(with: c)))
            #expect(a.merged(with: a) == a)
            #expect(a.merged(with: b).covers(a) && a.merged(with: b).covers(b))
            // Least: whatever covers both covers the merge.
            if c.covers(a) && c.covers(b) { #expect(c.covers(a.merged(with: b))) }
            switch a.compare(to: b) {
            case .equal: #expect(a == b)
            case .before: #expect(b.covers(a) && !a.covers(b))
            case .after: #expect(a.covers(b) && !b.covers(a))
            case .concurrent: #expect(!a.covers(b) && !b.covers(a))
            }
        }
    }

    @Test func json_roundTrips() throws {
        let clock = VectorClock(feed: FeedPosition(epoch: 2, position: 77), replicas: [Identifier(high: 1, low: 2): 9])
        #expect(VectorClock(json: clock.json) == clock)
        #expect(VectorClock(json: ["feed": [0, -1]]) == nil)
        #expect(VectorClock(json: ["feed": [0, 1], "not a uuid": 1]) == nil)
        #expect(VectorClock(json: [:]) == nil)
    }

    @Test func knows_followsFeedLaneOrAuthorLane() {
        let replica = Identifier(high: 1, low: 1)
        func version(_ position: Int64, _ counter: Int64?) -> VersionTag {
            VersionTag(
                position: FeedPosition(epoch: 0, position: position), dot: counter.map { Dot(replica: replica, counter: $0) },
                timestamp: .zero,
                actor: nil)
        }
        let clock = VectorClock(feed: FeedPosition(epoch: 0, position: 10), replicas: [replica: 3])
        #expect(clock.knows(version(10, nil)))
        #expect(!clock.knows(version(11, nil)), "what the server made is known through the feed only")
        #expect(clock.knows(version(11, 3)))
        #expect(!clock.knows(version(11, 4)))
        #expect(VectorClock.empty.knows(version(0, nil)))
    }

    @Test func knows_nothingOfANewEpoch_fromClocksOfLostHistory() {
        let old = VectorClock(feed: FeedPosition(epoch: 0, position: 1_000_000))
        let version = VersionTag(
            position: FeedPosition(epoch: 1, position: FeedPosition.epochStride + 1), dot: nil, timestamp: .zero, actor: nil)
        #expect(!old.knows(version))
    }
}
