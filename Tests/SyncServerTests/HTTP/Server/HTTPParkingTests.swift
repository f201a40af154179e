// Mirrors HTTP/Server/HTTPParking.swift and HTTPQueue.swift.
import Testing

@testable import SyncServer

@Suite struct HTTPParkingTests {
    @Test func parkingTable_givesBackWhatIsParked_once() {
        var table = HTTPParkingTable()
        table.park(1, on: "a")
        table.park(2, on: "a")
        table.park(3, on: "b")
        #expect(table.count == 3)
        table.remove(2, from: "a")
        table.remove(2, from: "a")
        table.remove(9, from: "c")
        #expect(table.count == 2)
        let (first, second, rest) = (table.takeAll(on: "a"), table.takeAll(on: "a"), table.takeAll())
        #expect(first == [1])
        #expect(second == [])
        #expect(rest == [3])
        #expect(table.count == 0)
    }

    @Test func poke_isSeen_whenItComesAfterTheDispatch() {
        var history = HTTPPokeHistory()
        history.poke("a")
        let first = history.beginDispatch()
        #expect(!history.wasPoked("a", since: first))
        history.poke("a")
        let second = history.beginDispatch()
        #expect(history.wasPoked("a", since: first))
        #expect(!history.wasPoked("a", since: second))
        #expect(!history.wasPoked("b", since: first))
        history.pokeAll()
        #expect(history.wasPoked("b", since: second))
    }

    @Test func pokes_areForgotten_whenNoDispatchIsOlder() {
        var history = HTTPPokeHistory()
        let old = history.beginDispatch()
        history.poke("a")
        let young = history.beginDispatch()
        history.poke("b")
        history.poke("a")
        #expect(history.topicCount == 2)
        history.endDispatch(old)
        #expect(history.topicCount == 2)
        #expect(history.wasPoked("a", since: young) && history.wasPoked("b", since: young))
        history.endDispatch(young)
        #expect(history.topicCount == 0)
        for number in 0..<1000 { history.poke("topic \(number)") }
        #expect(history.topicCount == 0)
    }

    @Test func dispatches_mayEndInAnyOrder() {
        var history = HTTPPokeHistory()
        var snapshots: [UInt64] = []
        for number in 0..<100 {
            snapshots.append(history.beginDispatch())
            snapshots.append(history.beginDispatch())
            history.poke("topic \(number)")
        }
        for snapshot in snapshots.dropFirst().reversed() { history.endDispatch(snapshot) }
        #expect(history.topicCount == 100)
        history.endDispatch(snapshots[0])
        #expect(history.topicCount == 0)
    }

    @Test func queue_givesElementsInOrder() {
        var queue = HTTPQueue<Int>()
        var expected = 0
        for number in 0..<1000 {
            queue.append(number)
            if number % 3 != 0 {
                let first = queue.popFirst()
                #expect(first == expected)
                expected += 1
            }
        }
        #expect(queue.count == 1000 - expected)
        while let element = queue.popFirst() {
            #expect(element == expected)
            expected += 1
        }
        #expect(expected == 1000)
        #expect(queue.isEmpty)
    }
}
