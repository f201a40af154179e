// Where webhooks may go, in every spelling an address has.

import TestSupport
import Testing

@testable import SyncServer

@Suite struct AddressGuardTests {
    @Test(arguments: [
        "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1",
        "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1",
        "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1",
        "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "fc00::1",
        "fd12:3456::1", "fe80::1", "fec0::1", "ff02::1", "::127.0.0.1",
    ])
    func address_isRefused(text: String) throws {
        let address = try #require(HostResolver.literal(text))
        #expect(!AddressGuard().allows(address), "\(text)")
    }

    @Test(arguments: [
        "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1", "192.0.1.1", "198.17.255.255", "198.20.0.1",
        "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "::ffff:8.8.8.8", "64:ff9b::808:808",
    ])
    func address_isAllowed(text: String) throws {
        let address = try #require(HostResolver.literal(text))
        #expect(AddressGuard().allows(address), "\(text)")
    }

    @Test func range_allowsWhatTheOperatorNamed_andNoMore() throws {
        let guardian = AddressGuard(
            allowed: try ["10.1.0.0/16", "127.0.0.1", "fd00:1::/32", "172.20.8.0/21"].map { try #require(NetworkRange($0)) })
        for text in ["10.1.255.255", "127.0.0.1", "::ffff:10.1.2.3", "fd00:1:2::3", "172.20.15.255", "8.8.8.8"] {
            #expect(guardian.allows(try #require(HostResolver.literal(text))), "\(text)")
        }
        for text in ["10.2.0.1", "127.0.0.2", "fd00:2::1", "172.20.16.0", "172.20.7.255"] {
            #expect(!guardian.allows(try #require(HostResolver.literal(text))), "\(text)")
        }
    }

    @Test(arguments: ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/+8", "10.0.0.0/8/9", "fd00::/129", "host", "0x7f.1", "010.0.0.1"])
    func range_isRefused_whenItIsNone(text: String) { #expect(NetworkRange(text) == nil) }

    @Test func resolver_offersOnlyWhatIsAllowed() throws {
        let public1 = try #require(HostResolver.literal("8.8.8.8"))
        let inside = try #require(HostResolver.literal("10.0.0.1"))
        let mixed = HostResolver(addressGuard: AddressGuard(), lookUp: { _ in [inside, public1] })
        #expect(try mixed.endpoints(host: "both.example", port: 443) == [NetworkEndpoint(address: public1, port: 443)])
        let closed = HostResolver(addressGuard: AddressGuard(), lookUp: { _ in [inside] })
        let failure = #expect(throws: AttemptFailure.self) { try closed.endpoints(host: "inside.example", port: 80) }
        #expect(failure?.failure == .address)
        // Spellings that only the system's resolver understands end at the same guard.
        for host in ["127.1", "0x7f000001", "2130706433", "localhost"] {
            let failure = #expect(throws: AttemptFailure.self) {
                try HostResolver(addressGuard: AddressGuard()).endpoints(host: host, port: 80)
            }
            #expect(failure?.failure == .address || failure?.failure == .dns, "\(host)")
        }
    }

    @Test func url_isTakenApart() throws {
        let plain = try WebhookURL(checking: "http://hooks.example:8080/a/b?c=d")
        #expect(plain.host == "hooks.example" && plain.port == 8080 && plain.target == "/a/b?c=d" && !plain.isSecure)
        #expect(plain.authority == "hooks.example:8080")
        let secure = try WebhookURL(checking: "HTTPS://hooks.example?x=1")
        #expect(secure.port == 443 && secure.target == "/?x=1" && secure.isSecure && secure.authority == "hooks.example")
        let literal = try WebhookURL(checking: "http://[2001:db8::1]:81")
        #expect(literal.host == "2001:db8::1" && literal.port == 81 && literal.authority == "[2001:db8::1]:81")
        #expect(secure.redacted == "https://hooks.example/…")
    }

    @Test(arguments: [
        "", "ftp://a.example/", "a.example", "http://", "http:///x", "http://user@a.example/", "http://user:pass@a.example/",
        "http://a.example#x", "http://a.example:0/", "http://a.example:65536/", "http://a.example:8o/", "http://a b.example/",
        "http://a.example/\u{E9}", "http://a.example/\\x", "http://[::1/", "http://a.example/\nx", "http://a%2eb.example/",
        "file:///etc/passwd", "http://a.example/" + String(repeating: "x", count: 2_048),
    ])
    func url_namesItsField_whenItIsNone(text: String) {
        let error = refusal { try WebhookURL(checking: text) }
        #expect(error?.knownCode == .validationFailed && error?.details["field"] == "url", "\(text)")
    }
}
