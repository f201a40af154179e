import Testing

@testable import SyncServer

@Suite struct RetryBackoffTests {
    @Test func nextSeconds_doublesUpToTheMaximum_withinItsSpread() {
        var backoff = RetryBackoff(firstSeconds: 0.1, maximumSeconds: 1)
        for step in [0.1, 0.2, 0.4, 0.8, 1, 1] {
            let seconds = backoff.nextSeconds()
            #expect(seconds >= step / 2 && seconds <= step)
        }
        for _ in 0..<100 { #expect(backoff.nextSeconds() <= 1) }
        backoff.reset()
        #expect(backoff.nextSeconds() <= 0.1)
    }
}
