// Reports of clients and deals.

enum CRMReports {
    static let all = [pipeline, closedDeals, clientOverview]

    private static let stage = FieldType.choice(["lead", "qualified", "proposal", "negotiation", "won", "lost"])

    /// How likely a deal is, in percent, as long as nobody has said so: by its stage.
    static let usualProbability = [("lead", 10), ("qualified", 25), ("proposal", 50), ("negotiation", 75), ("won", 100), ("lost", 0)]

    private static let probability =
        "COALESCE(probability, CASE stage " + usualProbability.map { "WHEN '\($0.0)' THEN \($0.1)" }.joined(separator: " ") + " END)"

    static let pipeline = Report(
        "pipeline", title: "open deals by currency and stage, with what they are likely to bring", reads: ["deal"],
        arguments: [.day("as_of", "deals whose expected close is before this day are overdue; today unless told")],
        columns: [
            .init("currency", .currency), .init("stage", stage), .init("deals"), .init("amount", .money(.min ... .max)),
            .init("weighted", .money(.min ... .max)), .init("overdue"),
        ],
        // Each deal's share is rounded half-up by itself.
        sql: """
            SELECT currency, stage, CAST(COUNT(*) AS BIGINT) AS deals, CAST(SUM(amount) AS BIGINT) AS amount,
            CAST(SUM((amount * \(probability) + 50) / 100) AS BIGINT) AS weighted,
            CAST(SUM(CASE WHEN expected_close < :as_of THEN 1 ELSE 0 END) AS BIGINT) AS overdue
            FROM deal WHERE deleted_at IS NULL AND stage NOT IN ('won', 'lost') GROUP BY currency, stage
            ORDER BY currency, CASE stage WHEN 'lead' THEN 1 WHEN 'qualified' THEN 2 WHEN 'proposal' THEN 3 ELSE 4 END
            """)

    static let closedDeals = Report(
        "closed_deals", title: "deals won and lost, by owner and currency", reads: ["deal", "member"],
        arguments: [
            .day("from", "first day of closing (UTC); 90 days ago unless told", orDaysAgo: 90),
            .day("until", "last day of closing (UTC); today unless told"),
        ],
        columns: [
            .init("owner", .reference("member", onDelete: .restrict)), .init("currency", .currency), .init("won"),
            .init("won_amount", .money(.min ... .max)), .init("lost"), .init("lost_amount", .money(.min ... .max)),
        ],
        sql: """
            SELECT owner, currency, CAST(SUM(CASE WHEN stage = 'won' THEN 1 ELSE 0 END) AS BIGINT) AS won,
            CAST(SUM(CASE WHEN stage = 'won' THEN amount ELSE 0 END) AS BIGINT) AS won_amount,
            CAST(SUM(CASE WHEN stage = 'lost' THEN 1 ELSE 0 END) AS BIGINT) AS lost,
            CAST(SUM(CASE WHEN stage = 'lost' THEN amount ELSE 0 END) AS BIGINT) AS lost_amount
            FROM deal WHERE deleted_at IS NULL AND stage IN ('won', 'lost')
            AND closed_at >= :from * 86400000 AND closed_at < (:until + 1) * 86400000
            GROUP BY owner, currency ORDER BY won_amount DESC, owner, currency
            """)

    static let clientOverview = Report(
        "client_overview", title: "clients with their sites, contacts and open deals, the busiest first",
        reads: ["client", "site", "contact", "client_contact", "deal"],
        columns: [
            .init("client", .reference("client", onDelete: .restrict)), .init("status", .text(1...40)), .init("sites"), .init("contacts"),
            .init("open_deals"),
        ],
        sql: """
            SELECT id AS client, status, sites, contacts, open_deals FROM (SELECT c.id, c.status,
            CAST((SELECT COUNT(*) FROM site s WHERE s.client = c.id AND s.deleted_at IS NULL) AS BIGINT) AS sites,
            CAST((SELECT COUNT(*) FROM client_contact l JOIN contact p ON p.id = l.contact
            WHERE l.client = c.id AND l.deleted_at IS NULL AND p.deleted_at IS NULL) AS BIGINT) AS contacts,
            CAST((SELECT COUNT(*) FROM deal d WHERE d.client = c.id AND d.deleted_at IS NULL AND d.stage NOT IN ('won', 'lost')) AS BIGINT)
            AS open_deals FROM client c WHERE c.deleted_at IS NULL) counted
            ORDER BY open_deals DESC, sites DESC, contacts DESC, client
            """)
}
