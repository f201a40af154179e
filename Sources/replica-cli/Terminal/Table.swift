// Tables that fit the window: wide texts are shortened, then columns that matter least are left out and named.

/// Cells by row under titled columns.
struct Table {
    struct Column {
        var title: String
        /// Numbers and amounts.
        var isRight = false
        /// Never shortened: ids, dates, numbers, states.
        var isRigid = false
    }

    var columns: [Column]
    var rows: [[String]]

    static let gap = 2
    private static let flexibleMin = 10

    /// The lines, and the titles of the columns for which there was no room.
    /// - Parameter width: of the window; nil where nobody looks, then nothing is shortened.
    func lines(width: Int?) -> (lines: [String], hidden: [String]) {
        let cells = rows.map { $0.map { DisplayWidth.harmless($0) } }
        var natural = columns.map { DisplayWidth.of($0.title) }
        for row in cells { for (index, cell) in row.enumerated() { natural[index] = max(natural[index], DisplayWidth.of(cell)) } }
        // A column in which no row has anything says nothing.
        var shown = columns.indices.filter { index in !columns[index].title.isEmpty || cells.contains { !$0[index].isEmpty } }
        var hidden: [String] = []
        var widths = natural
        if let width {
            while true {
                if let fitting = fitted(shown, natural, width, least: Self.flexibleMin) {
                    widths = fitting
                    break
                }
                guard shown.count > 2, let index = leastImportant(shown) else {
                    widths = fitted(shown, natural, width, least: 1) ?? natural
                    break
                }
                hidden.append(columns[index].title)
                shown.removeAll { $0 == index }
            }
        }
        func formatted(_ row: [String]) -> String {
            var text = ""
            for (place, index) in shown.enumerated() {
                let isLast = place == shown.count - 1
                let short = DisplayWidth.shortened(row[index], to: widths[index])
                text +=
                    isLast && !columns[index].isRight ? short : DisplayWidth.padded(short, to: widths[index], right: columns[index].isRight)
                if !isLast { text += String(repeating: " ", count: Self.gap) }
            }
            return String(text.reversed().drop { $0 == " " }.reversed())
        }
        return ([formatted(columns.map(\.title))] + cells.map(formatted), hidden.reversed())
    }

    /// The widths with which the columns fit: flexible ones are shortened, the widest first. nil when that would go below `least`.
    private func fitted(_ shown: [Int], _ natural: [Int], _ width: Int, least: Int) -> [Int]? {
        var widths = natural
        var needed = shown.reduce(Self.gap * (shown.count - 1)) { $0 + widths[$1] }
        while needed > width {
            let flexible = shown.filter { (least == 1 || !columns[$0].isRigid) && widths[$0] > least }
            guard let widest = flexible.max(by: { widths[$0] < widths[$1] }) else { return nil }
            widths[widest] -= 1
            needed -= 1
        }
        return widths
    }

    /// The last titled column before the end; what comes first names the record, what has no title says that it is special.
    private func leastImportant(_ shown: [Int]) -> Int? { shown.dropFirst(2).last { !columns[$0].title.isEmpty } ?? shown.dropFirst().last }
}

extension Terminal {
    /// - Returns: titles of columns that found no room.
    @discardableResult
    func table(_ table: Table) -> [String] {
        let (lines, hidden) = table.lines(width: width)
        for (index, line) in lines.enumerated() { self.line(index == 0 ? styled(line, .bold) : line) }
        return hidden
    }

    func table(_ headers: [String], _ rows: [[String]], alignRight: Set<Int> = []) {
        let columns = headers.enumerated().map {
            Table.Column(title: $1, isRight: alignRight.contains($0), isRigid: alignRight.contains($0))
        }
        table(Table(columns: columns, rows: rows))
    }

    /// Names and values under each other, long values wrapped beside their names.
    func pairs(_ rows: [(name: String, value: String)]) {
        let nameWidth = min(24, (rows.map { DisplayWidth.of($0.name) }.max() ?? 0) + Table.gap)
        for row in rows {
            let value = DisplayWidth.harmless(row.value, keepingLines: true)
            let room = max(16, (width ?? .max) - nameWidth)
            let lines =
                width == nil
                ? value.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) : DisplayWidth.wrapped(value, to: room)
            for (index, line) in lines.enumerated() {
                let name = index == 0 ? row.name : ""
                self.line(styled(DisplayWidth.padded(name, to: nameWidth), .dim) + line)
            }
        }
    }
}
