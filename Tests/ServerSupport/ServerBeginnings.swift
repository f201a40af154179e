// What both stores begin with, so that the same history leads to the same bytes.

import SyncProtocol

public enum ServerBeginnings {
    static func tenant(_ id: Identifier) -> Change {
        Change("tenant", id, .create(fields: ["name": "Model", "base_currency": "USD", "timezone": "UTC"]))
    }

    public static func member(_ id: Identifier, _ name: String, _ role: Role) -> Change {
        let box = name.lowercased().filter { $0.isASCII && ($0.isLetter || $0.isNumber) }
        return Change(
            "member", id,
            .create(fields: [
                "name": .string(name), "email": .string("\(box)@example.com"), "role": .string(role.rawValue),
            ]))
    }

    /// Stands for a record that was put in place undecided. Nobody reads it.
    static func loaded(_ record: RecordState, at position: FeedPosition, nowMilliseconds: Int64) -> FeedEntry {
        FeedEntry(
            position: position, atMilliseconds: nowMilliseconds, author: .system, dot: nil, key: record.key, operation: .derived,
            kind: "sync.loaded", category: "sync", isMajor: false, changes: JSONObject(), restrictedChanges: JSONObject(), anchors: [],
            scopeKeys: [], cause: nil, depth: 0, operationMilliseconds: nowMilliseconds)
    }
}
