// The schema for tests as a later build has it: fields and an entity more, so that builds of different age can meet.

import SyncProtocol

extension EntitySchema {
    /// The same entity with further fields.
    fileprivate func gaining(_ more: [FieldSchema]) -> EntitySchema {
        EntitySchema(
            name, category: category, access: access, scopes: scopes, ownerField: ownerField, selfEditable: selfEditable,
            deterministicKeys: deterministicKeys, aggregateRoot: aggregateRoot, openStates: openStates, isDeletable: isDeletable,
            isCreatable: isCreatable, isMajor: isMajor, titleField: titleField, titleFields: titleFields, timelineParents: timelineParents,
            machine: machine, fields: fields.filter { $0.name != machine?.field } + more)
    }
}

extension Domain {
    /// The workshop a version later.
    public static let laterWorkshop: Domain = {
        let gained: [String: [FieldSchema]] = [
            "part": [.text("bin", 40), .text("remark", 100).guarded, .set("labels", of: .text(1...20), 0...10)],
            "document": [.text("terms", 100).guarded, .text("purpose", 60).required(since: 2)],
            "document_line": [.text("unit", 40)],
            "note": [.text("mood", 40)],
        ]
        let gadget = EntitySchema(
            "gadget", category: "stock", access: .fact, scopes: [.tenant], titleField: "label",
            fields: [.text("label", 60).required.guarded, .reference("part", "part", onDelete: .nullify).indexed, .text("notes", 100)])
        return Domain(
            "workshop", entities: workshop.entities.map { $0.gaining(gained[$0.name] ?? []) } + [gadget], rules: workshop.rules,
            effects: workshop.effects, activities: workshop.activities, numberings: workshop.numberings)
    }()
}

extension Schema {
    /// ``testing`` as a later build has it.
    public static let testingLater = Schema(version: 2, domains: [.tenancy, .crm, .laterWorkshop])
}
