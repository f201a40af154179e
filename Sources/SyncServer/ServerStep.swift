// The points between which a server, or a command of it, may die outside of pushes (``PushStep``) and deliveries (``OutboxStep``),
// numbered in the order in which each kind of work passes them. Tests end it at each.

enum ServerStep: Int, Sendable, CaseIterable {
    // Enrolment.

    /// The code is good and the tenant's head is locked; nothing is written.
    case enrolLocked = 1
    /// The replica is there, as a record and for the engine; it has no token. Forks pass this one and the next as well.
    case replicaMade
    case tokenMade
    /// The code is spent: everything is written, nothing is committed.
    case codeSpent
    case enrolCommitted
    case enrolAnnounced

    // Fork.

    /// Who asks is known; nothing is written.
    case forkAsked
    case forkWritten
    case forkCommitted
    case forkAnnounced

    // The beginning of an epoch.

    case epochLocked
    case epochWritten
    case epochCommitted
    case epochAnnounced

    // A write by REST.

    case writeLocked
    case writeDecided
    /// With the answer that its key keeps; not committed.
    case writeStored
    case writeCommitted
    case writeAnnounced

    // Maintenance, each in a transaction that is not committed, but the last.

    case keysForgotten
    case attemptsForgotten
    /// Tombstones are gone, and the horizon is where it was.
    case tombstonesForgotten
    case horizonMoved
    case maintenanceCommitted

    // Migration.

    /// Nobody else migrates; nothing is written.
    case migrationLocked
    case migrationDefined
    /// Policies and rights are set.
    case migrationGuarded
    case migrationFilled
    /// All of it, not committed.
    case migrationWritten
    case migrationCommitted

    // Commands about tenants, members, codes, tokens and replicas.

    /// A first part is written.
    case commandWritten
    /// Everything is, nothing is committed.
    case commandStored
    /// Committed; nobody was told, least of all who gave the command.
    case commandCommitted

    static let ofEnrolment: [ServerStep] = [.enrolLocked, .replicaMade, .tokenMade, .codeSpent, .enrolCommitted, .enrolAnnounced]
    static let ofForks: [ServerStep] = [.forkAsked, .replicaMade, .tokenMade, .forkWritten, .forkCommitted, .forkAnnounced]
    static let ofEpochs: [ServerStep] = [.epochLocked, .epochWritten, .epochCommitted, .epochAnnounced]
    static let ofWrites: [ServerStep] = [.writeLocked, .writeDecided, .writeStored, .writeCommitted, .writeAnnounced]
    static let ofMaintenance: [ServerStep] = [
        .keysForgotten, .attemptsForgotten, .tombstonesForgotten, .horizonMoved, .maintenanceCommitted,
    ]
    static let ofMigrations: [ServerStep] = [
        .migrationLocked, .migrationDefined, .migrationGuarded, .migrationFilled, .migrationWritten, .migrationCommitted,
    ]
    static let ofCommands: [ServerStep] = [.commandWritten, .commandStored, .commandCommitted]
}
