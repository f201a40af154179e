// Mirrors HTTP/Sockets/ListenAddress.swift.
import Testing

@testable import SyncServer

@Suite struct ListenAddressTests {
    @Test(arguments: [
        ("127.0.0.1:8080", "127.0.0.1", 8080), ("localhost:0", "localhost", 0), ("[::1]:443", "::1", 443),
        ("[::]:65535", "::", 65535),
    ])
    func listenAddress_parses_hostAndPort(text: String, host: String, port: Int) throws {
        let address = try #require(ListenAddress(parsing: text))
        #expect(address.host == host)
        #expect(Int(address.port) == port)
    }

    @Test(arguments: [
        "", "8080", "127.0.0.1", "127.0.0.1:", ":8080", "::1:8080", "[::1]", "[]:1", "[::1:1", "host:65536", "host:+1",
        "host:-1", "host:1x", "host:000001", "host: 1",
    ])
    func listenAddress_isRefused_whenNotHostAndPort(text: String) {
        #expect(ListenAddress(parsing: text) == nil)
    }

    @Test func boundAddress_bracketsHost_whenIPv6() {
        #expect(BoundAddress(host: "::1", port: 80).description == "[::1]:80")
        #expect(BoundAddress(host: "10.0.0.1", port: 80).description == "10.0.0.1:80")
    }
}
