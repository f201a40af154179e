// A schema only for tests: every type, policy and mechanism that the product's domains do not exercise yet.

import SyncProtocol

extension Domain {
    /// Parts with stock counters, movements with an effect, documents that lock with their lines, notes about anything.
    public static let workshop = Domain(
        "workshop",
        entities: [
            EntitySchema(
                "part", category: "stock", access: .manage, scopes: [.tenant], titleField: "sku",
                fields: [
                    .slug("sku", 40).required.writeOnce.unique,
                    .text("name", 100).required,
                    .counter("on_hand_milli"),
                    .quantity("reorder_milli", 0...1_000_000).defaulting(0),
                    .basisPoints("margin_bp"),
                    .json("detail").guarded,
                    .hex64("checksum"),
                    .set("colours", of: .choice(["red", "green", "blue"]), 0...3).guarded,
                ]),
            EntitySchema(
                "movement", category: "stock", access: .log, scopes: [.full], titleField: "kind",
                fields: [
                    .reference("part", "part").required.writeOnce.indexed,
                    .choice("kind", ["receive", "use"]).required.writeOnce,
                    .quantity("quantity_milli", -1_000_000...1_000_000).required.writeOnce,
                ]),
            EntitySchema(
                "document", category: "money", access: .money, scopes: [.full], openStates: ["draft"], isMajor: true, titleField: "title",
                machine: StateMachine(
                    "status", states: ["draft", "issued", "sent", "void"], initial: "draft", rebases: false,
                    transitions: [
                        Transition(
                            "issue", from: ["draft"], to: "issued", by: [.owner, .manager], mode: .queued, locks: true,
                            kind: "document.issued",
                            icon: "file-text"),
                        Transition(
                            "send", from: ["issued", "sent"], to: "sent", by: [.owner, .manager], mode: .queued, kind: "document.sent",
                            icon: "send"),
                        Transition(
                            "void", from: ["issued", "sent"], to: "void", by: [.owner], mode: .online,
                            arguments: [.init("reason", .text(1...100))],
                            kind: "document.voided", icon: "ban"),
                    ]),
                fields: [
                    .text("title", 100).required.guarded,
                    .text("memo", 100),
                    .text("number", 30).serverAssigned.unique,
                    .date("due_on").guarded,
                ]),
            EntitySchema(
                "document_line", category: "money", access: .money, scopes: [.record("document", entity: "document")],
                aggregateRoot: "document",
                titleField: "label",
                fields: [
                    .reference("document", "document", onDelete: .cascade).required.writeOnce.indexed,
                    .text("label", 100).required.guarded,
                    .money("price").required.guarded,
                    .integer("line_order").defaulting(0),
                ]),
            EntitySchema(
                "note", category: "conversation", access: .fact, scopes: [.tenant], titleField: "body",
                fields: [
                    .anyReference("subject", ["part", "document"]).required.indexed,
                    .rich("body", 1_000).required,
                    .set("mentions", of: .reference("member", onDelete: .restrict), 0...5),
                    .instant("read_at"),
                    .text("secret_remark", 50).restricted,
                ]),
        ],
        rules: [
            Rule(
                "T01", on: "movement", .write([]),
                check: { subject, _ in
                    let quantity = subject.record.integer("quantity_milli") ?? 0
                    let isRight = subject.record.text("kind") == "receive" ? quantity > 0 : quantity < 0
                    return isRight ? [] : [Finding("quantity_milli", .outOfRange, "wrong sign for \(subject.record.text("kind") ?? "")")]
                }),
            Rule(
                "T02", on: "document", .transition(["issue"]), side: .both,
                reads: {
                    [.lookup(entity: "document_line", field: "document", value: .string($0.record.id.text), includingDeleted: false)]
                },
                check: { subject, workspace in
                    workspace.lookup("document_line", "document", .string(subject.record.id.text)).isEmpty
                        ? [Finding("$lines", "empty_document", "add a line")] : []
                }),
        ],
        effects: [
            Effect(
                "movement.stock", on: "movement", .write([]), side: .both,
                writes: { subject, _ in
                    guard subject.before == nil, let part = subject.record.identifier("part") else { return [] }
                    return [.add(RecordKey("part", part), field: "on_hand_milli", subject.record.integer("quantity_milli") ?? 0)]
                }),
            Effect(
                "part.stock_negative", on: "part", .write(["on_hand_milli"]), side: .server,
                writes: { subject, _ in
                    let now = subject.record.integer("on_hand_milli") ?? 0
                    guard now < 0, subject.before?.integer("on_hand_milli") ?? 0 >= 0 else { return [] }
                    return [
                        .activity(
                            subject.record.key, kind: "part.stock_negative", isMajor: true,
                            changes: ["on_hand_milli": ["new": .integer(now)]])
                    ]
                }),
        ],
        activities: [ActivityKind("part.stock_negative", icon: "package-x", major: true)],
        numberings: [Numbering("document", field: "number", on: ["issue"], kind: "document", prefix: "DOC-", yearOf: "due_on")])
}

extension Schema {
    /// The product's domains and the workshop.
    public static let testing = Schema(version: 1, domains: [.tenancy, .crm, .workshop])
}
