// A copied file becomes a replica of its own: sets that the other copy does not have get the new id, all in one transaction.

import SyncProtocol

extension Store {
    /// Moves to the identity of `reply`. Counters go on as they are; sets from `counter` on are sealed anew under the new id, and
    /// their clocks keep a lane for what both copies share. Returns how many sets moved.
    func fork(to reply: EnrollmentReply, at counter: Int64) throws -> Int {
        try connection.immediateTransaction {
            try sealCaptured()
            try step(.fork)
            let meta = Metadata(connection: connection)
            let old = try meta.requireIdentity("fork")
            var lanes = try meta.sharedLanes()
            lanes[old.replica] = counter - 1
            // What both copies share and the server has told to wait is the other copy's to bring: twice would be too often.
            for row in try pendingRows() where row.counter < counter && row.isDeferred { try leaveToOtherCopy(row) }
            let rows = try pendingRows(after: counter - 1)
            for row in rows {
                guard let sealed = row.sealed else {
                    try connection.execute(
                        "UPDATE _tideline_pending SET state = 'pending', outcome = NULL WHERE counter = ?1", [.integer(row.counter)])
                    continue
                }
                var set = try ChangeSet(sealed: sealed)
                set.dot.replica = reply.replica
                for (replica, known) in lanes { set.clock.replicas[replica] = known }
                set.clock.replicas[reply.replica] = row.counter - 1
                let bytes = set.sealedBytes()
                try connection.execute(
                    "UPDATE _tideline_pending SET sealed = ?2, hash = ?3, state = 'pending', outcome = NULL WHERE counter = ?1",
                    [.integer(row.counter), .blob(bytes), .text(ChangeSet.hash(ofSealed: bytes))])
            }
            try connection.execute("UPDATE _tideline_pending SET deferred = 0")
            try meta.set(sharedLanes: lanes)
            try meta.set(.replica, reply.replica.text)
            try meta.set(.token, reply.token)
            try meta.set(.acknowledged, min(counter - 1, try meta.integer(.acknowledged) ?? 0))
            try learn(serverMilliseconds: reply.serverMilliseconds)
            try replay()
            return rows.count { $0.sealed != nil }
        }
    }
}
