// One line of the log: JSON for machines, without tokens, codes or field values.

import Foundation
import SyncProtocol

struct LogEntry: Sendable {
    enum Level: String, Sendable { case info, warning, error }

    var level: Level
    /// Names the event, e.g. `request`, `push_refused_by_database`.
    var message: String
    var requestID: String?
    var details: JSONObject

    init(_ level: Level, _ message: String, requestID: String? = nil, _ details: JSONObject = JSONObject()) {
        self.level = level
        self.message = message
        self.requestID = requestID
        self.details = details
    }

    func line(atMilliseconds milliseconds: Int64) -> [UInt8] {
        var writer = JSONWriter(reservingCapacity: 256)
        writer.beginObject()
        writer.key("time")
        writer.string(Instant.iso(fromMilliseconds: milliseconds))
        writer.key("level")
        writer.string(level.rawValue)
        writer.key("message")
        writer.string(message)
        if let requestID {
            writer.key("request_id")
            writer.string(requestID)
        }
        for (name, value) in details {
            writer.key(name)
            writer.value(value)
        }
        writer.endObject()
        return writer.bytes + [0x0A]
    }
}

/// Writes entries to standard error, one line at a time. Never fails: a log that is gone must not stop the server.
struct Log: Sendable {
    static let standardError: @Sendable (LogEntry) -> Void = { entry in
        let line = entry.line(atMilliseconds: WallClock.milliseconds())
        // One write a line, so that lines of several threads do not mix.
        line.withUnsafeBytes { _ = write(2, $0.baseAddress, $0.count) }
    }
}

enum WallClock {
    /// Milliseconds since 1970 UTC.
    static func milliseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }
}
