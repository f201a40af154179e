// Postgres' text form of one-dimensional arrays, both ways: `{a,"b c",NULL}`. Used by parameters and results.

enum PostgresArray {
    /// Appends the array literal of UTF-8 elements; nil is NULL. Every element is quoted: no list of special words to keep.
    static func append<Element: Sequence>(_ elements: some Sequence<Element?>, to bytes: inout [UInt8])
    where Element.Element == UInt8 {
        bytes.append(UInt8(ascii: "{"))
        var isFirst = true
        for element in elements {
            if !isFirst { bytes.append(UInt8(ascii: ",")) }
            isFirst = false
            guard let element else {
                bytes.append(contentsOf: "NULL".utf8)
                continue
            }
            bytes.append(UInt8(ascii: "\""))
            for byte in element {
                if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { bytes.append(UInt8(ascii: "\\")) }
                bytes.append(byte)
            }
            bytes.append(UInt8(ascii: "\""))
        }
        bytes.append(UInt8(ascii: "}"))
    }

    static func append(_ integers: some Sequence<Int64?>, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "{"))
        var isFirst = true
        for integer in integers {
            if !isFirst { bytes.append(UInt8(ascii: ",")) }
            isFirst = false
            if let integer {
                bytes.append(contentsOf: String(integer).utf8)
            } else {
                bytes.append(contentsOf: "NULL".utf8)
            }
        }
        bytes.append(UInt8(ascii: "}"))
    }

    /// The elements of a one-dimensional array literal as bytes; nil if the text is not one.
    static func parse(_ text: UnsafeBufferPointer<UInt8>) -> [[UInt8]?]? {
        var index = 0
        guard text.count >= 2, text[0] == UInt8(ascii: "{"), text[text.count - 1] == UInt8(ascii: "}") else { return nil }
        let end = text.count - 1
        index = 1
        var elements: [[UInt8]?] = []
        if index == end { return elements }
        while true {
            var element: [UInt8] = []
            if index < end, text[index] == UInt8(ascii: "\"") {
                index += 1
                while index < end, text[index] != UInt8(ascii: "\"") {
                    if text[index] == UInt8(ascii: "\\") { index += 1 }
                    guard index < end else { return nil }
                    element.append(text[index])
                    index += 1
                }
                guard index < end else { return nil }
                index += 1
                elements.append(element)
            } else {
                while index < end, text[index] != UInt8(ascii: ",") {
                    // A brace here means nested arrays, which this form does not cover.
                    if text[index] == UInt8(ascii: "{") || text[index] == UInt8(ascii: "}") { return nil }
                    if text[index] == UInt8(ascii: "\\") { index += 1 }
                    guard index < end else { return nil }
                    element.append(text[index])
                    index += 1
                }
                elements.append(element == Array("NULL".utf8) ? nil : element)
            }
            if index == end { return elements }
            guard text[index] == UInt8(ascii: ",") else { return nil }
            index += 1
        }
    }
}
