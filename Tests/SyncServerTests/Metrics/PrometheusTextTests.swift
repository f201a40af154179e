// The text format, and labels that stay few whatever clients ask for.

import Testing

@testable import SyncServer

@Suite struct PrometheusTextTests {
    @Test func histogram_isCumulative() {
        var histogram = Metrics.Histogram()
        for seconds in [0.0005, 0.001, 0.002, 100] { histogram.add(seconds) }
        var page = PrometheusText()
        page.histogram("h", [("a", "b")], bounds: Metrics.bounds, buckets: histogram.buckets, sum: histogram.sumSeconds)
        #expect(page.text.hasPrefix("h_bucket{a=\"b\",le=\"0.001\"} 2\nh_bucket{a=\"b\",le=\"0.0025\"} 3\n"))
        #expect(page.text.contains("le=\"60.0\"} 3\nh_bucket{a=\"b\",le=\"+Inf\"} 4\n"))
        #expect(page.text.hasSuffix("h_count{a=\"b\"} 4\n"))
    }

    @Test func labels_areEscaped() {
        var page = PrometheusText()
        page.sample("s", [("a", "x\"y\\z\nw")], Int64(1))
        #expect(page.text == "s{a=\"x\\\"y\\\\z\\nw\"} 1\n")
    }

    @Test func routes_areFew() {
        let entities: Set<String> = ["client"]
        func label(_ path: String) -> String { MetricRoute.label(path: path, entities: entities) }
        #expect(label("/v1/sync/push") == "/v1/sync/push")
        #expect(label("/v1/client") == "/v1/{entity}" && label("/v1/client/1") == "/v1/{entity}/{id}")
        #expect(label("/v1/consumers/a/dead/7/replay") == "/v1/consumers/{name}/dead")
        #expect(
            label("/v1/consumers/a/x") == "other" && label("/v1/whatever") == "other" && label("/../x") == "other" && label("") == "other")
        #expect(MetricRoute.method("BREW") == "other")
        // What the server has a route for is never filed under other.
        for route in Route.all { #expect(label("/" + route.path.joined(separator: "/")) != "other", "\(route.path)") }
        #expect(label("/v1/reports") == "/v1/reports")
    }
}
