// The signature against the vector that the Standard Webhooks project publishes, and against OpenSSL.

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
