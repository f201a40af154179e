// Entity tags: a place in the feed, `"epoch.position"`. A record matches while nothing has changed it since; and what its
// reader had seen up to there is what an edit under this tag knows (RFC 9110 §13.1). Who is not shown restricted fields gets
// `"epoch.position.open"`: when such a reader's role has been raised, the tag still says nothing about those.

import SyncProtocol

enum EntityTag {
    /// A place that somebody has seen, and whether with restricted fields.
    struct Place: Hashable, Sendable {
        var position: FeedPosition
        var hidesRestricted: Bool

        /// The tag without its quotes.
        var text: String { "\(position.epoch).\(position.position)" + (hidesRestricted ? ".\(EntityTag.openWord)" : "") }
    }

    private static let openWord = "open"

    static func text(_ position: FeedPosition, for reader: ReaderAccess) -> String { "\"\(place(position, for: reader))\"" }

    static func place(_ position: FeedPosition, for reader: ReaderAccess) -> String {
        Place(position: position, hidesRestricted: reader.hidesRestricted).text
    }

    /// What a conditional header asks for.
    enum Condition: Hashable, Sendable {
        /// `*`: there is such a record.
        case any
        /// One of these places; what cannot be a place of this server is left out, and matches nothing.
        case places([Place])
    }

    static let tagsMax = 20

    /// Of `If-Match` or `If-None-Match`. Throws `bad_request` for what RFC 9110 does not allow there.
    static func condition(_ values: [String], header: String) throws(ErrorReply) -> Condition? {
        guard !values.isEmpty else { return nil }
        let malformed = ErrorReply(
            .badRequest, "\(header) is an entity tag as the server gave it, for example \"0.41\" with its quotes",
            details: ["header": .string(header)])
        let text = trimmed(values.joined(separator: ","))
        if text == "*" { return .any }
        guard let tags = tags(text), tags.count <= tagsMax else { throw malformed }
        var places: [Place] = []
        // Weak tags never match strongly.
        for tag in tags where !tag.isWeak {
            let parts = tag.text.split(separator: ".", omittingEmptySubsequences: false)
            let isOpen = parts.count == 3 && parts[2] == openWord
            guard parts.count == 2 || isOpen, let epoch = number(parts[0]), let position = number(parts[1]) else { continue }
            places.append(Place(position: FeedPosition(epoch: epoch, position: position), hidesRestricted: isOpen))
        }
        return .places(places)
    }

    /// A list of tags taken apart (RFC 9110 §8.8.3): what stands between quotes may hold commas, and holds visible ASCII only. Empty
    /// elements are passed over (§5.6.1). nil if it is no such list.
    private static func tags(_ text: String) -> [(isWeak: Bool, text: Substring)]? {
        var tags: [(isWeak: Bool, text: Substring)] = []
        var rest = text[...]
        while true {
            rest = rest.drop { $0 == " " || $0 == "\t" || $0 == "," }
            guard !rest.isEmpty else { return tags }
            let isWeak = rest.hasPrefix("W/")
            if isWeak { rest = rest.dropFirst(2) }
            guard rest.first == "\"" else { return nil }
            rest = rest.dropFirst()
            guard let end = rest.firstIndex(of: "\"") else { return nil }
            guard rest[..<end].utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
            tags.append((isWeak, rest[..<end]))
            rest = rest[rest.index(after: end)...].drop { $0 == " " || $0 == "\t" }
            guard rest.isEmpty || rest.first == "," else { return nil }
        }
    }

    private static func trimmed(_ text: String) -> String {
        var text = text[...]
        while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return String(text)
    }

    private static func number(_ text: Substring) -> Int64? {
        guard !text.isEmpty, text.utf8.count <= 19, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
        return Int64(text)
    }

    /// The latest place since which nothing has changed the record, if one of those asked for is such; nil if none is.
    /// - Parameters:
    ///   - position: Of the record's last change.
    ///   - head: With `*` everything up to here counts as seen.
    static func match(_ condition: Condition, position: Int64, head: FeedPosition) -> Place? {
        switch condition {
        case .any: Place(position: head, hidesRestricted: false)
        case .places(let places):
            // A place of another epoch says nothing about this history.
            places.filter { $0.position.epoch == head.epoch && $0.position <= head && $0.position.position >= position }
                .max { ($0.position, $0.hidesRestricted ? 0 : 1) < ($1.position, $1.hidesRestricted ? 0 : 1) }
        }
    }

    /// True when what such a reader had got under one of the tags is what it would get now.
    static func isUnchanged(_ condition: Condition, position: Int64, head: FeedPosition, for reader: ReaderAccess) -> Bool {
        switch condition {
        case .any: true
        case .places(let places):
            match(.places(places.filter { $0.hidesRestricted == reader.hidesRestricted }), position: position, head: head) != nil
        }
    }
}
