// One round trip: statements (and the preparations they need) go out in libpq's pipeline mode while answers already come in.
// Writing never waits for reading to finish or the other way round, so that megabytes in both directions cannot lock up.

import CPostgres

extension PostgresConnection {
    /// `mayCommit`: a lost connection leaves open whether the work was stored.
    func execute(
        _ statements: [PostgresStatement], operation: String, mayCommit: Bool
    ) throws(PostgresError) -> [PostgresResult] {
        if statements.isEmpty { return [] }
        for (index, statement) in statements.enumerated() {
            if let refusal = PostgresParameters.refusal(statement) {
                throw PostgresError(
                    sqlState: refusal.sqlState, message: refusal.message, operation: operation,
                    statement: statements.count > 1 ? index : nil)
            }
        }
        let canRepeat = isOutsideTransaction
        do {
            return try trip(statements, operation: operation, mayCommit: mayCommit)
        } catch {
            guard error.isStaleStatement, !error.isConnectionLost else { throw error }
            // Everything prepared may be as old. Outside a transaction nothing has happened yet, so the caller need not know.
            deallocations += prepared.removeAll()
            guard canRepeat else { throw error }
            return try trip(statements, operation: operation, mayCommit: mayCommit)
        }
    }

    private func trip(
        _ statements: [PostgresStatement], operation: String, mayCommit: Bool
    ) throws(PostgresError) -> [PostgresResult] {
        let handle = try usableHandle(operation: operation)
        guard PQenterPipelineMode(handle) == 1 else {
            // Only an unfinished answer of an earlier call can be the cause; such a session cannot be trusted.
            close()
            throw PostgresError(
                sqlState: "08P01", message: "the connection was busy", operation: operation, isConnectionLost: true)
        }
        let pipeline = PostgresPipeline(handle: handle, operation: operation, isBatch: statements.count > 1)
        pipeline.results.reserveCapacity(statements.count)

        for (index, statement) in statements.enumerated() where pipeline.isOpen {
            let parameters = PostgresParameters(statement.parameters)
            if configuration.usesPreparedStatements {
                let name: String
                if let known = prepared.name(for: statement.sql) {
                    name = known
                } else {
                    let inserted = prepared.insert(statement.sql)
                    if let evicted = inserted.evicted { deallocations.append(evicted) }
                    name = inserted.name
                    pipeline.sendPrepare(statement.sql, name: name, index: index)
                }
                pipeline.sendPrepared(name, parameters, index: index)
            } else {
                pipeline.sendUnnamed(statement.sql, parameters, index: index)
            }
        }
        pipeline.sendSync()
        // After their own sync: in a failed transaction they are refused, and must not be mistaken for the batch.
        if !deallocations.isEmpty {
            for name in deallocations { pipeline.sendDeallocate(name) }
            pipeline.sendSync()
        }
        pipeline.finish()

        for (sql, name) in pipeline.unprepared { prepared.remove(sql, name: name) }
        deallocations.removeAll { pipeline.deallocated.contains($0) }

        if pipeline.isLost || PQstatus(handle) != CONNECTION_OK || PQexitPipelineMode(handle) != 1 {
            let known = pipeline.failure
            let lost = PostgresError.connectionLost(handle, operation: operation)
            // Both sides must agree that it is over, or later answers would be taken for the wrong statements.
            close()
            throw PostgresError(
                sqlState: known?.sqlState ?? lost.sqlState, message: known?.message ?? lost.message, operation: operation,
                statement: known?.statement, isConnectionLost: true, isOutcomeUnknown: mayCommit)
        }
        if let failure = pipeline.failure { throw failure }
        return pipeline.results
    }
}

/// The state of one trip: what was sent, how far answers have come.
private final class PostgresPipeline {
    private enum Step {
        case prepare(sql: String, name: String, index: Int)
        case execute(index: Int)
        case deallocate(name: String)
        case sync
    }

    /// Above this many unsent bytes the trip stops queueing and lets the socket drain, so memory stays bounded.
    private static let unsentBytesMax = 256 * 1024

    private let handle: OpaquePointer
    private let operation: String
    private let isBatch: Bool
    private var steps: [Step] = []
    private var answered = 0
    private var hasResult = false
    private var unsentBytes = 0

    var results: [PostgresResult] = []
    var failure: PostgresError?
    var unprepared: [(sql: String, name: String)] = []
    var deallocated: Set<String> = []
    private(set) var isLost = false

    init(handle: OpaquePointer, operation: String, isBatch: Bool) {
        self.handle = handle
        self.operation = operation
        self.isBatch = isBatch
    }

    var isOpen: Bool { !isLost }

    // MARK: Sending

    func sendPrepare(_ sql: String, name: String, index: Int) {
        queue(.prepare(sql: sql, name: name, index: index), bytes: sql.utf8.count) {
            PQsendPrepare(handle, name, sql, 0, nil)
        }
    }

    func sendPrepared(_ name: String, _ parameters: PostgresParameters, index: Int) {
        queue(.execute(index: index), bytes: parameters.byteCount + 32) {
            parameters.withPointers { values, lengths, formats in
                PQsendQueryPrepared(handle, name, parameters.count, values, lengths, formats, 0)
            }
        }
    }

    func sendUnnamed(_ sql: String, _ parameters: PostgresParameters, index: Int) {
        queue(.execute(index: index), bytes: parameters.byteCount + sql.utf8.count + 32) {
            parameters.withPointers { values, lengths, formats in
                PQsendQueryParams(handle, sql, parameters.count, nil, values, lengths, formats, 0)
            }
        }
    }

    func sendDeallocate(_ name: String) {
        queue(.deallocate(name: name), bytes: 64) {
            PQsendQueryParams(handle, "DEALLOCATE \(name)", 0, nil, nil, nil, nil, 0)
        }
    }

    func sendSync() {
        queue(.sync, bytes: 8) { PQpipelineSync(handle) }
    }

    private func queue(_ step: Step, bytes: Int, _ send: () -> Int32) {
        guard !isLost else {
            if case .prepare(let sql, let name, _) = step { unprepared.append((sql, name)) }
            return
        }
        steps.append(step)
        // The values were checked before, so a refusal to send is either a dead connection or no memory; in both the trip is over.
        guard send() == 1 else { return lose() }
        unsentBytes += bytes
        if unsentBytes > PostgresPipeline.unsentBytesMax {
            exchange(untilAnswered: false)
            unsentBytes = 0
        }
    }

    // MARK: Receiving

    func finish() {
        if !isLost { exchange(untilAnswered: true) }
        for step in steps[min(answered, steps.count)...] {
            if case .prepare(let sql, let name, _) = step { unprepared.append((sql, name)) }
        }
    }

    /// Writes and reads until everything queued has left (or, `untilAnswered`, until everything sent is answered).
    private func exchange(untilAnswered: Bool) {
        while !isLost {
            let flushed = PQflush(handle)
            collect()
            if untilAnswered ? answered == steps.count : flushed == 0 { return }
            if flushed < 0 || PQstatus(handle) != CONNECTION_OK { return lose() }
            PostgresConnection.waitForSocket(PQsocket(handle), alsoWritable: flushed == 1)
            if PQconsumeInput(handle) == 0 {
                // What the server said before it went is worth more than "closed unexpectedly".
                collect()
                return lose()
            }
        }
    }

    private func lose() { isLost = true }

    private func collect() {
        var emptyAnswers = 0
        while answered < steps.count, PQisBusy(handle) == 0 {
            guard let result = PQgetResult(handle) else {
                // The end of one statement's results, or nothing yet.
                if hasResult {
                    hasResult = false
                    answered += 1
                    emptyAnswers = 0
                } else {
                    emptyAnswers += 1
                    if emptyAnswers > 1 { return }
                }
                continue
            }
            let status = PQresultStatus(result)
            if status == PGRES_PIPELINE_SYNC {
                PQclear(result)
                guard case .sync = steps[answered] else { return lose() }
                answered += 1
                continue
            }
            take(result, status)
            hasResult = true
        }
    }

    private func take(_ result: OpaquePointer, _ status: ExecStatusType) {
        let isSuccess = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY
        switch steps[answered] {
        case .prepare(let sql, let name, let index):
            if !isSuccess {
                unprepared.append((sql, name))
                fail(result, status, index: index)
            }
            PQclear(result)
        case .execute(let index):
            if isSuccess && failure == nil {
                results.append(PostgresResult(taking: result))
                return
            }
            if !isSuccess { fail(result, status, index: index) }
            PQclear(result)
        case .deallocate(let name):
            let sqlState = PQresultErrorField(result, Int32(UInt8(ascii: "C"))).map { String(cString: $0) }
            if isSuccess || sqlState == "26000" { deallocated.insert(name) }
            PQclear(result)
        case .sync:
            // libpq reports the loss of the connection in place of the sync.
            fail(result, status, index: nil)
            PQclear(result)
        }
    }

    private func fail(_ result: OpaquePointer, _ status: ExecStatusType, index: Int?) {
        guard failure == nil, status != PGRES_PIPELINE_ABORTED else { return }
        failure = PostgresError(result: result, operation: operation, statement: isBatch ? index : nil)
    }
}
