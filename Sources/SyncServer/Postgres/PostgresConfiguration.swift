// How a connection is opened. A value: pools, the listener and the notifier each keep their own copy.

struct PostgresConfiguration: Sendable {
    /// A libpq URI or keyword string; passed through, so several hosts and every libpq option work. What it sets wins over the fields below.
    var url: String
    var applicationName: String
    /// Off for transaction poolers that cannot keep prepared statements; the time-outs then travel with each transaction
    /// (`SET LOCAL`), because such a session is shared.
    var usesPreparedStatements: Bool
    /// 0 means no limit, as in Postgres.
    var statementTimeoutMilliseconds: Int
    var lockTimeoutMilliseconds: Int
    var idleInTransactionTimeoutMilliseconds: Int
    /// For each host of the URL.
    var connectTimeoutSeconds: Int
    var preparedStatementsMax: Int
    /// Called on the connection's thread with the text of a NOTICE or WARNING; nil silences them.
    var onNotice: (@Sendable (String) -> Void)?

    init(
        url: String, applicationName: String = "tideline", usesPreparedStatements: Bool = true,
        statementTimeoutMilliseconds: Int = 30_000, lockTimeoutMilliseconds: Int = 10_000,
        idleInTransactionTimeoutMilliseconds: Int = 60_000, connectTimeoutSeconds: Int = 5,
        preparedStatementsMax: Int = 256, onNotice: (@Sendable (String) -> Void)? = nil
    ) {
        self.url = url
        self.applicationName = applicationName
        self.usesPreparedStatements = usesPreparedStatements
        self.statementTimeoutMilliseconds = statementTimeoutMilliseconds
        self.lockTimeoutMilliseconds = lockTimeoutMilliseconds
        self.idleInTransactionTimeoutMilliseconds = idleInTransactionTimeoutMilliseconds
        self.connectTimeoutSeconds = connectTimeoutSeconds
        self.preparedStatementsMax = preparedStatementsMax
        self.onNotice = onNotice
    }

    /// Sets the three time-outs, for the session or for the current transaction.
    func timeoutStatement(isLocal: Bool) -> PostgresStatement {
        PostgresStatement(
            """
            SELECT set_config('statement_timeout', $1, $4), set_config('lock_timeout', $2, $4), \
            set_config('idle_in_transaction_session_timeout', $3, $4)
            """,
            [
                .integer(Int64(statementTimeoutMilliseconds)), .integer(Int64(lockTimeoutMilliseconds)),
                .integer(Int64(idleInTransactionTimeoutMilliseconds)), .bool(isLocal),
            ])
    }
}
