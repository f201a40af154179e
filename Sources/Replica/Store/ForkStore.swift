// A file gets another replica id: because it is a copy, or because it enrolled again. All in one transaction.

import SyncProtocol

extension Store {
    /// Moves to the identity of `reply`, because another copy of the file has used `counter` for something else. Returns how many sets
    /// moved.
    func fork(to reply: EnrollmentReply, at counter: Int64) throws -> Int {
        try sealedTransaction {
            try step(.fork)
            return try move(to: reply, at: counter)
        }
    }

    /// The hash of the first set that a fork at `counter` seals anew, with what tools have written. nil: there is none.
    func firstToMove(from counter: Int64) throws -> String? {
        try sealIfCaptured()
        return try connection.scalarText(
            "SELECT hash FROM _tideline_pending WHERE counter >= ?1 AND sealed IS NOT NULL ORDER BY counter LIMIT 1", [.integer(counter)])
    }

    /// The file enrolled again. Under its old id it goes on as it was; under a new one, whose next counter is the one behind
    /// `counter`, everything sealed so far stays its former self's.
    func enrolAgain(as reply: EnrollmentReply, behind counter: Int64) throws {
        let meta = Metadata(connection: connection)
        let old = try meta.requireIdentity("enroll")
        guard reply.replica != old.replica else {
            try meta.set(reply)
            return try learn(serverMilliseconds: reply.serverMilliseconds)
        }
        _ = try move(to: reply, at: counter + 1)
        try meta.set(.unoffered, counter)
    }

    /// Counters go on as they are; sets from `counter` on are sealed anew under the new id, and their clocks keep a lane for what is
    /// shared with the old one. Of what is shared, sets without an answer go out in their author's name.
    private func move(to reply: EnrollmentReply, at counter: Int64) throws -> Int {
        let meta = Metadata(connection: connection)
        let old = try meta.requireIdentity("fork")
        var (lanes, identities) = (try meta.sharedLanes(), try meta.formerIdentities())
        // An id under which nothing of what is shared was sealed has no lane in it.
        if counter - 1 > lanes.values.max() ?? -1 {
            lanes[old.replica] = counter - 1
            identities[old.replica] = try meta.text(.identity)
        }
        // Nor has one whose sets begin behind what is shared now.
        let shared = lanes.values
        lanes = lanes.filter { lane in !shared.contains { $0 < lane.value && $0 >= counter - 1 } }.mapValues { min($0, counter - 1) }
        let rows = try pendingRows()
        for row in rows where row.counter < counter && row.author == nil {
            if row.outcome == nil, identities[old.replica] == nil {
                try leaveToOtherCopy(row)
            } else {
                try connection.execute(
                    """
                    UPDATE _tideline_pending SET author = ?2, deferred = CASE WHEN outcome IS NULL THEN 1 ELSE 0 END, \
                    state = CASE WHEN outcome IS NULL THEN 'pending' ELSE state END WHERE counter = ?1
                    """, [.integer(row.counter), .text(old.replica.text)])
            }
        }
        var moved = 0
        for row in rows where row.counter >= counter {
            guard let sealed = row.sealed else {
                try connection.execute(
                    "UPDATE _tideline_pending SET state = 'pending', outcome = NULL, deferred = 0, author = NULL WHERE counter = ?1",
                    [.integer(row.counter)])
                continue
            }
            var set = try ChangeSet(sealed: sealed).resealed(by: reply.replica, hash: row.hash)
            for (replica, known) in lanes { set.clock.replicas[replica] = known }
            set.clock.replicas[reply.replica] = row.counter - 1
            let bytes = set.sealedBytes()
            try connection.execute(
                """
                UPDATE _tideline_pending SET sealed = ?2, hash = ?3, state = 'pending', outcome = NULL, deferred = 0, author = NULL \
                WHERE counter = ?1
                """, [.integer(row.counter), .blob(bytes), .text(ChangeSet.hash(ofSealed: bytes))])
            moved += 1
        }
        try meta.set(sharedLanes: lanes)
        try meta.set(formerIdentities: identities)
        try meta.set(reply)
        try meta.set(.acknowledged, min(counter - 1, try meta.integer(.acknowledged) ?? 0))
        try learn(serverMilliseconds: reply.serverMilliseconds)
        try replay()
        return moved
    }
}
