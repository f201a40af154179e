// Sets that another replica has sealed and this file holds, because it is a copy of that one's file or was itself that replica until
// it enrolled again. They go out in their author's name, under their own dots (protocol §7.2): whoever brings a set first has it
// decided, everybody else gets the same answer. What cannot go out this way is left to the other copy, and shown as a problem.

import SyncProtocol

extension Store {
    /// After a restore: everything of others that the file holds, confirmed or answered, from each one's last counter down and without
    /// gaps. This replica is not told which of it the server has; that gets its stored answer. Until it is answered the view leaves it
    /// to what the server says, or what is there would count twice in it. Returns how many sets go out.
    func offerForOthers(_ applied: inout Applied) throws -> Int {
        let meta = Metadata(connection: connection)
        let own = try meta.requireIdentity("sync").replica
        let (lanes, identities) = (try meta.sharedLanes(), try meta.formerIdentities())
        for row in try pendingRows() {
            let sealed = row.sealed.flatMap { try? ChangeSet(sealed: $0) }
            guard let author = row.author ?? sealed?.dot.replica, author != own else { continue }
            if identities[author] == nil {
                applied.problems.append(contentsOf: try leaveToOtherCopy(row))
            } else {
                try connection.execute(
                    "UPDATE _tideline_pending SET author = ?2, state = 'pending', outcome = NULL WHERE counter = ?1",
                    [.integer(row.counter), .text(author.text)])
            }
        }
        var offered = 0
        for (author, last) in lanes.sorted(by: { ($0.value, $1.key) > ($1.value, $0.key) }) where identities[author] != nil {
            var held = HeldSets(self)
            let floor = lanes.values.filter { $0 < last }.max() ?? 0
            var counter = last
            while counter > floor, let sets = try offerAgain(counter, held.at(counter), own: own, author: author) {
                offered += sets
                counter -= 1
            }
        }
        return offered
    }

    /// What the server's refusal of sets of `author` means for them. Returns false when it says nothing about their author: it is
    /// handled like any other then.
    func settleCourier(_ reply: ErrorReply, of author: Identifier) throws -> Bool {
        switch reply.knownCode {
        case .fork:
            // The author, or another copy, has used the counter for something else, and what this file holds behind it is its own. As
            // long as the file has said nothing under its new id, it can go on under one that begins there.
            if try Metadata(connection: connection).integer(.unoffered) != nil { return false }
            guard let counter = reply.details["counter"]?.integerValue else { return false }
            try leaveToOtherCopies(of: author, from: counter, Self.partedFromOtherCopy)
        case .counterGap:
            // What lies before was never here, or is forgotten: nobody but the author may pass it over.
            guard let expected = reply.details["expected"]?.integerValue else { return false }
            if try !fillCourierGap(from: expected, of: author) { try leaveToOtherCopies(of: author, from: 0) }
        case .badRequest where reply.details["field"] != nil, .forbidden where reply.details["field"] != nil:
            try leaveToOtherCopies(of: author, from: 0)
        default: return false
        }
        try replay()
        return true
    }

    private func fillCourierGap(from counter: Int64, of author: Identifier) throws -> Bool {
        let own = try Metadata(connection: connection).requireIdentity("push").replica
        let first = try connection.scalarInteger(
            "SELECT min(counter) FROM _tideline_pending WHERE author = ?1 AND state = 'pending'", [.text(author.text)])
        guard let first, counter > 0, counter < first else { return false }
        var held = HeldSets(self)
        for spent in (counter..<first).reversed() {
            guard try offerAgain(spent, held.at(spent), own: own, author: author) != nil else { return false }
        }
        // What is answered already does not fill a gap.
        try connection.execute(
            "UPDATE _tideline_pending SET state = 'pending', outcome = NULL WHERE author = ?1 AND counter >= ?2",
            [.text(author.text), .integer(counter)])
        return true
    }

    /// Sets that only their author or another copy can still send become problems here, until one of them has brought them.
    private func leaveToOtherCopies(of author: Identifier, from counter: Int64, _ reason: Violation = leftToOtherCopy) throws {
        for row in try pendingRows(after: counter - 1) where row.author == author && !row.isAnswered {
            try leaveToOtherCopy(row, reason)
        }
    }

    @discardableResult
    func leaveToOtherCopy(_ row: PendingRow, _ reason: Violation = leftToOtherCopy) throws -> [Int64] {
        try connection.execute("DELETE FROM _tideline_pending WHERE counter = ?1", [.integer(row.counter)])
        guard let sealed = row.sealed else { return [] }
        return [try insertProblem(row, sealed: sealed, [reason], .withdrawn)]
    }

    /// What a copy of this file left to the other one, which has brought it now.
    func settleLeft(_ entries: [ActivityEntry]) throws {
        let others = try Metadata(connection: connection).sharedLanes()
        guard !others.isEmpty else { return }
        for case let dot? in entries.map(\.dot) where others[dot.replica] != nil {
            let problems = try connection.query(
                "SELECT id, sealed FROM _tideline_problem WHERE counter = ?1 AND status = 'withdrawn' AND resolved_at IS NULL",
                [.integer(dot.counter)]
            ) { (id: $0.integer(0), dot: try ChangeSet(sealed: $0.blob(1)).dot) }
            for problem in problems where problem.dot == dot { try resolve(try requireProblem(problem.id), "answered") }
        }
    }
}
