// The Prometheus text format, version 0.0.4: families of samples, labels escaped. Pure.

struct PrometheusText {
    private(set) var text = ""

    enum Kind: String { case counter, gauge, histogram }

    mutating func family(_ name: String, _ kind: Kind, _ help: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
    }

    mutating func sample(_ name: String, _ labels: [(String, String)], _ value: Int64) { line(name, labels, String(value)) }
    mutating func sample(_ name: String, _ labels: [(String, String)], _ value: Double) { line(name, labels, "\(value)") }
    mutating func sample(_ name: String, _ value: Int64) { line(name, [], String(value)) }
    mutating func sample(_ name: String, _ value: Double) { line(name, [], "\(value)") }

    mutating func histogram(_ name: String, _ labels: [(String, String)], bounds: [Double], buckets: [Int64], sum: Double) {
        var total: Int64 = 0
        for (index, count) in buckets.enumerated() {
            total += count
            line(name + "_bucket", labels + [("le", index < bounds.count ? "\(bounds[index])" : "+Inf")], String(total))
        }
        line(name + "_sum", labels, "\(sum)")
        line(name + "_count", labels, String(total))
    }

    private mutating func line(_ name: String, _ labels: [(String, String)], _ value: String) {
        text += name
        if !labels.isEmpty {
            text += "{" + labels.map { "\($0.0)=\"\(PrometheusText.escaped($0.1))\"" }.joined(separator: ",") + "}"
        }
        text += " \(value)\n"
    }

    static func escaped(_ text: String) -> String {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            if scalar == "\\" || scalar == "\"" { result.append("\\") }
            if scalar == "\n" { result.append(contentsOf: "\\n".unicodeScalars) } else { result.append(scalar) }
        }
        return String(result)
    }
}
