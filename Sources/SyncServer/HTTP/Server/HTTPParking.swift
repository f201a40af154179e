// Server layer: requests that wait for a topic, and the pokes they might have missed on the way there. Pure.

/// Which slots are parked on which topic. Every operation costs the same however many are parked.
struct HTTPParkingTable {
    private var slotsByTopic: [String: Set<Int>] = [:]
    private(set) var count = 0

    mutating func park(_ slot: Int, on topic: String) {
        if slotsByTopic[topic, default: []].insert(slot).inserted { count += 1 }
    }

    mutating func remove(_ slot: Int, from topic: String) {
        guard slotsByTopic[topic]?.remove(slot) != nil else { return }
        count -= 1
        if slotsByTopic[topic]?.isEmpty == true { slotsByTopic[topic] = nil }
    }

    mutating func takeAll(on topic: String) -> Set<Int> {
        guard let slots = slotsByTopic.removeValue(forKey: topic) else { return [] }
        count -= slots.count
        return slots
    }

    mutating func takeAll() -> [Int] {
        let slots = slotsByTopic.values.flatMap { $0 }
        slotsByTopic = [:]
        count = 0
        return slots
    }
}

/// Closes the race between a worker that decides to park and a poke that comes before the request is parked. Every
/// dispatch notes how many pokes there had been (its *snapshot*); a request may only stay parked if its topic was not
/// poked since. Pokes older than every dispatch still out are forgotten, so memory is bounded by what happens
/// meanwhile.
struct HTTPPokeHistory {
    private var pokeCount: UInt64 = 0
    private var lastPokeOfTopic: [String: UInt64] = [:]
    private var lastPokeOfAll: UInt64 = 0
    private var order = HTTPQueue<(number: UInt64, topic: String)>()
    /// Dispatches still out, by snapshot. Snapshots only grow, so this is sorted.
    private var outstanding = HTTPQueue<(snapshot: UInt64, count: Int)>()

    /// Topics remembered now.
    var topicCount: Int { lastPokeOfTopic.count }

    /// A request is dispatched. Give the snapshot back to `endDispatch`.
    mutating func beginDispatch() -> UInt64 {
        if let last = outstanding.indices.last, outstanding[last].snapshot == pokeCount {
            outstanding[last].count += 1
        } else {
            outstanding.append((pokeCount, 1))
        }
        return pokeCount
    }

    mutating func endDispatch(_ snapshot: UInt64) {
        var low = outstanding.indices.lowerBound
        var high = outstanding.indices.upperBound
        while low < high {
            let middle = (low + high) / 2
            if outstanding[middle].snapshot < snapshot { low = middle + 1 } else { high = middle }
        }
        precondition(low < outstanding.indices.upperBound && outstanding[low].snapshot == snapshot, "not dispatched")
        outstanding[low].count -= 1
        while let first = outstanding.first, first.count == 0 { _ = outstanding.popFirst() }
        forgetOldPokes()
    }

    mutating func poke(_ topic: String) {
        pokeCount += 1
        // With nothing dispatched there is nobody who could miss it.
        guard !outstanding.isEmpty else { return }
        lastPokeOfTopic[topic] = pokeCount
        order.append((pokeCount, topic))
    }

    mutating func pokeAll() {
        pokeCount += 1
        lastPokeOfAll = pokeCount
    }

    func wasPoked(_ topic: String, since snapshot: UInt64) -> Bool {
        lastPokeOfAll > snapshot || (lastPokeOfTopic[topic] ?? 0) > snapshot
    }

    private mutating func forgetOldPokes() {
        let oldest = outstanding.first?.snapshot ?? .max
        while let first = order.first, first.number <= oldest {
            _ = order.popFirst()
            if lastPokeOfTopic[first.topic] == first.number { lastPokeOfTopic[first.topic] = nil }
        }
    }
}
