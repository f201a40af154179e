// Ids of what the server creates itself: one rising sequence for all threads of the process.

import Foundation
import SyncProtocol

/// @unchecked Sendable: the generator is only touched under the lock.
final class IdentifierSource: @unchecked Sendable {
    private let lock = NSLock()
    private var generator: IdentifierGenerator

    init(random: @escaping @Sendable () -> UInt64 = { UInt64.random(in: 0 ... .max) }) { generator = IdentifierGenerator(random: random) }

    func next(milliseconds: Int64) -> Identifier { lock.withLock { generator.next(milliseconds: milliseconds) } }
}
