// How much of an outcome is kept: it is answered for ever, with five hundred others, and a rejection stands in the feed as well.

extension Outcome {
    /// An outcome with more bytes than this tells long values shortened, and only so many violations. The set itself is with its author,
    /// values that lost are in the feed.
    public static let bytesMax = 256 << 10
    public static let violationsMax = 100
    /// What is left of a long value then.
    private static let charactersMax = 100

    /// As it is stored, and answered from then on.
    var kept: Outcome {
        // Most say no more than where they stand.
        guard !violations.isEmpty || !warnings.isEmpty || !superseded.isEmpty, json.canonicalBytes().count > Self.bytesMax else {
            return self
        }
        var short = self
        short.violations = violations.prefix(Self.violationsMax).map(Self.shortened)
        short.warnings = warnings.prefix(Self.violationsMax).map(Self.shortened)
        short.superseded = superseded.map { one in
            var one = one
            (one.yours, one.kept) = (Self.shortened(one.yours), Self.shortened(one.kept))
            return one
        }
        return short
    }

    private static func shortened(_ violation: Violation) -> Violation {
        var violation = violation
        violation.parameters = JSONObject(Array(zip(violation.parameters.keys, violation.parameters.values.map(shortened))))
        return violation
    }

    /// A text ends with an ellipsis then; of anything else that is long nothing is told.
    private static func shortened(_ value: JSONValue) -> JSONValue {
        switch value {
        case .string(let text) where text.utf8.count > 4 * charactersMax: .string(text.prefix(charactersMax) + "…")
        case .array, .object: value.canonicalBytes().count > 4 * charactersMax ? .null : value
        default: value
        }
    }
}
