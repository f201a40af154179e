// What a history will try, drawn from one seed before anything runs. How the processes meet is up to the machine: the same seed
// makes the same plan again, not the same interleaving.

import TestSupport

/// What somebody does next. Records are chosen when it happens, by `pick`, among those known by then.
enum PlannedWork: Sendable, CaseIterable {
    case addClient, setName, setNotes, setOwnField, addTag, removeTag, moveClient, removeClient, restoreClient
    case addDeal, qualifyDeal, importClients, shellInsert, shellUpdate, undo, sync, killedSync, killedEdit

    /// Of a hundred or so.
    var weight: Int {
        switch self {
        case .addClient: 16
        case .setName, .setNotes, .setOwnField: 8
        case .addTag: 5
        case .removeTag: 3
        case .moveClient: 7
        case .removeClient: 5
        case .restoreClient: 3
        case .addDeal: 6
        case .qualifyDeal: 4
        case .importClients: 3
        case .shellInsert: 7
        case .shellUpdate: 4
        case .undo: 2
        case .sync: 12
        case .killedSync: 10
        case .killedEdit: 5
        }
    }
}

/// What happens to the machines and files, once so many operations are done.
enum PlannedDisaster: Sendable, Hashable, CaseIterable {
    case killServer, killPostmaster, killBackend, killWatcher, fillDisk, breakDisk, restartPostgres, restartServer, cutConnections
    case killPooler
    case backUpPostgres, putBackPostgres, putBackTwice, copyFile, putBackFile, enrolAgain

    /// Takes something away for good, or begins another past.
    static let ofPasts: [PlannedDisaster] = [.backUpPostgres, .putBackPostgres, .putBackTwice, .copyFile, .putBackFile, .enrolAgain]
}

struct HistoryPlan: Sendable {
    struct Step: Sendable {
        var work: PlannedWork
        var pick: UInt64
        var milliseconds: Int
    }

    struct Disaster: Sendable {
        /// Operations that are done by then.
        var after: Int
        var what: PlannedDisaster
        var pick: UInt64
    }

    let seed: UInt64
    /// One list a person.
    let steps: [[Step]]
    let disasters: [Disaster]
    /// Every third history reaches Postgres through pgbouncer in transaction mode.
    let usesPooler: Bool
    /// Every fourth keeps one past: no restore heals there what was lost otherwise, and the strictest rules hold.
    let keepsOnePast: Bool

    var operations: Int { steps.reduce(0) { $0 + $1.count } }
    /// From one disaster to the next.
    var operationsBetween: Int { operations / (disasters.count + 2) }

    /// Every disaster that the history has room for happens at least once.
    /// - Parameter more: Disasters besides.
    init(seed: UInt64, people: Int, stepsEach: Int, more: Int) {
        self.seed = seed
        usesPooler = seed % 3 == 0
        keepsOnePast = seed % 4 == 3
        var random = SeededRandom(seed: seed)
        let deck = PlannedWork.allCases.flatMap { Array(repeating: $0, count: $0.weight) }
        steps = (0..<people).map { _ in
            (0..<stepsEach).map { _ in
                Step(
                    work: deck[Int.random(in: 0..<deck.count, using: &random)], pick: UInt64.random(in: 0 ... .max, using: &random),
                    milliseconds: Int.random(in: 10...450, using: &random))
            }
        }
        var possible = PlannedDisaster.allCases
        if !usesPooler { possible.removeAll { $0 == .killPooler } }
        if keepsOnePast { possible.removeAll(where: PlannedDisaster.ofPasts.contains) }
        var kinds = possible
        for _ in 0..<more { kinds.append(possible.randomElement(using: &random) ?? .killServer) }
        kinds.shuffle(using: &random)
        let total = people * stepsEach
        disasters = kinds.enumerated().map { index, what in
            Disaster(
                after: (index + 1) * total / (kinds.count + 2), what: what, pick: UInt64.random(in: 0 ... .max, using: &random))
        }
    }
}
