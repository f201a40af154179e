// The place where a reader continues: opaque to it, authenticated by the server (protocol §7.3).

import SyncProtocol

struct Cursor: Sendable, Hashable {
    var tenant: Identifier
    var mark: CheckpointMark
    /// Head when the first sync began: tombstones up to here were never held and are not sent.
    var tombstoneFloor: Int64
    /// Of its reader, which decides what was on its pages; nil in a cursor of an earlier format, which did not say.
    var role: Role?
    /// Between pages: head when the page was read. What had moved behind the page by then comes on a later one only as long as the
    /// history reaches that far. nil at a checkpoint, where it is `mark`, and in a cursor of an earlier format.
    var head: CheckpointMark?

    static let formatVersion: Int64 = 4

    /// What has to be in a server's history, or pages of this reader come from another one.
    var marks: [CheckpointMark] { [mark] + (head.map { [$0] } ?? []) }

    /// Throws `resync_required` when its reader was somebody who reads other data.
    func requireRole(_ role: Role) throws(ErrorReply) {
        guard self.role != role else { return }
        throw ErrorReply(
            .resyncRequired, "the role of this member reads other data now; start again without a cursor, keeping what is pending")
    }

    fileprivate var bytes: [UInt8] {
        let backfills = JSONValue.array([])
        return JSONValue.array([
            .integer(Cursor.formatVersion), .string(tenant.text), .integer(mark.position.epoch), .integer(mark.position.position),
            .string(mark.fingerprint), .integer(tombstoneFloor), backfills, role.map { .string($0.rawValue) } ?? .null,
            head?.json ?? .null,
        ]).canonicalBytes()
    }

    fileprivate init?(bytes: ArraySlice<UInt8>) {
        guard let parts = (try? JSONValue(parsing: bytes))?.arrayValue, let format = parts.first?.integerValue,
            format == 1 && parts.count == 7 || (2...3).contains(format) && parts.count == 8
                || format == Cursor.formatVersion && parts.count == 9,
            let tenant = parts[1].stringValue.flatMap({ Identifier($0) }), let epoch = parts[2].integerValue,
            let position = parts[3].integerValue, let fingerprint = parts[4].stringValue, let floor = parts[5].integerValue
        else { return nil }
        self.init(
            tenant: tenant, mark: CheckpointMark(position: FeedPosition(epoch: epoch, position: position), fingerprint: fingerprint),
            tombstoneFloor: floor, role: parts.count > 7 ? parts[7].stringValue.flatMap(Role.init(rawValue:)) : nil,
            head: parts.count > 8 ? CheckpointMark(json: parts[8]) : nil)
    }

    init(tenant: Identifier, mark: CheckpointMark, tombstoneFloor: Int64, role: Role?, head: CheckpointMark? = nil) {
        self.tenant = tenant
        self.mark = mark
        self.tombstoneFloor = tombstoneFloor
        self.role = role
        self.head = head
    }
}

/// Signs and checks cursors with the key that the database keeps.
struct CursorSeal: Sendable {
    private let key: [UInt8]
    private static let codeBytes = 16

    init(key: [UInt8]) { self.key = key }

    /// Reads the key. Throws ``PostgresError``, or ``MigrationError`` when the database was never migrated.
    static func load(from connection: PostgresConnection) throws -> CursorSeal {
        let result = try connection.run("SELECT value FROM tideline.meta WHERE key = 'cursor_key'")
        guard !result.isEmpty, let key = result.text(0, 0).flatMap(Hex.decode), key.count == 32 else {
            throw MigrationError("the database has no cursor key; run sync-server migrate")
        }
        return CursorSeal(key: key)
    }

    func seal(_ cursor: Cursor) -> String { seal(cursor.bytes) }

    /// Any bytes that only this server can have made.
    func seal(_ bytes: [UInt8]) -> String {
        Base64URL.encode(bytes + HMACSHA256.authenticate(bytes, key: key).prefix(CursorSeal.codeBytes))
    }

    /// Throws `invalid_cursor` for anything this server did not make for this tenant.
    func open(_ text: String, tenant: Identifier) throws(ErrorReply) -> Cursor {
        guard text.utf8.count < 1_000, let cursor = Cursor(bytes: try open(text)), cursor.tenant == tenant else { throw invalid }
        return cursor
    }

    /// The bytes that were sealed. Throws `invalid_cursor`.
    func open(_ text: String) throws(ErrorReply) -> ArraySlice<UInt8> {
        guard text.utf8.count < 4_000, let sealed = Base64URL.decode(text), sealed.count > CursorSeal.codeBytes else { throw invalid }
        let bytes = sealed.dropLast(CursorSeal.codeBytes)
        let code = Array(HMACSHA256.authenticate(Array(bytes), key: key).prefix(CursorSeal.codeBytes))
        guard constantTimeEqual(code, Array(sealed.suffix(CursorSeal.codeBytes))) else { throw invalid }
        return bytes
    }

    var invalid: ErrorReply {
        ErrorReply(.invalidCursor, "the cursor was not made by this server for this tenant; start again without one")
    }
}
