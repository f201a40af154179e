// The signature against the vector that the Standard Webhooks project publishes, against what its Python library signs, and against
// OpenSSL.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import SyncServer

@Suite struct WebhookSignatureTests {
    private static let published = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

    @Test func signature_matchesThePublishedVector() throws {
        let secret = try #require(WebhookSecret(Self.published))
        let header = WebhookSignature.header(
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestampSeconds: 1_614_265_330, body: Array(#"{"test": 2432232314}"#.utf8),
            secrets: [secret])
        #expect(header == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        #expect(secret.text == Self.published)
    }

    /// Made by `Webhook(secret).sign(…)` of standardwebhooks 1.1.0 from PyPI, with either secret of a rotation.
    @Test func signatures_areThoseOfThePublicLibrary_alsoWhileASecretIsRotated() throws {
        let secrets = try ["whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "whsec_yMnKy8zNzs/Q0dLT1NXW19jZ2tvc3d7f4OHi4+Tl5uc="]
            .map { try #require(WebhookSecret($0)) }
        let id = "evt_01900000-0000-7000-8000-0000000000bb_0_42_9f86d081884c7d65"
        let body = #"{"specversion":"1.0","id":"\#(id)","data":{"changes":{"name":{"old":null,"new":"Élan Café ☕ 🚢"}}}}"#
        let header = WebhookSignature.header(id: id, timestampSeconds: 1_773_648_000, body: Array(body.utf8), secrets: secrets)
        #expect(header == "v1,q2IUjV3IshCewgLHeHS0M3PKcNpplEVX16j8oGCDmNQ= v1,tO77QQneueXWPIBV7WnMFn1yG7lWdCZ8KPXkgt5lIMc=")
    }

    @Test func signature_isWhatOpenSSLComputes() throws {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        for length in [0, 1, 63, 64, 4096] {
            let secret = WebhookSecret(key: (0..<32).map { _ in UInt8.random(in: 0 ... .max, using: &random) })
            let body = (0..<length).map { _ in UInt8.random(in: 32..<127, using: &random) }
            let header = WebhookSignature.header(id: "evt_1", timestampSeconds: 7, body: body, secrets: [secret])
            let expected = try Self.openSSL(Array("evt_1.7.".utf8) + body, key: secret.key)
            #expect(header == "v1," + expected)
        }
    }

    @Test func header_carriesBothSignatures_whileASecretIsRotated() throws {
        let secrets = [WebhookSecret(key: [UInt8](repeating: 1, count: 32)), WebhookSecret(key: [UInt8](repeating: 2, count: 32))]
        let header = WebhookSignature.header(id: "a", timestampSeconds: 1, body: [], secrets: secrets)
        let parts = header.split(separator: " ").map(String.init)
        #expect(parts.count == 2)
        for (part, secret) in zip(parts, secrets) {
            #expect(part == WebhookSignature.header(id: "a", timestampSeconds: 1, body: [], secrets: [secret]))
        }
    }

    @Test(arguments: ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    func secret_isRefused_whenItIsNotOne(text: String) { #expect(WebhookSecret(text) == nil) }

    private static func openSSL(_ message: [UInt8], key: [UInt8]) throws -> String {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("tideline-hmac-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: file) }
        try Data(message).write(to: file)
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", "hexkey:\(Hex.encode(key))", "-binary", file.path]
        process.standardOutput = output
        try process.run()
        let digest = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0 && digest.count == 32)
        return digest.base64EncodedString()
    }
}
