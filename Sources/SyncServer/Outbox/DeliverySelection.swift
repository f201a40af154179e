// Which of a consumer's open deliveries may be tried now, without breaking its order. Pure; the store loads, this decides.

import SyncProtocol

struct DeliverySelection: Sendable, Equatable {
    /// An open delivery as far as its order is concerned.
    struct Open: Sendable, Equatable {
        var position: Int64
        var record: Identifier
        /// Not before this time, Unix milliseconds.
        var dueAt: Int64
        /// Somebody else is at it until then; 0: nobody.
        var leasedUntil: Int64
    }

    /// To be tried now, in this order.
    var positions: [Int64]
    /// When there may be more to do, if nothing else happens; nil: nothing is open.
    var nextAt: Int64?

    /// - Parameters:
    ///   - open: All open deliveries (or the first so many), by position.
    ///   - limit: What one may take at most.
    ///   - takers: How many, this one included, may still take some now: each leaves the others their share, or few records
    ///     would all go to the first.
    static func choose(
        _ open: [Open], orderedBy: Consumer.Ordering, nowMilliseconds now: Int64, limit: Int, takers: Int = 1
    ) -> DeliverySelection {
        // The one lane of a tenant is one taker's.
        let takers = orderedBy == .record ? max(1, takers) : 1
        var selection = ready(open, orderedBy: orderedBy, nowMilliseconds: now, limit: limit * takers)
        let share = (selection.positions.count + takers - 1) / takers
        if selection.positions.count > share {
            selection.positions.removeLast(selection.positions.count - share)
            selection.nextAt = now
        }
        return selection
    }

    private static func ready(
        _ open: [Open], orderedBy: Consumer.Ordering, nowMilliseconds now: Int64, limit: Int
    ) -> DeliverySelection {
        var selection = DeliverySelection(positions: [], nextAt: nil)
        /// Records (or, in tenant order, the one lane of all) that something earlier holds up.
        var held: Set<Identifier> = []
        for one in open {
            let lane = orderedBy == .tenant ? Identifier.zero : one.record
            if held.contains(lane) { continue }
            let readyAt = max(one.dueAt, one.leasedUntil)
            if readyAt > now {
                held.insert(lane)
                selection.nextAt = min(selection.nextAt ?? readyAt, readyAt)
                if orderedBy == .tenant { break }
            } else if selection.positions.count < limit {
                selection.positions.append(one.position)
            } else {
                selection.nextAt = now
                break
            }
        }
        return selection
    }
}
