// Server layer: when which connection must be looked at again. Pure.

/// At most one deadline per slot (a descriptor number), in a binary heap. Moving a deadline later, which happens with
/// every request, only notes the wish; the heap is corrected when the old time comes. So it costs one heap operation
/// per time-out period and connection, not one per request.
struct HTTPDeadlineQueue {
    private var heap: [(at: Int64, slot: Int)] = []
    /// Per slot, its index in `heap`, or -1.
    private var places: [Int] = []
    /// Per slot, the deadline that is in force. `Int64.max`: none.
    private var wanted: [Int64] = []

    /// When to look next, in nanoseconds; may be early, never late.
    var earliest: Int64? { heap.first?.at }

    /// Entries in the heap, those no longer in force included. Never more than there are slots.
    var entryCount: Int { heap.count }

    mutating func schedule(_ slot: Int, at deadline: Int64) {
        if slot >= places.count {
            let missing = slot + 1 - places.count
            places += Array(repeating: -1, count: missing)
            wanted += Array(repeating: Int64.max, count: missing)
        }
        wanted[slot] = deadline
        let place = places[slot]
        if place < 0 {
            heap.append((deadline, slot))
            places[slot] = heap.count - 1
            siftUp(from: heap.count - 1)
        } else if deadline < heap[place].at {
            heap[place].at = deadline
            siftUp(from: place)
        }
    }

    mutating func cancel(_ slot: Int) {
        if slot < wanted.count { wanted[slot] = .max }
    }

    /// Takes one slot whose deadline has come.
    mutating func popExpired(now: Int64) -> Int? {
        while let first = heap.first, first.at <= now {
            let deadline = wanted[first.slot]
            if deadline == .max || deadline <= now {
                removeFirst()
                if deadline == .max { continue }
                wanted[first.slot] = .max
                return first.slot
            }
            heap[0].at = deadline
            siftDown(from: 0)
        }
        return nil
    }

    private mutating func removeFirst() {
        places[heap[0].slot] = -1
        let last = heap.removeLast()
        guard !heap.isEmpty else { return }
        heap[0] = last
        places[last.slot] = 0
        siftDown(from: 0)
    }

    private mutating func siftUp(from start: Int) {
        var index = start
        while index > 0 {
            let parent = (index - 1) / 2
            guard heap[index].at < heap[parent].at else { return }
            exchange(index, parent)
            index = parent
        }
    }

    private mutating func siftDown(from start: Int) {
        var index = start
        while true {
            var smallest = index
            for child in [2 * index + 1, 2 * index + 2] where child < heap.count && heap[child].at < heap[smallest].at {
                smallest = child
            }
            guard smallest != index else { return }
            exchange(index, smallest)
            index = smallest
        }
    }

    private mutating func exchange(_ left: Int, _ right: Int) {
        heap.swapAt(left, right)
        places[heap[left].slot] = left
        places[heap[right].slot] = right
    }
}
