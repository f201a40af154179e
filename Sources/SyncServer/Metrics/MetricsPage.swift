// `GET /metrics`: what this process counted, and what the database says about consumers when it is asked.

import Foundation
import SyncProtocol

struct MetricsPage {
    let metrics: Metrics
    let statistics: HTTPStatistics
    let workers: Int
    let outbox: OutboxSettings

    /// Consumers further behind than others are shown; the rest is in the sums only.
    static let consumersMax: Int64 = 200

    /// What the database answered; nil when it did not.
    struct Outbox {
        struct One {
            var tenant: String
            var name: String
            var status: String
            var lag: Int64
            var oldestAt: Int64?
            var dead: Int64
        }
        var consumers: [One]
        var milliseconds: Double
    }

    static func read(_ connection: PostgresConnection) throws -> Outbox {
        let began = DispatchTime.now().uptimeNanoseconds
        let consumers = try connection.transaction(.readWrite, prelude: [TenantSession.enterWithoutTenant]) { connection in
            let result = try connection.run(
                "SELECT tenant, name, status, lag, oldest_at, dead FROM tideline.outbox_status($1)", .integer(consumersMax))
            return result.rows.map { row in
                Outbox.One(
                    tenant: result.text(row, 0) ?? "", name: result.text(row, 1) ?? "", status: result.text(row, 2) ?? "",
                    lag: result.integer(row, 3) ?? 0, oldestAt: result.integer(row, 4), dead: result.integer(row, 5) ?? 0)
            }
        }
        return Outbox(consumers: consumers, milliseconds: Double(DispatchTime.now().uptimeNanoseconds - began) / 1_000_000)
    }

    func text(_ answer: Outbox?, nowMilliseconds now: Int64) -> String {
        let counts = metrics.snapshot
        var page = PrometheusText()
        page.family("tideline_info", .gauge, "The build that is running.")
        page.sample("tideline_info", [("version", Configuration.version), ("schema", String(Schema.currentVersion))], Int64(1))
        page.family("tideline_start_time_seconds", .gauge, "When the process started, Unix time.")
        page.sample("tideline_start_time_seconds", Double(metrics.startedAtMilliseconds) / 1000)
        requests(counts, &page)
        connections(counts, &page)
        sync(counts, &page)
        deliveries(counts, &page)
        page.family("tideline_database_up", .gauge, "Whether the database answered this request.")
        page.sample("tideline_database_up", Int64(answer == nil ? 0 : 1))
        page.family("tideline_database_errors_total", .counter, "Requests that met an error of the database.")
        page.sample("tideline_database_errors_total", counts.databaseErrors)
        if let answer { consumers(answer, now, &page) }
        return page.text
    }

    private func deliveries(_ counts: Metrics.Snapshot, _ page: inout PrometheusText) {
        page.family("tideline_deliveries_total", .counter, "Attempts at webhooks by result.")
        for (result, count) in counts.deliveries.sorted(by: { $0.key < $1.key }) {
            page.sample("tideline_deliveries_total", [("result", result)], count)
        }
        page.family("tideline_dead_letters_total", .counter, "Deliveries given up by this process.")
        page.sample("tideline_dead_letters_total", counts.deadLetters)
        let gauges: [(String, String, Int)] = [
            ("tideline_outbox_threads", "Threads that deliver to consumers; 0: this process delivers nothing.", outbox.threads),
            (
                "tideline_outbox_threads_busy", "Threads at work for a consumer, waiting for its endpoint included.",
                counts.busyOutboxThreads
            ),
            (
                "tideline_outbox_connections", "Database connections those threads share, one for looking for work not counted.",
                outbox.threads == 0 ? 0 : outbox.connectionsMax
            ),
            (
                "tideline_outbox_connections_busy", "Of those, in use: before and after an attempt, never during it.",
                counts.busyOutboxConnections
            ),
        ]
        for (name, help, value) in gauges {
            page.family(name, .gauge, help)
            page.sample(name, Int64(value))
        }
    }

    private func requests(_ counts: Metrics.Snapshot, _ page: inout PrometheusText) {
        page.family("tideline_http_requests_total", .counter, "Requests answered.")
        for (one, count) in counts.exchanges.sorted(by: {
            ($0.key.route, $0.key.method, $0.key.status) < ($1.key.route, $1.key.method, $1.key.status)
        }) {
            page.sample(
                "tideline_http_requests_total", [("route", one.route), ("method", one.method), ("status", String(one.status))], count)
        }
        page.family("tideline_http_request_seconds", .histogram, "From the first byte received to the last byte sent, waiting included.")
        for (route, histogram) in counts.durations.sorted(by: { $0.key < $1.key }) {
            page.histogram(
                "tideline_http_request_seconds", [("route", route)], bounds: Metrics.bounds, buckets: histogram.buckets,
                sum: histogram.sumSeconds)
        }
        page.family("tideline_http_refusals_total", .counter, "Requests refused before a worker saw them, by reason.")
        for (reason, count) in statistics.refusals.sorted(by: { $0.key < $1.key }) {
            page.sample("tideline_http_refusals_total", [("reason", reason)], Int64(count))
        }
    }

    private func connections(_ counts: Metrics.Snapshot, _ page: inout PrometheusText) {
        let gauges: [(String, String, Int)] = [
            ("tideline_http_connections", "Connections open.", statistics.openConnections),
            ("tideline_http_waiters", "Requests that wait for news.", statistics.parkedRequests),
            ("tideline_http_requests_in_flight", "Requests with a worker or waiting for one.", statistics.requestsInFlight),
            ("tideline_http_held_bytes", "Bytes of requests and responses held.", statistics.heldBytes),
            ("tideline_workers", "Worker threads, each with a database connection.", workers),
            ("tideline_workers_busy", "Workers handling a request, this one included.", counts.busyWorkers),
        ]
        for (name, help, value) in gauges {
            page.family(name, .gauge, help)
            page.sample(name, Int64(value))
        }
        let counters: [(String, String, Int)] = [
            ("tideline_http_connections_accepted_total", "Connections accepted.", statistics.acceptedConnections),
            ("tideline_http_received_bytes_total", "Bytes received.", statistics.bytesReceived),
            ("tideline_http_sent_bytes_total", "Bytes sent.", statistics.bytesSent),
        ]
        for (name, help, value) in counters {
            page.family(name, .counter, help)
            page.sample(name, Int64(value))
        }
    }

    private func sync(_ counts: Metrics.Snapshot, _ page: inout PrometheusText) {
        page.family("tideline_push_sets_total", .counter, "Change sets processed, by outcome.")
        for (status, count) in counts.sets.sorted(by: { $0.key < $1.key }) {
            page.sample("tideline_push_sets_total", [("outcome", status)], count)
        }
        page.family("tideline_pull_pages_total", .counter, "Pages of pulls answered.")
        page.sample("tideline_pull_pages_total", counts.pulledPages)
        page.family("tideline_pull_rows_total", .counter, "Records on those pages.")
        page.sample("tideline_pull_rows_total", counts.pulledRows)
    }

    private func consumers(_ outbox: Outbox, _ now: Int64, _ page: inout PrometheusText) {
        page.family("tideline_database_seconds", .gauge, "How long the database took to answer this request.")
        page.sample("tideline_database_seconds", outbox.milliseconds / 1000)
        page.family("tideline_consumer_lag_positions", .gauge, "Feed entries a consumer is behind.")
        for one in outbox.consumers {
            page.sample("tideline_consumer_lag_positions", [("tenant", one.tenant), ("consumer", one.name)], one.lag)
        }
        page.family("tideline_consumer_lag_seconds", .gauge, "Age of the oldest entry a consumer has not had.")
        for one in outbox.consumers {
            let age = one.oldestAt.map { Double(max(0, now - $0)) / 1000 } ?? 0
            page.sample("tideline_consumer_lag_seconds", [("tenant", one.tenant), ("consumer", one.name)], age)
        }
        page.family("tideline_consumer_dead_letters", .gauge, "Dead letters of a consumer that wait for a person.")
        for one in outbox.consumers {
            page.sample("tideline_consumer_dead_letters", [("tenant", one.tenant), ("consumer", one.name)], one.dead)
        }
        page.family("tideline_consumer_active", .gauge, "1 while a consumer is active, 0 while it is paused or disabled.")
        for one in outbox.consumers {
            page.sample(
                "tideline_consumer_active", [("tenant", one.tenant), ("consumer", one.name)], Int64(one.status == "active" ? 1 : 0))
        }
    }
}
