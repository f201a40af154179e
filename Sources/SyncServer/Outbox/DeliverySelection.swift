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

    /// - Parameter open: All open deliveries (or the first so many), by position.
    static func choose(_ open: [Open], orderedBy: Consumer.Ordering, nowMilliseconds now: Int64, limit: Int) -> DeliverySelection {
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
