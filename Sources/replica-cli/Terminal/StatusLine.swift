// One line that says how a watching replica is doing, redrawn in place while somebody looks; plain lines elsewhere, and only when
// something is wrong.

import Foundation
import Replica

// @unchecked Sendable: everything is touched under the lock.
final class StatusLine: @unchecked Sendable {
    private let lock = NSLock()
    private let terminal: Terminal
    private let isDrawn: Bool
    private var progress: Progress
    private var syncedAt: Int64?
    private var lastReason = ""
    private var isWaiting = false
    /// Why what is pending does not go up, while news comes down.
    private var unsent: String?

    init(_ terminal: Terminal) {
        self.terminal = terminal
        progress = Progress("replica", terminal: terminal)
        isDrawn = progress.isShown
    }

    /// The last thing heard was that there is no connection.
    var isOffline: Bool { lock.withLock { isWaiting } }

    func show(_ state: SyncState) {
        lock.withLock {
            if case .waiting = state { isWaiting = true } else { isWaiting = false }
            switch state {
            case .idle: say(upToDate ?? "connecting")
            case .pushing(let sets):
                unsent = nil
                say("sending \(sets) \(sets == 1 ? "change" : "changes")")
            // A pull that waits for news says nothing new.
            case .pulling(let records):
                say(records > 0 ? "fetched \(records)" : upToDate ?? "fetching")
            case .applying: say("applying")
            case .waiting(let milliseconds, let reason):
                say("no connection, again in \(max(1, milliseconds / 1000)) s; work goes on")
                // Once for each reason: a day without a network is one line.
                note(reason, "trying again, work goes on meanwhile")
            case .refused(let reason):
                unsent = Self.withoutRequest(reason)
                say(upToDate ?? "connected")
                note(reason, "what is pending waits, news keeps coming")
            case .stopped(let reason): say(reason)
            }
        }
    }

    /// - Parameter isSent: false: what is pending was refused.
    func synced(isSent: Bool) {
        lock.withLock {
            syncedAt = Int64(Date().timeIntervalSince1970 * 1000)
            if isSent, unsent == nil { lastReason = "" }
            // What still cannot be sent is said again right behind this.
            if isSent { unsent = nil }
            say(upToDate ?? "")
        }
    }

    private var upToDate: String? {
        syncedAt.map { "up to date, \(FieldText.time($0))" + (unsent.map { "; not sent: \($0)" } ?? "") }
    }

    private func note(_ reason: String, _ consequence: String) {
        let reason = Self.withoutRequest(reason)
        guard !isDrawn, reason != lastReason else { return }
        lastReason = reason
        terminal.note("\(reason); \(consequence)")
    }

    /// Each attempt has a number of its own.
    private static func withoutRequest(_ reason: String) -> String {
        reason.range(of: " (request ").map { String(reason[..<$0.lowerBound]) } ?? reason
    }

    /// Makes room for a line of output.
    func clear() { lock.withLock { progress.finish() } }

    private func say(_ words: String) { progress.say(words) }
}
