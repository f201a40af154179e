// What libFuzzer drives: one function that reads bytes as some part of the product does, and traps where two ways of reading them
// differ. Which one is said by FUZZ_TARGET. Built by `fuzz/run` only; SwiftPM does not know this folder.

import Dispatch
import Foundation

@testable import Replica
@testable import SyncProtocol
@testable import SyncServer

private let targets: [String: @Sendable ([UInt8]) -> Void] = [
    "request": request, "json": json, "push": push, "page": page, "cursor": cursor, "query": query, "reply": reply, "answer": answer,
    "csv": csv, "words": words,
]

private let target: @Sendable ([UInt8]) -> Void = {
    let name = ProcessInfo.processInfo.environment["FUZZ_TARGET"] ?? ""
    guard let target = targets[name] else { fatalError("FUZZ_TARGET is one of \(targets.keys.sorted().joined(separator: ", "))") }
    return target
}()

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    target(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}

// MARK: HTTP

private func readRequests(_ bytes: [UInt8], piece: Int) -> [String] {
    var limits = HTTPMessageLimits()
    (limits.headerBytes, limits.bodyBytes, limits.requestLineBytes, limits.headerCount) = (2_000, 2_000, 500, 20)
    var parser = HTTPRequestParser(limits: limits)
    var found: [String] = []
    var start = 0
    while start < bytes.count {
        let end = min(bytes.count, start + piece)
        parser.append(bytes[start..<end])
        start = end
        stepping: while true {
            switch parser.next() {
            case .needMore: break stepping
            case .request(let one):
                precondition(one.body.count <= limits.bodyBytes && one.headers.count <= limits.headerCount && one.headers.isWellFormed)
                precondition(!one.path.utf8.contains(0) && one.byteCount > 0)
                found.append("\(one.method) \(one.target) \(one.headers.fields) \(one.body) \(one.byteCount) \(one.keepsConnection)")
            case .refusal(let refusal):
                precondition((400...599).contains(refusal.status))
                return found + ["\(refusal.status) \(refusal.code)"]
            }
        }
        // What is parsed already may still be in the buffer.
        precondition(parser.heldBytes <= 2 * bytes.count)
    }
    return found + ["\(parser.progress)"]
}

private func request(_ bytes: [UInt8]) {
    let whole = readRequests(bytes, piece: .max)
    precondition(readRequests(bytes, piece: 1) == whole && readRequests(bytes, piece: 7) == whole, "packets decide what is read")
}

private func readReply(_ bytes: [UInt8], piece: Int) -> String {
    var start = 0
    var reader = HTTPReplyReader(headDeadline: .distantFuture) { buffer in
        guard start < bytes.count else { return .end }
        let end = min(bytes.count, start + piece)
        buffer.append(contentsOf: bytes[start..<end])
        start = end
        return .more
    }
    do {
        let reply = try reader.read()
        precondition((100...599).contains(reply.status) && reply.body.count <= bytes.count)
        return "\(reply.status) \(reply.body)"
    } catch { return "\(type(of: error))" }
}

private func reply(_ bytes: [UInt8]) {
    precondition(readReply(bytes, piece: 1 << 20) == readReply(bytes, piece: 3), "packets decide what is read")
}

private func answer(_ bytes: [UInt8]) {
    var buffer = bytes
    guard let head = try? AnswerHead(taking: &buffer) else { return }
    precondition((100...599).contains(head.status) && (head.contentLength ?? 0) >= 0 && buffer.count < bytes.count)
}

// MARK: JSON and what is made of it

private func json(_ bytes: [UInt8]) {
    let tree = Result { try JSONValue(parsing: bytes) }
    let skipped = Result { try JSONReader.read(bytes) { try $0.skipValue() } }
    switch (tree, skipped) {
    case (.success(let value), .success):
        let written = value.canonicalBytes()
        guard let again = try? JSONValue(parsing: written) else { preconditionFailure("what was written cannot be read") }
        precondition(again == value && again.canonicalBytes() == written)
    case (.failure(let one), .failure(let other)): precondition(one as? JSONError == other as? JSONError)
    default: preconditionFailure("reading and skipping differ")
    }
}

private func push(_ bytes: [UInt8]) {
    if let received = try? PushRequest.receive(bytes) {
        for set in received.sets { precondition(set.dot.counter > 0) }
    }
    if let set = try? ChangeSet(sealed: bytes) {
        let sealed = set.sealedBytes()
        guard let again = try? ChangeSet(sealed: sealed) else { preconditionFailure("what was sealed cannot be read") }
        precondition(again.sealedBytes() == sealed)
    }
}

private func page(_ bytes: [UInt8]) {
    _ = try? PullPage(parsing: bytes)
    _ = try? PushReply(parsing: bytes)
    if let value = try? JSONValue(parsing: bytes) {
        _ = Outcome(json: value)
        _ = ErrorReply(json: value)
        _ = try? EnrollmentRequest(json: value)
        _ = try? EnrollmentReply(json: value)
        _ = try? ForkRequest(json: value)
        _ = VectorClock(json: value)
        _ = try? Consumer.received(value, schema: .tideline)
    }
}

// MARK: What travels in targets and headers

private let seal = CursorSeal(key: [UInt8](repeating: 1, count: 32))
private let tenant = Identifier(high: 1, low: 2)

/// The content behind the code, which only the server can have made, and any text in the cursor's place.
private func cursor(_ bytes: [UInt8]) {
    let sealed = seal.seal(bytes)
    if let opened = try? seal.open(sealed, tenant: tenant) { precondition(opened.tenant == tenant) }
    _ = try? ListPlace(sealed, seal, tenant: tenant, fingerprint: "0")
    let text = String(decoding: bytes, as: UTF8.self)
    precondition((try? seal.open(text)) == nil, "a cursor that was not sealed")
    if let token = AccessToken(authorization: text) { precondition(token.text.utf8.count == 80) }
    if let code = EnrollmentCode(text) { precondition(EnrollmentCode(code.text)?.hash == code.hash) }
    _ = try? EntityTag.condition([text], header: "If-Match")
    _ = NetworkRange(text)
    _ = try? WebhookURL(checking: text)
}

private func query(_ bytes: [UInt8]) {
    let parsed = bytes.withUnsafeBufferPointer { try? HTTPRequestTarget(Slice(base: $0, bounds: $0.indices), method: "GET") }
    guard let parsed else { return }
    for entity in Schema.tideline.entities where entity.isServed {
        guard let list = try? ListRequest(parsed.query, entity: entity, hiding: { _ in false }) else { continue }
        precondition(list.limit <= ListRequest.limitMax && list.filters.count <= ListRequest.filtersMax)
        _ = list.fingerprint(of: entity)
    }
    _ = try? TimelineRequest(parsed.query, schema: .tideline)
    _ = try? PullRequest(query: parsed.query)
    _ = try? DigestRequest(query: parsed.query)
    _ = try? RecordsRequest(query: parsed.query)
    _ = try? ActivityRequest(query: parsed.query)
    _ = RestTarget(parsed.pathSegments)
    _ = ConsumerRequests.Target(parsed.pathSegments)
}

// MARK: What people type and import

private func csv(_ bytes: [UInt8]) {
    var reader = CSVReader(bytes)
    var records: [[String]] = []
    do {
        while let record = try reader.next() { records.append(record.fields) }
    } catch { return }
    // A lone empty field is written as an empty line, which is no record.
    let written = records.filter { $0 != [""] }
    // Behind a first line, because a mark of byte order is one at the very beginning only.
    var again = CSVReader(Array(("first\n" + written.map { CSVWriter.line($0) + "\n" }.joined()).utf8))
    _ = try? again.next()
    for record in written {
        guard let found = try? again.next() else { preconditionFailure("a record is lost") }
        precondition(found.fields.map { Array($0.utf8) } == record.map { Array($0.utf8) })
    }
}

/// Normalising a value twice changes nothing more, for every type there is.
private func words(_ bytes: [UInt8]) {
    let text = String(decoding: bytes, as: UTF8.self)
    for type in types {
        guard let value = try? type.normalized(.string(text)) else { continue }
        guard let again = try? type.normalized(value) else { preconditionFailure("\(type) refuses its own form") }
        precondition(again == value, "\(type) has two forms of one value")
    }
    if let id = Identifier(text) { precondition(Identifier(id.text) == id) }
    if let number = Decimals.parse(text, scale: 2) { precondition(Decimals.parse(Decimals.format(number, scale: 2), scale: 2) == number) }
    _ = EntityTable.searchQuery(text)
}

private let types: [FieldType] = {
    var seen: [FieldType] = []
    for field in Schema.tideline.entities.flatMap(\.fields) where !seen.contains(field.type) { seen.append(field.type) }
    return seen
}()
