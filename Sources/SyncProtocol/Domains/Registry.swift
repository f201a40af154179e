// The registry: the one place that lists the business domains.

extension Schema {
    /// Grows with every added entity, field or choice (docs/protocol.md §8).
    public static let currentVersion: Int64 = 1

    /// The product's schema.
    public static let tideline = Schema(version: currentVersion, domains: [.tenancy, .crm])
}
