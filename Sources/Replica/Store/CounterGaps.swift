// Counters that the server misses and that nothing pending stands for: they are offered, or markers in their place.

import SyncProtocol

extension Store {
    /// The server was restored to a backup as far as this file's checkpoint (sets that change nothing leave no entry), or another copy
    /// of this file has pushed in the new epoch, so that no counter may be passed over any more.
    func fillGap(from counter: Int64) throws {
        let meta = Metadata(connection: connection)
        let own = try meta.requireIdentity("push").replica
        let last = try connection.scalarInteger("SELECT max(counter) FROM _tideline_pending") ?? 0
        // Only a restore takes answered sets from the server; what this file knows nothing of is not papered over without one.
        let mayBeUnknown = try meta.checkpoint()?.position.epoch ?? 0 > 0
        var held = HeldSets(self)
        for spent in counter..<max(last, counter) {
            if try offerAgain(spent, held.at(spent), own: own) != nil { continue }
            guard mayBeUnknown else { return }
            try offerUnknown(spent)
        }
    }
}
