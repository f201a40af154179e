// What tests take from the environment.

import Foundation

func environmentSeed() -> UInt64? { ProcessInfo.processInfo.environment["TIDELINE_SEED"].flatMap(UInt64.init) }
