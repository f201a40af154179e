// Message layer: the header fields of a request or a response.

/// Header fields in the order they came. Names compare without case, and a name may occur more than once.
struct HTTPHeaders: Sendable {
    struct Field: Sendable, Equatable {
        let name: String
        let value: String
    }

    private(set) var fields: [Field] = []

    init(_ fields: [(name: String, value: String)] = []) {
        for (name, value) in fields { append(name, value) }
    }

    var isEmpty: Bool { fields.isEmpty }
    var count: Int { fields.count }

    mutating func append(_ name: String, _ value: String) { fields.append(Field(name: name, value: value)) }

    /// Replaces every field of that name by one.
    mutating func set(_ name: String, _ value: String) {
        fields.removeAll { Self.same($0.name, name) }
        append(name, value)
    }

    /// The first field of that name.
    subscript(_ name: String) -> String? { fields.first { Self.same($0.name, name) }?.value }

    /// All fields of that name, in order.
    func values(_ name: String) -> [String] { fields.lazy.filter { Self.same($0.name, name) }.map(\.value) }

    func contains(_ name: String) -> Bool { fields.contains { Self.same($0.name, name) } }

    /// True when every name and value may be written on the wire; a value with a line break could forge a response.
    var isWellFormed: Bool {
        fields.allSatisfy { field in
            !field.name.isEmpty && field.name.utf8.allSatisfy(HTTPSyntax.isToken)
                && field.value.utf8.allSatisfy(HTTPSyntax.isFieldContent)
        }
    }

    static func same(_ left: String, _ right: String) -> Bool {
        left == right || HTTPSyntax.equalIgnoringCase(left.utf8, right.utf8)
    }
}
