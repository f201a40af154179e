// Randomness that replays: a property test prints its seed, and the seed alone repeats the run.

/// SplitMix64.
public struct SeededRandom: RandomNumberGenerator, Sendable {
    public let seed: UInt64
    private var state: UInt64

    public init(seed: UInt64) {
        self.seed = seed
        state = seed
    }

    /// A fresh seed, or the one in `TIDELINE_SEED` to repeat a failure.
    public static func fresh() -> SeededRandom {
        let given = environmentSeed()
        return SeededRandom(seed: given ?? UInt64.random(in: 1...UInt64.max))
    }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
