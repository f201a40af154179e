// Tenancy: the company, its people, their replicas, and the fields it defines for itself.

extension Domain {
    public static let tenancy = Domain(
        "tenancy",
        entities: [
            EntitySchema(
                "tenant", category: "admin", access: .config, scopes: [.tenant], isDeletable: false, isCreatable: false,
                titleField: "name",
                fields: [
                    .text("name", 120).required,
                    .currency("base_currency").required.writeOnce,
                    .timeZone("timezone").required.defaulting("UTC"),
                    .text("locale", 2...10).defaulting("en"),
                    .integer("week_starts", 1...7).defaulting(1).writeOnce,
                    .date("books_locked_through").guarded,
                    .text("invoice_prefix", 12).defaulting("INV-").guarded,
                    .text("credit_note_prefix", 12).defaulting("CN-").guarded,
                    .integer("invoice_terms_days", 0...365).defaulting(30),
                    .money("dual_control_over").guarded.restricted,
                    .integer("file_quota_mb").defaulting(10240).serverAssigned,
                    .map("branding", keys: ["logo_file", "color", "display_name"]).portal,
                ]),
            EntitySchema(
                "account", category: "admin", access: .secret, scopes: [.none], titleField: "email",
                fields: [
                    .email("email").required.serverAssigned.uniqueGlobally,
                    .text("password_hash", 200).serverAssigned.secret,
                    .instant("email_verified_at").serverAssigned,
                    .instant("last_login_at").serverAssigned,
                    .integer("failed_logins").serverAssigned.defaulting(0),
                ]),
            EntitySchema(
                "member", category: "admin", access: .config, scopes: [.tenant], selfEditable: true, titleField: "name",
                machine: StateMachine(
                    "status", states: ["invited", "active", "disabled"], initial: "invited", rebases: false,
                    transitions: [
                        Transition(
                            "accept", from: ["invited"], to: "active", by: [.itself, .system], mode: .online, kind: "member.joined",
                            icon: "user-check"),
                        Transition(
                            "disable", from: ["active", "invited"], to: "disabled", by: [.owner], mode: .online, kind: "member.disabled",
                            icon: "user-x"),
                        Transition(
                            "enable", from: ["disabled"], to: "active", by: [.owner], mode: .online, kind: "member.enabled",
                            icon: "user-check"),
                    ]),
                fields: [
                    .reference("account", "account").serverAssigned.secret,
                    .text("name", 120).required.searchable,
                    .email("email").required.serverAssigned.unique,
                    .choice("role", Role.allCases.map(\.rawValue)).required.defaulting("field").guarded.indexed,
                    .text("job_title", 80),
                    .phone("phone"),
                    .timeZone("timezone"),
                    .integer("weekly_capacity_minutes", 0...10080).defaulting(2400),
                    .set("skills", of: .text(1...40), 0...30),
                    .money("cost_rate").restricted,
                    .money("bill_rate").restricted,
                ]),
            EntitySchema(
                "replica", category: "admin", access: .own, scopes: [.member("member")], titleField: "label",
                machine: StateMachine(
                    "status", states: ["active", "revoked"], initial: "active", rebases: false,
                    transitions: [
                        Transition(
                            "revoke", from: ["active"], to: "revoked", by: [.owner, .itself], mode: .online, kind: "replica.revoked",
                            icon: "smartphone-off")
                    ]),
                fields: [
                    .reference("member", "member", onDelete: .cascade).required.writeOnce.indexed,
                    .text("label", 80).required,
                    .text("platform", 40).writeOnce,
                    .choice("replication", ["full", "field", "sales", "readonly"]).serverAssigned,
                ]),
            EntitySchema(
                "custom_field", category: "admin", access: .config, scopes: [.tenant], titleField: "label",
                fields: [
                    .choice("entity", ["client", "contact", "deal", "site", "project", "task", "invoice"]).required.writeOnce.indexed,
                    .slug("key", 40).required.writeOnce.unique(with: "entity"),
                    .text("label", 80).required,
                    .choice("kind", ["text", "integer", "money", "date", "bool", "choice", "multi_choice", "url"]).required.writeOnce,
                    .bool("required").defaulting(0),
                    .set("choices", of: .text(1...80), 0...100),
                    .integer("min"),
                    .integer("max"),
                    .integer("sort_order").defaulting(0),
                    .bool("archived").defaulting(0),
                ]),
            EntitySchema(
                "number_sequence", category: "admin", access: .secret, scopes: [.none], titleField: "kind",
                fields: [
                    .slug("kind", 40).required.serverAssigned,
                    .integer("year").required.serverAssigned,
                    .integer("last").defaulting(0).serverAssigned,
                ]),
        ],
        rules: [
            Rule(
                "R90", on: "member", .write(["role"]), reads: { _ in [TenancyRules.owners] },
                check: { subject, workspace in
                    subject.record.text("role") != "owner" ? TenancyRules.ownersRemain(subject, workspace, "role") : []
                }),
            Rule(
                "R90", on: "member", .transition(["disable"]), reads: { _ in [TenancyRules.owners] },
                check: { subject, workspace in TenancyRules.ownersRemain(subject, workspace, "status") }),
            Rule(
                "R90", on: "member", .delete, reads: { _ in [TenancyRules.owners] },
                check: { subject, workspace in TenancyRules.ownersRemain(subject, workspace, "id") }),
            CustomFieldRules.definitionsAreSoMany, CustomFieldRules.textsAreSoLong,
        ])
}

private enum TenancyRules {
    static let owners = Read.lookup(entity: "member", field: "role", value: "owner", includingDeleted: false)

    /// One owner stays who can act. Before the first one has enrolled nobody can, and one who still may is kept.
    static func ownersRemain(_ subject: Subject, _ workspace: Workspace, _ field: String) -> [Finding] {
        let leaving = subject.before ?? subject.record
        guard leaving.text("role") == "owner" else { return [] }
        let others = workspace.lookup("member", "role", "owner").filter { $0.id != leaving.id }
        let isKept =
            leaving.text("status") == "active"
            ? others.contains { $0.text("status") == "active" } : others.contains { $0.text("status") != "disabled" }
        return isKept ? [] : [Finding(field, .lastOwner, "name another owner first, one who has enrolled")]
    }
}
