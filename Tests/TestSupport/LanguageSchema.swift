// What the schema language can say and no domain of the product says yet: each scope, access note, uniqueness and kind of set
// in the smallest entity that has it. Apart from the workshop, so that only tests about the language carry its tables.

import SyncProtocol

extension Domain {
    public static let office = Domain(
        "office",
        entities: [
            // Scope of a project; also the end of a chain of scopes.
            EntitySchema(
                "job", category: "work", access: .manage, scopes: [.project("id")], titleField: "name",
                fields: [.text("name", 100).required, .reference("client", "client").indexed]),
            // A link with a field of every policy, held by the project and the member.
            EntitySchema(
                "assignment", category: "work", access: .manage, scopes: [.record("job", entity: "job"), .member("member")],
                deterministicKeys: ["job", "member"], titleField: "role",
                fields: [
                    .reference("job", "job", onDelete: .cascade).required.writeOnce.indexed,
                    .reference("member", "member", onDelete: .cascade).required.writeOnce.indexed,
                    .text("role", 40), .text("brief", 100).guarded, .integer("grade").writeOnce, .counter("hours"),
                    .set("skills", of: .text(1...40), 0...9), .set("weeks", of: .integer(1...53), 0...9), .map("marks"),
                    .text("rate", 20).restricted,
                ]),
            // A name unique among its siblings whatever its case; scope of what it is about, else everybody's.
            EntitySchema(
                "folder", category: "documents", access: .work, scopes: [.first([.subject("holder"), .tenant])], titleField: "name",
                fields: [
                    .text("name", 120).required.unique(with: "parent", ignoringCase: true),
                    .reference("parent", "folder").guarded.indexed,
                    .anyReference("holder", ["client", "job"]).indexed,
                ]),
            // Scope of everything it is attached to.
            EntitySchema(
                "paper", category: "documents", access: .work,
                scopes: [
                    .first([.subjectThrough(link: "attachment", record: "paper", subject: "subject"), .record("folder", entity: "folder")])
                ],
                titleField: "name",
                fields: [.text("name", 120).required, .reference("folder", "folder", onDelete: .nullify)]),
            // A link whose keys include a reference to one of several entities.
            EntitySchema(
                "attachment", category: "documents", access: .work, scopes: [.subject("subject")],
                deterministicKeys: ["paper", "subject"], titleField: "role",
                fields: [
                    .reference("paper", "paper", onDelete: .cascade).required.writeOnce.indexed,
                    .anyReference("subject", ["client", "job", "thread"]).required.indexed,
                    .choice("role", ["general", "receipt"]).defaulting("general"),
                ]),
            // Sets of members that weaken or forbid their deletion; scope of the subject, else of those who take part.
            EntitySchema(
                "thread", category: "conversation", access: .work, scopes: [.first([.subject("subject"), .member("participants")])],
                titleField: "title",
                fields: [
                    .text("title", 100),
                    .anyReference("subject", ["client", "job"]),
                    .set("participants", of: .reference("member", onDelete: .nullify), 0...9),
                    .set("approvers", of: .reference("member", onDelete: .restrict), 0...9),
                    .anyReference("verdict", ["client", "job"]).serverAssigned.restricted.portal,
                    .anyReference("token", ["client", "job"]).serverAssigned.secret,
                ]),
            // Reaches the client only once issued; the field role records what came in, nothing else.
            EntitySchema(
                "receipt", category: "money", access: .collect,
                accessNotes: [.only(.field, .read), .only(.field, .create, where: "direction", is: "in")],
                scopes: [.first([.inStates(["issued"], .client("client")), .full])], titleField: "direction",
                machine: StateMachine(
                    "status", states: ["draft", "issued"], initial: "draft", rebases: false,
                    transitions: [
                        Transition("issue", from: ["draft"], to: "issued", by: [.owner, .manager], kind: "receipt.issued", icon: "send")
                    ]),
                fields: [
                    .choice("direction", ["in", "out"]).required.writeOnce, .reference("client", "client").required.writeOnce,
                ]),
            // Not for the field role at all; managers edit what only owners make.
            EntitySchema(
                "budget", category: "money", access: .config, accessNotes: [.only(.field), .only(.manager, .read, .update)],
                scopes: [.full], titleField: "name", fields: [.text("name", 80).required]),
            // Written by the server, struck off by the owner.
            EntitySchema(
                "blocked_address", category: "conversation", access: .sys, accessNotes: [.only(.owner, .read, .delete)], scopes: [.full],
                titleField: "address", fields: [.email("address").required.serverAssigned.uniqueGlobally]),
            // Everybody's own, of which the last-writer fields are theirs to edit.
            EntitySchema(
                "reminder", category: "conversation", access: .own, scopes: [.member("member")], titleField: "title",
                fields: [
                    .reference("member", "member", onDelete: .cascade).required.serverAssigned.indexed,
                    .text("title", 80).required.serverAssigned, .instant("read_at"), .set("marks", of: .slug(maximum: 20), 0...5),
                    .text("reason", 40).guarded,
                ]),
        ])
}

extension Schema {
    /// The testing schema and everything else that the language can say.
    public static let language = Schema(version: 1, domains: [.tenancy, .crm, .workshop, .office])
}
