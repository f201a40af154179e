// Sets that the model has decided under another id (protocol §4.1).

import SyncProtocol

/// What makes several sets one: who wrote it, and what was sealed first.
struct SameSet: Hashable, Sendable {
    var member: Identifier
    var hash: String
    var counter: Int64

    init(_ set: ChangeSet, _ hash: String, _ member: Identifier) {
        (self.member, self.hash, counter) = (member, set.origin?.hash ?? hash, set.dot.counter)
    }
}

extension ModelServer {
    /// The answer that the same set got under another dot.
    func sameSet(_ set: ChangeSet, _ hash: String, _ member: Identifier) -> Outcome? {
        guard fault != .forgetsOrigins, let first = firstDot(set, hash, member), first != set.dot,
            let bytes = state.outcomes[first.replica]?[first.counter]?.bytes,
            var outcome = (try? JSONValue(parsing: bytes)).flatMap(Outcome.init(json:)), outcome.status != .withdrawn
        else { return nil }
        outcome.duplicateOf = first
        return outcome
    }

    private func firstDot(_ set: ChangeSet, _ hash: String, _ member: Identifier) -> Dot? {
        if let first = state.firstDots[SameSet(set, hash, member)] { return first }
        // What was sealed first is kept by its own dot, of which others may hold something else.
        guard let origin = set.origin, members[origin.replica] == member,
            state.outcomes[origin.replica]?[set.dot.counter]?.hash == origin.hash
        else { return nil }
        return Dot(replica: origin.replica, counter: set.dot.counter)
    }

    func noteFirst(_ set: ChangeSet, _ hash: String, _ member: Identifier, _ outcome: Outcome) {
        guard set.origin != nil || outcome.duplicateOf != nil else { return }
        state.firstDots[SameSet(set, hash, member)] = outcome.duplicateOf ?? set.dot
        state.twins[set.dot] = outcome.duplicateOf
    }

    /// Under which dots sets that a clock has seen were decided.
    func twins(of clock: VectorClock) -> Set<Dot> {
        Set(state.twins.filter { clock.replicas[$0.key.replica] ?? 0 >= $0.key.counter }.values)
    }
}
