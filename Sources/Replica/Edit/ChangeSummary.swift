// One line about a set, for the list of what is pending.

import SyncProtocol

enum ChangeSummary {
    static func text(of changes: [Change], title: (RecordKey) -> String?) -> String {
        guard let first = changes.first else { return "" }
        let more = changes.count > 1 ? " and \(changes.count - 1) more" : ""
        // Ids of one hour begin alike; their ends differ, and are what lists show.
        let name = title(first.key) ?? String(first.key.id.text.suffix(12))
        let what =
            switch first.operation {
            case .create: "create \(first.key.entity) \(name)"
            case .patch(let fields, _): "change \(first.key.entity) \(name): \(fields.keys.joined(separator: ", "))"
            case .transition(let transition, _, _): "\(transition) \(first.key.entity) \(name)"
            case .delete: "delete \(first.key.entity) \(name)"
            case .restore: "restore \(first.key.entity) \(name)"
            }
        return what + more
    }
}
