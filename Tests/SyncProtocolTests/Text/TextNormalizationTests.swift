// Equal texts get equal bytes.

import SyncProtocol
import Testing

@Suite struct TextNormalizationTests {
    private func scalars(_ text: String) -> [UInt32] { text.unicodeScalars.map(\.value) }

    @Test(arguments: [
        ("plain", "plain"), ("", ""), ("  a b \t\r\n", "a b"), (" \n ", ""), ("\u{A0}\u{2003}x\u{3000}\u{85}", "x"),
        ("e\u{301}", "\u{E9}"), ("\u{212B}", "\u{C5}"), ("A\u{30A}", "\u{C5}"), ("\u{1100}\u{1161}", "\u{AC00}"),
        ("q\u{307}\u{323}", "q\u{323}\u{307}"), ("ﬁ", "ﬁ"), ("\u{200B}x", "\u{200B}x"), ("a\r\nb", "a\r\nb"), ("\u{2126}", "\u{3A9}"),
        ("\u{200B}", ""), (" \u{2060}\u{FEFF}\u{AD} ", ""), ("\u{200D}\u{E0041}\u{3164}", ""), ("\u{7}\u{1B}", ""),
        ("\u{AD}x\u{200D}", "\u{AD}x\u{200D}"), ("\u{600}", "\u{600}"),
    ])
    func singleLine_composesAndTrims(text: String, expected: String) {
        let result = TextNormalization.singleLine(text)
        #expect(scalars(result) == scalars(expected))
        #expect(scalars(TextNormalization.singleLine(result)) == scalars(result))
    }

    @Test(arguments: [
        ("a\r\nb\rc\nd", "a\nb\nc\nd"), ("\r\r\n\n\rx", "\n\n\n\nx"), ("  indented \n\n \t", "  indented"), ("\r\n", ""), ("", ""),
        ("cafe\u{301}\r\n\u{2003}", "caf\u{E9}"), ("x", "x"), ("\u{200B}\n\u{FEFF}", ""), (" \u{200B}x\n", " \u{200B}x"),
    ])
    func multiLine_unifiesLineEnds_andTrimsTheEnd(text: String, expected: String) {
        let result = TextNormalization.multiLine(text)
        #expect(scalars(result) == scalars(expected))
        #expect(scalars(TextNormalization.multiLine(result)) == scalars(result))
    }

    @Test func scalarCount_countsScalars_notBytesOrCharacters() {
        for text in ["", "abc", "é", "e\u{301}", "€", "👨‍👩‍👧", "a\r\nb", "\u{10FFFF}"] {
            #expect(TextNormalization.scalarCount(text) == text.unicodeScalars.count)
        }
    }
}
