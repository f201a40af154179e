// How long to wait before trying again: doubling, capped, and spread so that many servers do not come back in step.

struct RetryBackoff: Sendable {
    let firstSeconds: Double
    let maximumSeconds: Double
    private var failures = 0

    init(firstSeconds: Double = 0.05, maximumSeconds: Double = 5) {
        self.firstSeconds = firstSeconds
        self.maximumSeconds = maximumSeconds
    }

    /// Between half and all of the current step.
    mutating func nextSeconds() -> Double {
        var generator = SystemRandomNumberGenerator()
        return nextSeconds(using: &generator)
    }

    mutating func nextSeconds(using generator: inout some RandomNumberGenerator) -> Double {
        let step = min(maximumSeconds, firstSeconds * Double(1 << min(failures, 30)))
        failures += 1
        return step * Double.random(in: 0.5...1, using: &generator)
    }

    mutating func reset() { failures = 0 }
}
