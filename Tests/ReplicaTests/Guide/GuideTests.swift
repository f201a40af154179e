// The guide says what compiles and does what it says.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import Replica

@Suite struct GuideTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    private func lines(_ text: String) -> [String] {
        text.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
    }

    @Test func everySnippet_isCompiled() throws {
        let compiled = lines(
            try String(contentsOf: Self.root.appendingPathComponent("Tests/ReplicaTests/Guide/GuideSnippets.swift"), encoding: .utf8))
        let folder = Self.root.appendingPathComponent("Sources/Replica/Replica.docc")
        var count = 0
        for file in try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        where file.pathExtension == "md" {
            let text = try String(contentsOf: file, encoding: .utf8)
            for block in text.components(separatedBy: "```swift\n").dropFirst() {
                let snippet = lines(block.components(separatedBy: "```")[0])
                count += 1
                let isThere = compiled.indices.contains { start in compiled[start...].starts(with: snippet) }
                #expect(isThere, "\(file.lastPathComponent): not in GuideSnippets.swift:\n\(snippet.joined(separator: "\n"))")
            }
        }
        #expect(count >= 14)
    }

    @Test func snippets_doWhatTheGuideSays() async throws {
        let world = try World()
        let site = try await world.replica("Nina")
        let replica = site.replica
        let client = try await GuideSnippets.write(replica)
        try await GuideSnippets.refused(replica, client)
        try await GuideSnippets.tags(replica, client)
        try await GuideSnippets.sync(replica)
        let (page, totals) = try await GuideSnippets.read(replica, client)
        #expect(page.data.map(\.id) == [client])
        #expect(totals.first?["clients"] == .integer(1))
        try await GuideSnippets.problems(replica)
        try await GuideSnippets.history(replica, client)
        try await GuideSnippets.undo(replica)
        #expect(try await replica.get("client", client)?.elements("tags") == ["marina"])
        await GuideSnippets.stay(replica)
        try await expectConverged(world, site)
    }
}
