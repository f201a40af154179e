// Ways in which a database can be wrong, built in on purpose by triggers of its own: the handlers are the product's, and what they
// read and write is not what they think. Tests switch one on to prove that they would see it.

import SyncProtocol

@testable import SyncServer

public enum StoreFault: String, Sendable, CaseIterable {
    /// A lookup by id takes the other company's record.
    case mixesTenants
    /// The outcome of a set is answered and not kept.
    case forgetsAnswers
    /// Entries of the feed are there, and do not say what has changed.
    case emptiesEntries
    /// An entity that has changed looks as if it had not.
    case hidesChanges
    /// An update of a record is dropped, its entry stays.
    case dropsUpdates

    private var table: String {
        switch self {
        case .mixesTenants, .dropsUpdates: "public.client"
        case .forgetsAnswers: "tideline.change_set"
        case .emptiesEntries: "tideline.feed"
        case .hidesChanges: "tideline.entity_head"
        }
    }

    private var events: String {
        switch self {
        case .mixesTenants: "INSERT OR UPDATE"
        case .forgetsAnswers, .emptiesEntries: "INSERT"
        case .hidesChanges, .dropsUpdates: "UPDATE"
        }
    }

    private var body: String {
        switch self {
        case .mixesTenants:
            """
            NEW.notes := coalesce(
                (SELECT c.notes FROM public.client c WHERE c.id = NEW.id AND c.tenant <> NEW.tenant LIMIT 1), NEW.notes);
            RETURN NEW;
            """
        case .forgetsAnswers: "IF NEW.counter % 3 = 0 THEN RETURN NULL; END IF; RETURN NEW;"
        case .emptiesEntries: "IF NEW.position % 3 = 0 THEN NEW.changes := '{}'; END IF; RETURN NEW;"
        case .hidesChanges: "IF NEW.position % 3 = 0 THEN NEW.position := OLD.position; END IF; RETURN NEW;"
        case .dropsUpdates: "IF NEW.position % 3 = 0 THEN RETURN OLD; END IF; RETURN NEW;"
        }
    }

    /// For one tenant; others of the database are served as they should be.
    func statements(_ tenant: Identifier) -> [String] {
        [
            """
            CREATE FUNCTION tideline.planted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN \(body) END$$
            """,
            """
            CREATE TRIGGER planted BEFORE \(events) ON \(table) FOR EACH ROW WHEN (NEW.tenant = '\(tenant.text)'::uuid) \
            EXECUTE FUNCTION tideline.planted()
            """,
        ]
    }
}
