// A rejected set as an HTTP answer: what is wrong with the request itself, or with its meeting the state of things.

import SyncProtocol

enum RestRefusal {
    /// Codes that say the request was right, and the state of the tenant is not such that it can be done.
    static let ofState: Set<String> = Set(
        [
            .conflict, .deleteConflict, .recordDeleted, .staleTransition, .locked, .duplicate, .referenced, .dependsOnRejected,
            .guardFailed, .openChildren, .lastOwner, .onlineOnly, .referenceMissing, .referenceDeleted, .hierarchyCycle,
            .unknownCustomField,
        ].map { (code: ViolationCode) in code.rawValue })

    /// Also said of records that are too many together, which names how many there are.
    static func isOfState(_ violation: Violation) -> Bool {
        ofState.contains(violation.code) || violation.code == ViolationCode.tooMany.rawValue && violation.parameters["count"] != nil
    }

    /// - Parameters:
    ///   - target: The record that the path names.
    ///   - isOfState: Whether the request was right as far as this goes.
    static func reply(
        _ violations: [Violation], target: RecordKey?, isOfState: (Violation) -> Bool = RestRefusal.isOfState
    ) -> ErrorReply {
        let first = violations.first
        let place = [first?.entity, first?.field].compactMap { $0 }.filter { !$0.isEmpty }.joined(separator: ".")
        let message = (place.isEmpty ? "" : place + ": ") + (first?.message ?? "the change was rejected")
        let code: ErrorCode
        if violations.contains(where: { isMissing($0, target) }) {
            code = .notFound
        } else if violations.contains(where: { $0.code == ViolationCode.forbidden.rawValue }) {
            code = .forbidden
        } else if !violations.isEmpty, violations.allSatisfy(isOfState) {
            code = .conflict
        } else {
            code = .validationFailed
        }
        return ErrorReply(code, message, violations: violations)
    }

    private static func isMissing(_ violation: Violation, _ target: RecordKey?) -> Bool {
        violation.code == ViolationCode.notFound.rawValue && violation.field == "id" && violation.id == target?.id
    }
}
