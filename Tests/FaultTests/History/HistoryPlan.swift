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

/// What happens to the machines, once so many operations are done.
enum PlannedDisaster: Sendable, Hashable, CaseIterable {
    case killServer, killPostmaster, killBackend, killWatcher, fillDisk, breakDisk, restartPostgres, restartServer, cutConnections
}

struct HistoryPlan: Sendable {
    struct Step: Sendable {
        var work: PlannedWork
        var pick: UInt64
        var milliseconds: Int
    }

    let seed: UInt64
    /// One list a person.
    let steps: [[Step]]
    let disasters: [(after: Int, what: PlannedDisaster, pick: UInt64)]

    /// Every disaster happens at least once.
    init(seed: UInt64, people: Int, stepsEach: Int, disasters count: Int) {
        self.seed = seed
        var random = SeededRandom(seed: seed)
        let deck = PlannedWork.allCases.flatMap { Array(repeating: $0, count: $0.weight) }
        steps = (0..<people).map { _ in
            (0..<stepsEach).map { _ in
                Step(
                    work: deck[Int.random(in: 0..<deck.count, using: &random)], pick: UInt64.random(in: 0 ... .max, using: &random),
                    milliseconds: Int.random(in: 10...450, using: &random))
            }
        }
        var kinds = PlannedDisaster.allCases
        while kinds.count < count { kinds.append(PlannedDisaster.allCases.randomElement(using: &random) ?? .killServer) }
        kinds.shuffle(using: &random)
        let total = people * stepsEach
        disasters = kinds.enumerated().map { index, what in
            (after: (index + 1) * total / (kinds.count + 2), what: what, pick: UInt64.random(in: 0 ... .max, using: &random))
        }
    }
}
