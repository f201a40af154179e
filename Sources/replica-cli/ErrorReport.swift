// Errors as words (or one JSON document), with what to do next, and as exit codes.

import Replica
import SyncProtocol

enum ErrorReport {
    static func show(_ error: any Error, _ terminal: Terminal) -> ExitCode {
        switch error {
        case let usage as UsageError:
            report("usage", usage.message, violations: [], hint: usage.hint, terminal)
            return .usage
        case let unreadable as UnreadableValues:
            let words = unreadable.violations.map(words).joined(separator: "; ")
            report("usage", words, violations: unreadable.violations, hint: unreadable.hint, terminal)
            return .usage
        case let hinted as HintedError:
            report(
                hinted.error.code.rawValue, hinted.error.message, violations: hinted.error.violations, hint: hinted.hint,
                detail: hinted.error.detail, terminal)
            return exitCode(hinted.error.code)
        case let error as ReplicaError:
            report(
                error.code.rawValue, error.message, violations: error.violations, hint: hint(error.violations) ?? hint(error),
                detail: error.detail, terminal)
            return exitCode(error.code)
        case let error as CSVError:
            report("invalid_csv", "line \(error.line): \(error.message)", violations: [], hint: nil, terminal)
            return .usage
        case let error as ExitCode: return error
        default:
            report("storage", String(describing: error), violations: [], hint: nil, terminal)
            return .storage
        }
    }

    /// What went wrong after a report was printed: in JSON the report, which names it, stays the one document.
    static func show(_ failure: ReplicaError, afterReportTo terminal: Terminal) -> ExitCode {
        terminal.isJSON ? exitCode(failure.code) : show(failure, terminal)
    }

    private static func exitCode(_ code: ReplicaError.Code) -> ExitCode {
        switch code {
        case .refused, .notFound, .ambiguous, .firstSyncIncomplete, .syncInProgress, .forked, .serverRefused, .outdated, .serverOutdated,
            .cancelled:
            .refused
        case .invalidQuery: .usage
        case .unreachable: .unreachable
        case .notAllowed, .notEnrolled, .alreadyEnrolled: .notAllowed
        case .storage, .newerFile: .storage
        }
    }

    static func hint(_ error: ReplicaError) -> String? {
        switch error.code {
        case .unreachable where error.operation == "enroll": "run the same command again when there is a connection"
        case .unreachable: "your work is safe on this machine; sync again when there is a connection"
        case .firstSyncIncomplete: "run: replica sync"
        case .notAllowed where error.operation == "enroll": "ask an owner for a new enrolment code; your work stays on this machine"
        case .notAllowed: "ask an owner for a code, then run on this same file: replica enroll URL CODE; everything in it stays"
        case .notEnrolled: "enrol it: replica enroll URL CODE; an owner makes the code"
        case .alreadyEnrolled: "replica sync goes on with it; a further replica needs another file: replica --db FILE enroll URL CODE"
        case .ambiguous: "give more characters of the id, or the whole id"
        case .syncInProgress: "another replica sync is running on this file; wait for it or stop it"
        case .newerFile, .outdated: "install a newer replica program"
        case .serverOutdated: "your edits wait and go up when the server has been updated; fetching works meanwhile"
        // Nothing but a check-up can do anything with a file that does not even open.
        case .storage where error.operation == "open" && error.trouble == .damaged:
            "replica doctor says what is left of it and what to do; --bundle FILE writes that down for a developer"
        case .storage: hint(error.trouble ?? .other)
        default: nil
        }
    }

    private static func hint(_ trouble: ReplicaError.Trouble) -> String? {
        switch trouble {
        case .busy: "save or close there (DB Browser: Write Changes; sqlite3: COMMIT), then run this again"
        case .full: "make room, then run this again; what is in the file is whole"
        case .readOnly: "ls -l shows whose file it is; reading works meanwhile"
        case .damaged:
            "run replica sync first: it often still sends what is pending; then replica doctor, which says what is left and what to do"
        case .foreign: "is it the right file? --db FILE or $TIDELINE_DB names it; replica doctor looks at one that was a replica"
        case .cannotOpen: "does its folder exist, and may you read and write there?"
        case .disk: "is the drive still connected? copy the file to another one as long as it can be read"
        case .contradiction, .other: "replica doctor --bundle FILE writes down what a developer needs to see"
        }
    }

    /// For the first refusal that has a usual way out.
    private static func hint(_ violations: [Violation]) -> String? {
        for violation in violations {
            switch ViolationCode(rawValue: violation.code) {
            case .unknownField, .required, .readOnly, .immutable: return "replica schema \(violation.entity) lists the fields"
            case .unknownTransition, .staleTransition:
                return "replica schema \(violation.entity) lists the transitions and the states they start from"
            case .duplicate: return "replica list \(violation.entity) shows the record that has it"
            case .recordDeleted: return "replica restore \(violation.entity) RECORD brings it back"
            case .forbidden: return "replica status shows your role"
            case .onlineOnly: return "this is done at the server, with a connection: docs/api.md, transitions"
            default: continue
            }
        }
        return nil
    }

    private static func report(
        _ code: String, _ message: String, violations: [Violation], hint: String?, detail: String? = nil, _ terminal: Terminal
    ) {
        if terminal.isJSON {
            var object: JSONObject = ["code": .string(code), "message": .string(message)]
            if !violations.isEmpty { object["fields"] = .array(violations.map(\.json)) }
            if let hint { object["hint"] = .string(hint) }
            if let detail { object["detail"] = .string(detail) }
            terminal.json(["error": .object(object)])
            return
        }
        if violations.isEmpty {
            terminal.note("replica: \(DisplayWidth.harmless(message, keepingLines: true))")
        } else {
            for violation in violations { terminal.note("replica: \(DisplayWidth.harmless(Self.words(violation)))") }
        }
        if let hint { terminal.note("  \(DisplayWidth.harmless(hint))") }
    }

    /// `phone: must be a phone number (invalid_format)`
    static func words(_ violation: Violation) -> String {
        let field = violation.field.map { "\($0): " } ?? ""
        return "\(field)\(demand(limits(violation) ?? message(violation), violation)) (\(violation.code))"
    }

    /// Messages say what a value is when it is right. Told to somebody whose value is not, that is what it must be.
    private static func demand(_ message: String, _ violation: Violation) -> String {
        let codes: [ViolationCode] = [.invalidFormat, .invalidChoice, .outOfRange]
        guard codes.contains(where: { $0.rawValue == violation.code }), message.hasPrefix("is "), !message.hasPrefix("is not "),
            !message.hasPrefix("is out of ")
        else { return message }
        if case .set? = Schema.tideline.entity(violation.entity)?.field(violation.field ?? "")?.type,
            ["is a text", "is a list"].contains(message)
        {
            return "must be a list of texts, in SQL as JSON: [\"one\",\"two\"]"
        }
        return "must be \(message.dropFirst(3))"
    }

    private static func message(_ violation: Violation) -> String {
        guard let field = violation.field, violation.message.hasPrefix("\(field) ") else { return violation.message }
        return String(violation.message.dropFirst(field.count + 1))
    }

    /// Amounts, quantities and rates travel as integers; people are told limits as they type values.
    private static func limits(_ violation: Violation) -> String? {
        guard violation.code == ViolationCode.outOfRange.rawValue, let least = violation.parameters["min"],
            let most = violation.parameters["max"],
            let type = Schema.tideline.entity(violation.entity)?.field(violation.field ?? "")?.type, type.isDecimal
        else { return nil }
        let text = FieldText(currency: nil)
        return "is between \(text.show(least, as: type)) and \(text.show(most, as: type))"
    }
}
