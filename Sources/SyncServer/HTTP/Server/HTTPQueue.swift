// Server layer: a first-in, first-out queue.

/// Appends at the end, takes from the front, both in constant time on average.
struct HTTPQueue<Element> {
    private var elements: [Element?] = []
    private var head = 0

    var isEmpty: Bool { head == elements.count }
    var count: Int { elements.count - head }
    var first: Element? { isEmpty ? nil : elements[head] }

    /// Valid until the next `popFirst`.
    var indices: Range<Int> { head..<elements.count }

    subscript(index: Int) -> Element {
        get {
            guard let element = elements[index] else { preconditionFailure("taken from the queue before") }
            return element
        }
        set { elements[index] = newValue }
    }

    mutating func append(_ element: Element) { elements.append(element) }

    mutating func popFirst() -> Element? {
        guard !isEmpty else { return nil }
        let element = elements[head]
        elements[head] = nil
        head += 1
        if isEmpty {
            elements.removeAll(keepingCapacity: elements.capacity <= 1024)
            head = 0
        } else if head >= 64, head * 2 >= elements.count {
            elements.removeFirst(head)
            head = 0
        }
        return element
    }
}
