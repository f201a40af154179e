// A quote or bracket with a mark that combines with it is another character to Swift, and the same byte to whoever reads the file.

import Foundation
import TestSupport
import Testing

@testable import SyncServer
@testable import replica_cli

@Suite struct EscapingTests {
    static let hostile = ["a\"\u{31C}b", "\"\u{31C},\n\u{31C}", "\"", "\"\"\u{20D2}", "x", "", "a,\u{301}b", "\r\n"]

    @Test func csv_readsWhatItWrote() throws {
        var reader = CSVReader(Array((CSVWriter.line(Self.hostile) + "\n").utf8))
        let record = try #require(try reader.next())
        #expect(record.fields.map { Array($0.utf8) } == Self.hostile.map { Array($0.utf8) })
        #expect(try reader.next() == nil)
    }

    @Test func html_keepsNoBracketAndNoQuote() {
        for mark in ["\u{31C}", "\u{338}", "\u{20D2}", "\u{FE0F}"] {
            let bytes = Array(HTMLText.escaped("<\(mark)script>\(mark)\"\(mark)&\(mark)").utf8)
            #expect(!bytes.contains(UInt8(ascii: "<")) && !bytes.contains(UInt8(ascii: ">")) && !bytes.contains(UInt8(ascii: "\"")))
        }
    }

    @Test func metrics_keepNoOpenQuote() {
        let bytes = Array(PrometheusText.escaped("a\"\u{31C}b\\\u{31C}c\n\u{31C}d").utf8)
        #expect(!bytes.contains(UInt8(ascii: "\n")))
        #expect(bytes.filter { $0 == UInt8(ascii: "\\") }.count == 4)
    }
}
