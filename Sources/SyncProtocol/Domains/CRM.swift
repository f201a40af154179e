// CRM: the organisations a company works for and buys from, their people and places, and its sales opportunities.

extension Domain {
    public static let crm = Domain(
        "crm",
        entities: [
            EntitySchema(
                "client", category: "relationship", access: .collab, scopes: [.client("id")], isMajor: true, titleField: "name",
                machine: StateMachine(
                    "status", states: ["active", "on_hold", "archived"], initial: "active", rebases: true,
                    transitions: [
                        Transition("hold", from: ["active"], to: "on_hold", by: [.owner, .manager], kind: "client.on_hold", icon: "pause"),
                        Transition(
                            "release", from: ["on_hold"], to: "active", by: [.owner, .manager], kind: "client.released", icon: "play"),
                        Transition(
                            "archive", from: ["active", "on_hold"], to: "archived", by: [.owner, .manager], kind: "client.archived",
                            icon: "archive"),
                        Transition(
                            "reactivate", from: ["archived"], to: "active", by: [.owner, .manager], kind: "client.reactivated",
                            icon: "archive-restore"),
                    ]),
                fields: [
                    .text("name", 200).required.indexed.searchable,
                    .text("legal_name", 200).searchable,
                    .set("kinds", of: .choice(["customer", "supplier", "partner"]), 1...3).required.defaulting(["customer"]).indexed,
                    .reference("parent", "client", onDelete: .nullify).guarded,
                    .reference("owner", "member", onDelete: .nullify).indexed,
                    .email("email"),
                    .phone("phone"),
                    .url("website"),
                    .text("tax_number", 40).guarded.restricted,
                    .address("billing_address"),
                    .integer("payment_terms_days", 0...365),
                    // Of the revenue domain; until that is declared there is nothing to refer to.
                    .reference("default_tax_rate", "tax_rate", onDelete: .nullify).restricted,
                    .money("credit_limit").guarded.restricted,
                    .set("tags", of: .text(1...40), 0...50).indexed.searchable,
                    .rich("notes", 20_000).guarded,
                    .map("custom"),
                ]),
            EntitySchema(
                "contact", category: "relationship", access: .collab,
                scopes: [.clientThrough(link: "client_contact", record: "contact", client: "client")], isMajor: true,
                titleField: "last_name", titleFields: ["first_name", "last_name"],
                fields: [
                    .text("first_name", 100).searchable,
                    .text("last_name", 100).required.indexed.searchable,
                    .email("email").indexed.searchable,
                    .phone("phone"),
                    .set("alt_emails", of: .email, 0...5),
                    .set("alt_phones", of: .phone, 0...5),
                    .text("job_title", 80),
                    .text("language", 2...10),
                    .set("tags", of: .text(1...40), 0...50).indexed,
                    .rich("notes", 20_000).guarded,
                    .map("custom"),
                ]),
            EntitySchema(
                "client_contact", category: "relationship", access: .collab, scopes: [.client("client")],
                deterministicKeys: ["client", "contact"], titleField: "role",
                fields: [
                    .reference("client", "client", onDelete: .cascade).required.writeOnce.indexed,
                    .reference("contact", "contact", onDelete: .cascade).required.writeOnce.indexed,
                    .text("role", 60),
                    .bool("is_primary").defaulting(0),
                    .bool("is_billing").defaulting(0),
                ]),
            EntitySchema(
                "site", category: "relationship", access: .collab, scopes: [.client("client")], titleField: "name",
                fields: [
                    .reference("client", "client", onDelete: .cascade).required.writeOnce.indexed,
                    .text("name", 120).required.searchable,
                    .address("address").required,
                    .integer("latitude_e6", -90_000_000...90_000_000),
                    .integer("longitude_e6", -180_000_000...180_000_000),
                    .reference("contact", "contact", onDelete: .nullify),
                    .rich("access_notes", 2_000).guarded,
                    .bool("active").defaulting(1),
                    .map("custom"),
                ]),
            EntitySchema(
                "deal", category: "relationship", access: .manage, scopes: [.full, .member("owner")], ownerField: "owner", isMajor: true,
                titleField: "title",
                machine: StateMachine(
                    "stage", states: ["lead", "qualified", "proposal", "negotiation", "won", "lost"], initial: "lead", rebases: true,
                    transitions: CRMRules.dealTransitions),
                fields: [
                    .text("title", 200).required.searchable,
                    .reference("client", "client").required.writeOnce.indexed,
                    .money("amount").required.defaulting(0),
                    .currency("currency").required.writeOnce,
                    .integer("probability", 0...100),
                    .date("expected_close").indexed,
                    .reference("owner", "member").required.indexed,
                    .choice("source", ["referral", "web", "event", "outbound", "existing", "other"]),
                    .text("lost_reason", 300).serverAssigned,
                    .instant("closed_at").serverAssigned,
                    .set("tags", of: .text(1...40), 0...50),
                    .rich("notes", 20_000).guarded,
                    .map("custom"),
                ]),
            EntitySchema(
                "deal_contact", category: "relationship", access: .manage, scopes: [.record("deal", entity: "deal")],
                deterministicKeys: ["deal", "contact"], titleField: "role",
                fields: [
                    .reference("deal", "deal", onDelete: .cascade).required.writeOnce.indexed,
                    .reference("contact", "contact", onDelete: .cascade).required.writeOnce,
                    .choice("role", ["decision_maker", "evaluator", "influencer", "user", "other"]).defaulting("other"),
                ]),
        ],
        rules: [
            Rule(
                "R02", on: "client", .write(["parent"]),
                // The chain above the parent, not above the record: of a new record nothing is stored yet.
                reads: { subject in
                    subject.record.identifier("parent").map { [.ancestors(RecordKey("client", $0), parent: "parent")] } ?? []
                },
                check: { subject, workspace in
                    guard let parent = subject.record.identifier("parent") else { return [] }
                    let chain = workspace.ancestors(of: RecordKey("client", parent), through: "parent")
                    guard parent == subject.record.id || chain.contains(where: { $0.id == subject.record.id }) else { return [] }
                    let title = workspace.record("client", parent)?.title ?? subject.record.title
                    return [
                        Finding("parent", .hierarchyCycle, "\(title) is below \(subject.record.title)", ["parent": .string(parent.text)])
                    ]
                }),
            Rule(
                "R06", on: "deal", .transition(["win"]), reads: { CRMRules.clientOf($0) },
                check: { subject, workspace in
                    var findings: [Finding] = []
                    if subject.record.integer("amount") ?? 0 <= 0 { findings.append(Finding("amount", .guardFailed, "amount is zero")) }
                    if let id = subject.record.identifier("client"), let client = workspace.record("client", id), client.state != "active" {
                        findings.append(
                            Finding("client", .guardFailed, "client is \(client.state ?? "")", ["status": .string(client.state ?? "")]))
                    }
                    return findings
                }),
            Rule(
                "R09", on: "client", .transition(["archive"]), reads: { CRMRules.workOf($0) },
                check: { subject, workspace in
                    let open = workspace.lookup("deal", "client", .string(subject.record.id.text)).filter {
                        !["won", "lost"].contains($0.state)
                    }
                    guard !open.isEmpty else { return [] }
                    return [
                        Finding(
                            "status", .openChildren, "\(open.count) open \(open.count == 1 ? "deal" : "deals")",
                            ["n": .integer(Int64(open.count)), "first": .string(open[0].title)])
                    ]
                }),
            Rule(
                "R17", on: "deal", .transition(["reopen"]),
                reads: { [.lookup(entity: "engagement", field: "deal", value: .string($0.record.id.text), includingDeleted: false)] },
                check: { subject, workspace in
                    workspace.lookup("engagement", "deal", .string(subject.record.id.text)).prefix(1).map {
                        Finding(
                            "stage", .guardFailed, "engagement \($0.text("code") ?? $0.title) exists", ["engagement": .string($0.id.text)])
                    }
                }),
            CustomFieldRules.rule(on: "client"), CustomFieldRules.rule(on: "contact"), CustomFieldRules.rule(on: "site"),
            CustomFieldRules.rule(on: "deal"),
        ],
        effects: [
            Effect(
                "R04", on: "client_contact", .write(["is_primary"]), side: .both,
                reads: { subject in
                    [.lookup(entity: "client_contact", field: "client", value: subject.record["client"], includingDeleted: false)]
                },
                writes: { subject, workspace in
                    guard subject.record.integer("is_primary") == 1 else { return [] }
                    return workspace.lookup("client_contact", "client", subject.record["client"])
                        .filter { $0.id != subject.record.id && $0.integer("is_primary") == 1 }
                        .map { .set($0.key, field: "is_primary", 0) }
                }),
            Effect(
                "deal.closed_at", on: "deal", .transition(["win", "lose"]), side: .both,
                writes: { subject, _ in [.set(subject.record.key, field: "closed_at", .integer(subject.operationMilliseconds))] }),
            Effect(
                "deal.reopened", on: "deal", .transition(["reopen"]), side: .both,
                writes: { subject, _ in
                    [.set(subject.record.key, field: "closed_at", .null), .set(subject.record.key, field: "lost_reason", .null)]
                }),
        ], reports: CRMReports.all)
}

private enum CRMRules {
    static let open = ["lead", "qualified", "proposal", "negotiation"]

    static let dealTransitions: [Transition] = {
        let dealers: [Grantee] = [.owner, .manager, .memberInField("owner")]
        func stage(_ name: String, _ to: String) -> Transition {
            Transition(name, from: open.filter { $0 != to }, to: to, by: dealers, kind: "deal.stage_changed", icon: "arrow-right")
        }
        return [
            stage("qualify", "qualified"), stage("propose", "proposal"), stage("negotiate", "negotiation"),
            Transition("win", from: ["qualified", "proposal", "negotiation"], to: "won", by: dealers, kind: "deal.won", icon: "trophy"),
            Transition(
                "lose", from: open, to: "lost", by: dealers, arguments: [.init("reason", .text(1...300), keptIn: "lost_reason")],
                kind: "deal.lost", icon: "x-circle"),
            Transition(
                "reopen", from: ["won", "lost"], to: "qualified", by: [.owner, .manager], kind: "deal.reopened", icon: "rotate-ccw"),
        ]
    }()

    static func clientOf(_ subject: Subject) -> [Read] {
        subject.record.identifier("client").map { [.record(RecordKey("client", $0))] } ?? []
    }

    static func workOf(_ subject: Subject) -> [Read] {
        [.lookup(entity: "deal", field: "client", value: .string(subject.record.id.text), includingDeleted: false)]
    }
}
