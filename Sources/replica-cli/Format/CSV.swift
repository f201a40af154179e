// Comma-separated values (RFC 4180), read as bytes and with the line each record began on.

struct CSVError: Error {
    var line: Int
    var message: String
}

struct CSVReader {
    private let bytes: [UInt8]
    private var index = 0
    private var line = 1

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { index = 3 }
    }

    /// The next record and its line, or nil at the end. Empty lines are skipped.
    mutating func next() throws(CSVError) -> (line: Int, fields: [String])? {
        while index < bytes.count, bytes[index] == 0x0A || bytes[index] == 0x0D {
            if bytes[index] == 0x0A { line += 1 }
            index += 1
        }
        guard index < bytes.count else { return nil }
        let start = line
        var fields: [String] = []
        while true {
            fields.append(try field())
            guard index < bytes.count else { break }
            if bytes[index] == 0x2C {
                index += 1
                continue
            }
            if bytes[index] == 0x0D { index += 1 }
            if index < bytes.count, bytes[index] == 0x0A {
                index += 1
                line += 1
            }
            break
        }
        return (start, fields)
    }

    private mutating func field() throws(CSVError) -> String {
        guard index < bytes.count, bytes[index] == 0x22 else {
            let start = index
            while index < bytes.count, ![0x2C, 0x0A, 0x0D].contains(bytes[index]) { index += 1 }
            return try text(Array(bytes[start..<index]))
        }
        let opened = line
        index += 1
        var content: [UInt8] = []
        while true {
            guard index < bytes.count else { throw CSVError(line: opened, message: "a quoted field does not end") }
            let byte = bytes[index]
            index += 1
            if byte == 0x22 {
                guard index < bytes.count, bytes[index] == 0x22 else { break }
                index += 1
            } else if byte == 0x0A {
                line += 1
            }
            content.append(byte)
        }
        guard index >= bytes.count || [0x2C, 0x0A, 0x0D].contains(bytes[index]) else {
            throw CSVError(line: line, message: "text after a closing quote")
        }
        return try text(content)
    }

    private func text(_ bytes: [UInt8]) throws(CSVError) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else { throw CSVError(line: line, message: "not valid UTF-8") }
        guard !bytes.contains(0) else { throw CSVError(line: line, message: "NUL is not allowed; is this a CSV file?") }
        return text
    }
}

enum CSVWriter {
    static func line(_ fields: [String]) -> String {
        fields.map { field in
            field.utf8.contains(where: { [0x22, 0x2C, 0x0A, 0x0D].contains($0) })
                ? "\"" + doubled(field) + "\"" : field
        }.joined(separator: ",")
    }

    /// Scalar by scalar: with a mark that combines with it, a quote is another character and a quote all the same.
    private static func doubled(_ field: String) -> String {
        var result = String.UnicodeScalarView()
        for scalar in field.unicodeScalars {
            if scalar == "\"" { result.append(scalar) }
            result.append(scalar)
        }
        return String(result)
    }
}
