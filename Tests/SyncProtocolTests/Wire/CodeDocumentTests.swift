// The lists of codes in docs/validation.md and docs/protocol.md are those of the code, no fewer and no more.

import Foundation
import SyncProtocol
import Testing

@Suite struct CodeDocumentTests {
    private static func document(_ name: String) throws -> String {
        var root = URL(fileURLWithPath: #filePath)
        for _ in 0..<4 { root.deleteLastPathComponent() }
        return try String(contentsOf: root.appendingPathComponent("docs/\(name)"), encoding: .utf8)
    }

    /// What stands between back quotes in a text.
    private static func quoted(_ text: some StringProtocol) -> [String] {
        text.split(separator: "`", omittingEmptySubsequences: false).enumerated().filter { $0.offset % 2 == 1 }.map { String($0.element) }
    }

    /// The codes in one column of the tables of a section.
    private static func codes(_ section: String, column: Int) throws -> [String] {
        let whole = try document("validation.md")
        guard let text = whole.components(separatedBy: "\n## \(section)\n").dropFirst().first?.components(separatedBy: "\n## ").first
        else { return [] }
        return text.split(separator: "\n").filter { $0.hasPrefix("| ") }.flatMap { row in
            let cells = row.split(separator: "|")
            return cells.count > column ? quoted(cells[column]) : []
        }
    }

    @Test func requestCodes_areAllExplained_withTheirStatus() throws {
        let explained = try Self.codes("Errors of requests", column: 1)
        #expect(Set(explained).count == explained.count, "a code comes twice")
        #expect(Set(explained) == Set(ErrorCode.allCases.map(\.rawValue)))
        for row in try Self.document("validation.md").split(separator: "\n") {
            let cells = row.split(separator: "|")
            guard cells.count > 2, let status = Int(cells[0].trimmingCharacters(in: .whitespaces)) else { continue }
            for code in Self.quoted(cells[1]) { #expect(ErrorCode(rawValue: code)?.status == status, "\(code)") }
        }
    }

    @Test func violationCodes_areAllExplained() throws {
        let explained = try Self.codes("What is wrong with a value", column: 0)
        #expect(Set(explained).count == explained.count, "a code comes twice")
        #expect(Set(explained) == Set(ViolationCode.allCases.map(\.rawValue)))
    }

    @Test func protocol_listsEveryCode() throws {
        let section = try #require(
            Self.document("protocol.md").components(separatedBy: "\n## 9. Codes\n").last?.components(separatedBy: "\n## ").first)
        let listed = Set(Self.quoted(section))
        for code in ErrorCode.allCases { #expect(listed.contains(code.rawValue), "\(code.rawValue)") }
        for code in ViolationCode.allCases { #expect(listed.contains(code.rawValue), "\(code.rawValue)") }
    }
}
