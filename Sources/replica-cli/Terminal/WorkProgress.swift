// A bar for work that a command did not ask for by name and that takes a while: taking up what tools have written, comparing.

import Foundation
import Replica

// @unchecked Sendable: the bar is only touched under the lock.
final class WorkProgress: @unchecked Sendable {
    private let lock = NSLock()
    private let terminal: Terminal
    private var bar: Progress?

    init(_ terminal: Terminal) { self.terminal = terminal }

    func update(_ progress: ReplicaProgress) {
        lock.withLock {
            if progress.done >= progress.total {
                bar?.finish()
                bar = nil
                return
            }
            var bar = bar ?? Progress(Self.title(progress.work), terminal: terminal)
            bar.update(progress.done, of: progress.total)
            self.bar = bar
        }
    }

    /// In front of an answer, however the work ended.
    func clear() {
        lock.withLock {
            bar?.finish()
            bar = nil
        }
    }

    private static func title(_ work: ReplicaProgress.Work) -> String {
        switch work {
        case .sealing: "taking up edits by SQL"
        case .comparing: "reading every record"
        }
    }
}
