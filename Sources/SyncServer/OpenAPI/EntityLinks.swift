// Links of OpenAPI: where an answer about a record leads on, so that programs that explore the interface meet records that exist.

import SyncProtocol

struct EntityLinks {
    let entity: EntitySchema

    /// By the name of the operation that was answered, as in ``EntityPaths``.
    func after(_ operation: String) -> JSONObject {
        switch operation {
        case "create":
            var links = JSONObject()
            for name in operations { links["\(name)_\(entity.name)"] = link(to: name, id: "$response.body#/data/id") }
            return links
        case "list":
            return [
                "next_page": [
                    "operationId": .string("list_\(entity.name)"), "parameters": ["cursor": "$response.body#/next_cursor"],
                    "description": "While has_more is true, with the other parameters as they were.",
                ],
                "first_of_page": link(to: "get", id: "$response.body#/data/0/id"),
            ]
        case "delete": return entity.restOperations.contains(.restore) ? ["restore": link(to: "restore", id: "$request.path.id")] : [:]
        default: return [:]
        }
    }

    /// What names one record, by operation id without the entity.
    private var operations: [String] {
        let operations = entity.restOperations
        let plain: [RestOperation] = [.get, .patch, .delete, .restore].filter { operations.contains($0) }
        return plain.map(\.rawValue) + entity.restTransitions.map(\.name)
    }

    private func link(to operation: String, id: String) -> JSONValue {
        ["operationId": .string("\(operation)_\(entity.name)"), "parameters": ["id": .string(id)]]
    }
}
