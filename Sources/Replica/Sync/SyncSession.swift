// One sync as a state machine without I/O: events in, instructions out. SyncDriver carries the instructions out.
//
//   started ─► push until nothing is left ─► pull until the checkpoint ─► finish
//                 │ fails                        ▲        │ restored server, old cursor
//                 └──────── downloads never wait ┘        └─► rebuild: pull from nothing, keeping pending
//
// "No answer" means "unknown": the same sets go out again, with the same bytes. A batch that is never answered while pulls
// are is halved until the one set that kills is found; that set is withdrawn so that the rest can flow.

import SyncProtocol

struct SyncSession: Sendable {
    enum Event: Sendable {
        case started(PullProgress)
        /// The server answered this many sets; 0: nothing was left to push (or an empty probe was answered).
        case pushed(Int)
        case pushFailed(TransportFailure, sets: Int)
        case received(PullPage)
        case pullFailed(TransportFailure)
        case staged
        /// With the first counter that another copy of this file has used, if the page told so; and whether the server has
        /// forgotten sets that it had answered.
        case applied(forkedAt: Int64?, hasForgotten: Bool = false)
        case forked
        case forkFailed(TransportFailure)
        case waited
        case withdrawn
        /// The set that gets no answer is a marker already: there is no more to take out.
        case nothingToWithdraw
        case reoffered
        case rebuildPrepared
    }

    enum Instruction: Sendable, Hashable {
        /// Offer the oldest unanswered sets, at most so many; 0 offers none, to see whether the server answers at all.
        case push(maximumSets: Int)
        case pull
        /// Keep the received page until the checkpoint.
        case stage
        /// Apply the received page, together with staged ones if there are any.
        case apply
        case prepareRebuild(RebuildReason)
        /// Offer sets from this counter again, answered or not.
        case reoffer(from: Int64)
        case withdrawFirst
        /// Go on under a replica id of its own, from this counter on.
        case fork(at: Int64)
        case wait(attempt: Int)
        case finish
        case stop(TransportFailure)
    }

    static let unansweredAttemptsMax = 3
    static let pullAttemptsMax = 3
    static let rebuildsMax = 2
    static let forksMax = 2

    private enum Push: Sendable { case due, putOff, done, failed }

    private(set) var pushFailure: TransportFailure?
    private(set) var isRebuilding = false

    private var push: Push
    private var pullIsDue = true
    private var pullWorked = false
    private var batchLimit = Limits.setsPerPush
    private var unanswered = 0
    private var singleUnanswered = 0
    private var isProbing = false
    private var pullFailures = 0
    private var rebuilds = 0
    private var reoffers = 0
    private var forks = 0
    /// A push was refused because of another copy, and the pull that tells what the copies have in common was asked for.
    private var hasLookedForCopies = false
    private var hasCheckpoint = false
    private var stagedPages = 0
    private var pageHasMore = false
    private var afterWait = Instruction.finish

    /// - Parameter pushes: false: fetches only.
    init(pushes: Bool = true) { push = pushes ? .due : .failed }

    /// What to do next, now that this has happened.
    mutating func handle(_ event: Event) -> Instruction {
        switch event {
        case .started(let progress):
            hasCheckpoint = progress.hasCheckpoint
            stagedPages = progress.stagedPages
            isRebuilding = progress.rebuild != nil
            // While confirmed state is being replaced the cursor is void, and a push would only be told so again.
            if isRebuilding { push = .putOff }
            return next()
        case .pushed(let count): return pushed(count)
        case .pushFailed(let failure, let sets): return pushFailed(failure, sets)
        case .received(let page):
            pullFailures = 0
            pageHasMore = page.hasMore
            // A first sync applies page by page; afterwards readers never see half of a pull.
            return page.hasMore && (hasCheckpoint || isRebuilding) ? .stage : .apply
        case .staged:
            stagedPages += 1
            return .pull
        case .applied(let forkedAt, let hasForgotten):
            if pageHasMore { return .pull }
            (hasCheckpoint, isRebuilding, stagedPages) = (true, false, 0)
            (pullWorked, pullIsDue) = (true, false)
            if let forkedAt, forks < Self.forksMax { return fork(at: forkedAt) }
            if push == .putOff { push = .due }
            if hasForgotten, reoffers == 0 {
                reoffers += 1
                push = .due
            }
            return next()
        case .pullFailed(let failure): return pullFailed(failure)
        case .waited: return afterWait
        case .withdrawn:
            (batchLimit, unanswered, singleUnanswered) = (Limits.setsPerPush, 0, 0)
            push = .due
            return next()
        case .nothingToWithdraw:
            push = .failed
            return next()
        case .reoffered: return next()
        case .forked:
            // Everything from here on is a new replica's: nothing of it was offered yet.
            (push, pushFailure, pullIsDue) = (.due, nil, true)
            (batchLimit, unanswered, singleUnanswered, isProbing) = (Limits.setsPerPush, 0, 0, false)
            hasLookedForCopies = false
            return next()
        case .forkFailed(let failure): return .stop(failure)
        case .rebuildPrepared:
            (isRebuilding, stagedPages, pullIsDue, pullFailures) = (true, 0, true, 0)
            return next()
        }
    }

    private mutating func next() -> Instruction {
        if push == .due { return .push(maximumSets: batchLimit) }
        return pullIsDue ? .pull : .finish
    }

    // MARK: Push

    private mutating func pushed(_ count: Int) -> Instruction {
        if isProbing {
            // The server answers, only not this set.
            isProbing = false
            return .withdrawFirst
        }
        (unanswered, singleUnanswered) = (0, 0)
        guard count > 0 else {
            push = .done
            return next()
        }
        pullIsDue = true
        batchLimit = min(Limits.setsPerPush, batchLimit * 2)
        return next()
    }

    private mutating func pushFailed(_ failure: TransportFailure, _ sets: Int) -> Instruction {
        if case .reply(let reply, let status) = failure {
            if isProbing, status < 500, status != 401, status != 403 {
                isProbing = false
                return .withdrawFirst
            }
            switch reply.knownCode {
            case .newEpoch, .invalidCursor: return rebuild(.newEpoch, failure)
            case .resyncRequired: return rebuild(.resyncRequired, failure)
            case .counterGap where reoffers == 0:
                if let expected = reply.details["expected"]?.integerValue {
                    reoffers += 1
                    return .reoffer(from: expected)
                }
            case .fork where forks < Self.forksMax:
                guard let counter = reply.details["counter"]?.integerValue else { break }
                guard hasLookedForCopies else {
                    // What lies behind the counter may be common to both copies all the same. The pull tells.
                    (hasLookedForCopies, push, pullIsDue, pushFailure) = (true, .putOff, true, failure)
                    return next()
                }
                return fork(at: counter)
            case .payloadTooLarge:
                guard sets > 1 else { return .withdrawFirst }
                batchLimit = sets / 2
                return next()
            case .limitReached:
                // There is room for some of them; the others wait here. Each such push leaves fewer.
                guard let fits = reply.details["fits"]?.integerValue, fits > 0, fits < sets else { break }
                batchLimit = Int(fits)
                return next()
            // A role that may read and not write: the sets wait for another one, downloads do not.
            case .forbidden: return giveUpPushing(failure)
            default: break
            }
            if status == 401 || status == 403 { return .stop(failure) }
        }
        if case .cancelled = failure { return .stop(failure) }
        isProbing = isProbing && failure.isUnanswered
        guard failure.isUnanswered, !isProbing else { return giveUpPushing(failure) }
        unanswered += 1
        guard pullWorked else {
            // Downloads never wait for uploads. Whether they work also tells what to make of this.
            (push, pullIsDue, pushFailure) = (.putOff, true, failure)
            return next()
        }
        pushFailure = failure
        if sets <= 1 {
            singleUnanswered += 1
            guard singleUnanswered >= Self.unansweredAttemptsMax else { return wait(then: .push(maximumSets: batchLimit)) }
            // Before blaming the set: does the server answer pushes at all?
            isProbing = true
            return wait(then: .push(maximumSets: 0))
        }
        if unanswered >= Self.unansweredAttemptsMax { batchLimit = sets / 2 }
        return wait(then: .push(maximumSets: batchLimit))
    }

    private mutating func giveUpPushing(_ failure: TransportFailure) -> Instruction {
        (push, pushFailure) = (.failed, failure)
        return next()
    }

    private mutating func wait(then instruction: Instruction) -> Instruction {
        afterWait = instruction
        return .wait(attempt: max(unanswered, pullFailures))
    }

    // MARK: Pull

    private mutating func pullFailed(_ failure: TransportFailure) -> Instruction {
        if case .reply(let reply, let status) = failure {
            switch reply.knownCode {
            case .newEpoch, .invalidCursor: return rebuild(.newEpoch, failure)
            case .resyncRequired: return rebuild(.resyncRequired, failure)
            default: if status < 500, status != 429 { return .stop(failure) }
            }
        }
        switch failure {
        case .cancelled:
            // A long poll that a local edit cut short, or the end of the program.
            pullIsDue = false
            return .finish
        // A server that was silent for so long will be again; what is staged stays for the next sync.
        case .unreachable, .timeout: return .stop(failure)
        default: break
        }
        pullFailures += 1
        guard pullFailures < Self.pullAttemptsMax else { return .stop(failure) }
        return wait(then: .pull)
    }

    /// A cursor that the server did not make (a damaged file has one, or the key of the server is another one now) proves nothing about
    /// what the server still has: everything goes out again, as after a restore.
    private mutating func rebuild(_ reason: RebuildReason, _ failure: TransportFailure) -> Instruction {
        guard rebuilds < Self.rebuildsMax else { return .stop(failure) }
        rebuilds += 1
        push = push == .done || push == .failed ? push : .putOff
        // What the server had answered may be lost with its history.
        if reason == .newEpoch { push = .putOff }
        return .prepareRebuild(reason)
    }

    private mutating func fork(at counter: Int64) -> Instruction {
        forks += 1
        isProbing = false
        return .fork(at: counter)
    }

    /// Whether pushing ended without an answer to everything.
    var unresolvedPushFailure: TransportFailure? { push == .done ? nil : pushFailure }
}
