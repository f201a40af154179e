// The command line, taken apart: words in order, options by name. Whatever is left over is an error.

struct UsageError: Error, Sendable {
    let message: String
    init(_ message: String) { self.message = message }
}

struct Arguments {
    private var rest: [String]

    init(_ arguments: [String]) { rest = arguments }

    /// The value of `--name VALUE` or `--name=VALUE`; nil if it was not given.
    mutating func value(_ name: String) throws -> String? {
        if let index = rest.firstIndex(where: { $0.hasPrefix(name + "=") }) {
            return String(rest.remove(at: index).dropFirst(name.count + 1))
        }
        guard let index = rest.firstIndex(of: name) else { return nil }
        guard index + 1 < rest.count, !rest[index + 1].hasPrefix("--") else { throw UsageError("\(name) needs a value") }
        let value = rest[index + 1]
        rest.removeSubrange(index...(index + 1))
        return value
    }

    mutating func required(_ name: String) throws -> String {
        guard let value = try value(name), !value.isEmpty else { throw UsageError("\(name) is missing") }
        return value
    }

    mutating func flag(_ name: String) -> Bool {
        guard let index = rest.firstIndex(of: name) else { return false }
        rest.remove(at: index)
        return true
    }

    /// The next word that is no option.
    mutating func word() -> String? {
        guard let index = rest.firstIndex(where: { !$0.hasPrefix("-") }) else { return nil }
        return rest.remove(at: index)
    }

    func finish() throws {
        if let first = rest.first { throw UsageError("\(first) is not understood here") }
    }
}
