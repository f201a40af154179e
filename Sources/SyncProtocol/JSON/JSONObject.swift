// The members of a JSON object, always sorted by the UTF-8 bytes of their keys: equality, hashing and canonical output
// need no further work, and look-up is a binary search.

public struct JSONObject: Sendable {
    struct Member: Sendable {
        var key: String
        var value: JSONValue
    }

    private var members: [Member]

    public init() { members = [] }

    /// When a key comes twice the last value wins.
    public init(_ pairs: some Sequence<(String, JSONValue)>) {
        members = []
        members.reserveCapacity(pairs.underestimatedCount)
        var isSorted = true
        for (key, value) in pairs {
            if isSorted, let last = members.last, ByteOrder.compare(last.key, key) >= 0 { isSorted = false }
            members.append(Member(key: key, value: value))
        }
        if !isSorted { sortKeepingLast() }
    }

    /// The same for a literal, whose element type cannot be inferred through a sequence.
    public init(_ pairs: [(String, JSONValue)]) { self.init(pairs[...]) }

    init(sortedMembers: [Member]) { members = sortedMembers }

    public var isEmpty: Bool { members.isEmpty }
    public var count: Int { members.count }
    /// In byte order.
    public var keys: [String] { members.map(\.key) }
    /// In the order of `keys`.
    public var values: [JSONValue] { members.map(\.value) }

    /// Setting `nil` removes the member; a JSON null is `.null`.
    public subscript(key: String) -> JSONValue? {
        get {
            let (index, isFound) = find(key)
            // Not `isFound ? … : nil`: there the literal would be a JSON null.
            guard isFound else { return Optional.none }
            return members[index].value
        }
        set {
            let (index, isFound) = find(key)
            switch (isFound, newValue) {
            case (true, let value?): members[index].value = value
            case (true, nil): members.remove(at: index)
            case (false, let value?): members.insert(Member(key: key, value: value), at: index)
            case (false, nil): break
            }
        }
    }

    // MARK: Private

    private func find(_ key: String) -> (index: Int, isFound: Bool) {
        var low = 0
        var high = members.count
        while low < high {
            let middle = (low + high) / 2
            let order = ByteOrder.compare(members[middle].key, key)
            if order == 0 { return (middle, true) }
            if order < 0 { low = middle + 1 } else { high = middle }
        }
        return (low, false)
    }

    private mutating func sortKeepingLast() {
        let order = members.indices.sorted { left, right in
            let order = ByteOrder.compare(members[left].key, members[right].key)
            return order == 0 ? left < right : order < 0
        }
        var unique: [Member] = []
        unique.reserveCapacity(members.count)
        for index in order {
            if let last = unique.last, ByteOrder.areEqual(last.key, members[index].key) { unique.removeLast() }
            unique.append(members[index])
        }
        members = unique
    }
}

extension JSONObject: Sequence {
    public struct Iterator: IteratorProtocol {
        fileprivate var base: IndexingIterator<[Member]>

        public mutating func next() -> (key: String, value: JSONValue)? {
            base.next().map { ($0.key, $0.value) }
        }
    }

    public func makeIterator() -> Iterator { Iterator(base: members.makeIterator()) }
    public var underestimatedCount: Int { members.count }
}

extension JSONObject: Hashable {
    public static func == (left: JSONObject, right: JSONObject) -> Bool {
        left.members.count == right.members.count
            && zip(left.members, right.members).allSatisfy { ByteOrder.areEqual($0.key, $1.key) && $0.value == $1.value }
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(members.count)
        for member in members {
            ByteOrder.hash(member.key, into: &hasher)
            hasher.combine(member.value)
        }
    }
}

extension JSONObject: ExpressibleByDictionaryLiteral {
    public init(dictionaryLiteral elements: (String, JSONValue)...) { self.init(elements) }
}
