// The state machine alone: what follows what, without files or network.

import SyncProtocol
import Testing

@testable import Replica

@Suite struct SyncSessionTests {
    private func progress(hasCheckpoint: Bool = true, staged: Int = 0, rebuild: RebuildReason? = nil) -> PullProgress {
        PullProgress(
            cursor: nil, versionsAfter: nil, stagedPages: staged, rebuild: rebuild,
            checkpoint: hasCheckpoint ? FeedPosition(epoch: 0, position: 5) : nil)
    }

    private func page(isLast: Bool) throws -> PullPage {
        let mark = CheckpointMark(position: FeedPosition(epoch: 0, position: 9), fingerprint: "f")
        let checkpoint = Checkpoint(mark: mark, timestamp: .zero, acknowledged: 0)
        return try PullPage(
            parsing: PullPage.write(serverMilliseconds: 1, blocks: [], next: "n", checkpoint: isLast ? checkpoint : nil, outcomes: []))
    }

    private func refusal(_ code: ErrorCode, _ details: JSONObject = JSONObject()) -> TransportFailure {
        .reply(ErrorReply(code, code.rawValue, details: details), status: code.status)
    }

    @Test func plainSync_pushesUntilNothingIsLeft_thenPullsToTheCheckpoint() throws {
        var session = SyncSession()
        #expect(session.handle(.started(progress())) == .push(maximumSets: 500))
        #expect(session.handle(.pushed(500)) == .push(maximumSets: 500))
        #expect(session.handle(.pushed(0)) == .pull)
        #expect(session.handle(.received(try page(isLast: true))) == .apply)
        #expect(session.handle(.applied(forkedAt: nil)) == .finish)
        #expect(session.unresolvedPushFailure == nil)
    }

    @Test func pullOfSeveralPages_isStaged_exceptOnAFirstSync() throws {
        for hasCheckpoint in [true, false] {
            var session = SyncSession()
            _ = session.handle(.started(progress(hasCheckpoint: hasCheckpoint)))
            _ = session.handle(.pushed(0))
            #expect(session.handle(.received(try page(isLast: false))) == (hasCheckpoint ? .stage : .apply))
            #expect(session.handle(hasCheckpoint ? .staged : .applied(forkedAt: nil)) == .pull)
            #expect(session.handle(.received(try page(isLast: true))) == .apply)
            #expect(session.handle(.applied(forkedAt: nil)) == .finish)
        }
    }

    @Test func unansweredPush_letsThePullGoFirst_thenHalvesDownToOneSet_andProbesBeforeBlaming() throws {
        var session = SyncSession()
        _ = session.handle(.started(progress()))
        let dropped = TransportFailure.dropped("")
        #expect(session.handle(.pushFailed(dropped, sets: 4)) == .pull)
        _ = session.handle(.received(try page(isLast: true)))
        #expect(session.handle(.applied(forkedAt: nil)) == .push(maximumSets: 500))
        var tried: [Int] = []
        var probes = 0
        var sets = 4
        var instruction = session.handle(.pushFailed(dropped, sets: sets))
        while instruction != .withdrawFirst {
            guard case .wait = instruction else {
                Issue.record("unexpected \(instruction)")
                return
            }
            instruction = session.handle(.waited)
            guard case .push(let maximum) = instruction else {
                Issue.record("unexpected \(instruction)")
                return
            }
            if maximum == 0 {
                probes += 1
                instruction = session.handle(.pushed(0))
            } else {
                sets = min(sets, maximum)
                tried.append(sets)
                instruction = session.handle(.pushFailed(dropped, sets: sets))
            }
            try #require(tried.count < 20)
        }
        #expect(tried == [4, 2, 1, 1, 1])
        #expect(probes == 1)
        #expect(session.handle(.withdrawn) == .push(maximumSets: 500))
    }

    @Test func silentServer_isNotBlamedOnASet() throws {
        var session = SyncSession()
        _ = session.handle(.started(progress()))
        _ = session.handle(.pushFailed(.timeout, sets: 1))
        _ = session.handle(.received(try page(isLast: true)))
        var instruction = session.handle(.applied(forkedAt: nil))
        var steps = 0
        while instruction != .finish {
            #expect(instruction != .withdrawFirst)
            switch instruction {
            case .push(let maximum): instruction = session.handle(.pushFailed(.timeout, sets: min(1, maximum)))
            case .wait: instruction = session.handle(.waited)
            default:
                Issue.record("unexpected \(instruction)")
                return
            }
            steps += 1
            try #require(steps < 20)
        }
        #expect(session.unresolvedPushFailure == .timeout)
    }

    @Test func newEpoch_rebuildsFirst_thenPushesAgain_thenPullsTheAnswer() throws {
        var session = SyncSession()
        _ = session.handle(.started(progress()))
        #expect(session.handle(.pushFailed(refusal(.newEpoch), sets: 3)) == .prepareRebuild(.newEpoch))
        #expect(session.handle(.rebuildPrepared) == .pull)
        #expect(session.isRebuilding)
        #expect(session.handle(.received(try page(isLast: false))) == .stage)
        #expect(session.handle(.staged) == .pull)
        #expect(session.handle(.received(try page(isLast: true))) == .apply)
        #expect(session.handle(.applied(forkedAt: nil)) == .push(maximumSets: 500))
        #expect(session.handle(.pushed(3)) == .push(maximumSets: 500))
        #expect(session.handle(.pushed(0)) == .pull)
    }

    @Test func serverThatAlwaysAsksForAResync_isGivenUp() {
        var session = SyncSession()
        _ = session.handle(.started(progress()))
        _ = session.handle(.pushed(0))
        let failure = refusal(.resyncRequired)
        for _ in 0..<SyncSession.rebuildsMax {
            #expect(session.handle(.pullFailed(failure)) == .prepareRebuild(.resyncRequired))
            #expect(session.handle(.rebuildPrepared) == .pull)
        }
        #expect(session.handle(.pullFailed(failure)) == .stop(failure))
    }

    @Test func refusals_thatAPersonMustSeeTo_stopTheSync() {
        for code in [ErrorCode.unauthorized, .replicaRevoked] {
            var session = SyncSession()
            _ = session.handle(.started(progress()))
            #expect(session.handle(.pushFailed(refusal(code), sets: 1)) == .stop(refusal(code)))
        }
    }

    @Test func refusedPush_doesNotStopThePull() throws {
        for code in [ErrorCode.fork, .schemaTooOld, .badRequest, .unavailable, .forbidden] {
            var session = SyncSession()
            _ = session.handle(.started(progress()))
            #expect(session.handle(.pushFailed(refusal(code), sets: 1)) == .pull)
            _ = session.handle(.received(try page(isLast: true)))
            #expect(session.handle(.applied(forkedAt: nil)) == .finish)
            #expect(session.unresolvedPushFailure == refusal(code))
        }
    }

    /// What lies behind the counter may be common to both copies all the same: the pull tells before anything is sealed anew.
    @Test func pushRefusedBecauseOfACopy_looksFirst_andForksWhenItIsRefusedAgain() throws {
        var session = SyncSession()
        _ = session.handle(.started(progress()))
        let fork = refusal(.fork, ["counter": 3])
        #expect(session.handle(.pushFailed(fork, sets: 2)) == .pull)
        _ = session.handle(.received(try page(isLast: true)))
        #expect(session.handle(.applied(forkedAt: nil)) == .push(maximumSets: 500))
        #expect(session.handle(.pushFailed(fork, sets: 2)) == .fork(at: 3))
        #expect(session.handle(.forked) == .push(maximumSets: 500))
    }

    @Test func counterGap_offersAgainWhatTheServerForgot_once() {
        var session = SyncSession()
        _ = session.handle(.started(progress()))
        let gap = refusal(.counterGap, ["expected": 3])
        #expect(session.handle(.pushFailed(gap, sets: 2)) == .reoffer(from: 3))
        #expect(session.handle(.reoffered) == .push(maximumSets: 500))
        #expect(session.handle(.pushFailed(gap, sets: 2)) == .pull)
    }

    @Test func brokenPulls_areRepeatedAFewTimes() {
        var session = SyncSession()
        _ = session.handle(.started(progress()))
        _ = session.handle(.pushed(0))
        for attempt in 1..<SyncSession.pullAttemptsMax {
            #expect(session.handle(.pullFailed(.malformed("cut"))) == .wait(attempt: attempt))
            #expect(session.handle(.waited) == .pull)
        }
        #expect(session.handle(.pullFailed(.malformed("cut"))) == .stop(.malformed("cut")))
    }

    @Test func backoff_growsToItsMost_andNeverBeyond() {
        for random in [UInt64.min, 12_345, .max] {
            for attempt in 1...60 {
                let delay = Backoff.betweenSyncs.delay(attempt: attempt, random: random)
                let step: Int64 = min(300_000, 1_000 << Int64(min(attempt - 1, 20)))
                #expect(delay >= step / 2 && delay <= step)
            }
        }
    }

    /// The server has room for some of the sets only: those go, the others wait here, and downloads wait for neither.
    @Test func pushThatFitsInPart_isOfferedInPart_andTheRestWaits() throws {
        var session = SyncSession()
        _ = session.handle(.started(progress()))
        #expect(session.handle(.pushFailed(refusal(.limitReached, ["fits": 3]), sets: 8)) == .push(maximumSets: 3))
        #expect(session.handle(.pushed(3)) == .push(maximumSets: 6))
        #expect(session.handle(.pushFailed(refusal(.limitReached, ["fits": 0]), sets: 5)) == .pull)
        _ = session.handle(.received(try page(isLast: true)))
        #expect(session.handle(.applied(forkedAt: nil)) == .finish)
        #expect(session.unresolvedPushFailure != nil)
    }

    /// A server that says nonsense about what fits is not asked for ever.
    @Test(arguments: [5, 6, -1, nil] as [Int64?])
    func pushThatIsRefusedWithoutProgress_waits(fits: Int64?) {
        var session = SyncSession()
        _ = session.handle(.started(progress()))
        let details: JSONObject = fits.map { ["fits": .integer($0)] } ?? JSONObject()
        #expect(session.handle(.pushFailed(refusal(.limitReached, details), sets: 5)) == .pull)
    }
}
