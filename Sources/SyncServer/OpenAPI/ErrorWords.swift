// What each code means, in the words of the page at `/v1/docs`. The longer form, with parameters, is docs/validation.md.

import SyncProtocol

extension ErrorCode {
    /// What happened, and what to do about it.
    var words: String {
        switch self {
        case .badRequest: "The request cannot be understood; `parameter` or `header` names what is wrong, `choices` what there is."
        case .validationFailed: "Values are wrong; every wrong one is in `fields`."
        case .invalidCursor: "Not made by this server for this list. Start again without one."
        case .unauthorized: "No token, or an expired, revoked or unknown one."
        case .forbidden: "The role may not; `fields` says which field, if it is one."
        case .replicaRevoked: "The token belongs to a replica that was revoked."
        case .notFound: "No such path or record, or not one that you may see."
        case .codeInvalid: "There is no such enrolment code."
        case .methodNotAllowed: "`Allow` has those that are."
        case .conflict: "The request is right, but not as things stand; each of `fields` says why."
        case .counterGap: "Of sync: sets before this one are missing."
        case .fork: "Of sync: another copy of the replica's file has gone on."
        case .newEpoch: "The server was restored from a backup: read again."
        case .codeExpired: "The enrolment code is too old; ask for another one."
        case .codeUsed: "The enrolment code was used before; ask for another one."
        case .resyncRequired: "Of sync: fetch everything anew, keeping what is pending."
        case .preconditionFailed: "The record was changed after the `If-Match` you sent. Read it again, then decide."
        case .payloadTooLarge:
            "A write has at most 1 MiB, a push 4 MiB; what it changes makes 64 MiB of the feed and concerns 64 MiB of records at most."
        case .unsupportedMediaType: "Send `application/json`."
        case .idempotencyKeyReused: "The `Idempotency-Key` came with another request before."
        case .schemaTooOld: "Of sync: the replica, or the server, has to be brought up to date."
        case .protocolUnsupported: "Of sync: this server speaks another version of the protocol."
        case .tooManyRequests: "Too many failed enrolments from this address. Come again after `Retry-After` seconds."
        case .limitReached:
            "As many as may be are kept of what `limit` names; the message says what makes room. `Retry-After` is when to look again."
        case .overloaded: "Too much is waiting. Come again after `Retry-After` seconds."
        case .unavailable: "The database does not answer, or a list takes it too long. Come again after `Retry-After` seconds."
        case .internal: "A fault of the server; its log has `request_id`."
        }
    }
}

extension ViolationCode {
    /// nil for codes that only replicas meet.
    var words: String? {
        switch self {
        case .required: "There is no value, or only white space."
        case .tooLong: "More characters than `max`."
        case .tooShort: "Fewer characters than `min`."
        case .tooFew: "Fewer elements than `min`."
        case .tooMany: "More elements than `max`."
        case .outOfRange: "Not between `min` and `max`."
        case .invalidFormat: "Not of the field's type."
        case .invalidChoice: "Not one of `choices`."
        case .unknownEntity, .unknownField: "There is nothing of that name; `known` has those that there are."
        case .immutable: "Set once, when the record is made."
        case .readOnly: "Set by the server, or by a transition."
        case .notFound: "There is no such record."
        case .referenceMissing: "It refers to a record that is not there."
        case .referenceDeleted: "It refers to a record that was deleted."
        case .referenced: "`count` records of `by` still use it."
        case .duplicate: "Another record has the value, or the id."
        case .forbidden: "The role may not."
        case .conflict: "Someone changed it meanwhile: `base`, `server` and `yours`, `by` whom and `at` what time."
        case .deleteConflict: "What would be deleted was changed or made meanwhile."
        case .recordDeleted: "It was deleted; restore it first."
        case .staleTransition: "The move does not start from where the record is."
        case .unknownTransition: "The entity has no transition of that name."
        case .locked: "The record can no longer change."
        case .hierarchyCycle: "A record would be above itself."
        case .guardFailed, .openChildren, .lastOwner: "A rule of the domain; the message says which."
        case .unknownCustomField: "The company has not defined it; `known` has those that there are."
        case .dependsOnRejected, .schemaTooOld, .replicaRevoked, .payloadTooLarge, .invalidSyntax, .internal, .onlineOnly, .withdrawn,
            .factBundled, .clockSkew:
            nil
        }
    }
}
