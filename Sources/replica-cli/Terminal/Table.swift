// Tables that fit the window: wide texts are shortened, then columns that matter least are left out and named.

/// Cells by row under titled columns.
struct Table {
    struct Column {
        var title: String
        /// Numbers and amounts.
        var isRight = false
        /// Never shortened: ids, dates, numbers, states.
        var isRigid = false
        /// Left out last: what the record is called, and its state.
        var isKey = false
    }

    var columns: [Column]
    var rows: [[String]]

    static let gap = 2
    /// A text shorter than that tells nobody anything.
    private static let textMin = 10
    private static let keyMin = 20

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
                if let fitting = fitted(shown, natural, width, keyMin: min(Self.keyMin, width / 3)) {
                    widths = fitting
                    break
                }
                guard shown.count > 2, let index = leastImportant(shown, cells) else {
                    widths = fitted(shown, natural, width, keyMin: nil) ?? natural
                    break
                }
                // Where no row has anything nothing is missed.
                if cells.contains(where: { !$0[index].isEmpty }) { hidden.append(columns[index].title) }
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

    /// The widths with which the columns fit: flexible ones are shortened, the widest first. nil when too little would be left.
    /// - Parameter keyMin: what the name of a record keeps at least; nil: anything may be shortened to anything.
    private func fitted(_ shown: [Int], _ natural: [Int], _ width: Int, keyMin: Int?) -> [Int]? {
        var widths = natural
        var needed = shown.reduce(Self.gap * (shown.count - 1)) { $0 + widths[$1] }
        while needed > width {
            let flexible = shown.filter { index in
                guard let keyMin else { return widths[index] > 1 }
                return !columns[index].isRigid && widths[index] > (columns[index].isKey ? keyMin : Self.textMin)
            }
            guard let widest = flexible.max(by: { widths[$0] < widths[$1] }) else { return nil }
            widths[widest] -= 1
            needed -= 1
        }
        return widths
    }

    /// What comes first names the record, what has no title says that it is special; of the others an empty column goes first,
    /// then the last one that is not the state.
    private func leastImportant(_ shown: [Int], _ cells: [[String]]) -> Int? {
        let titled = shown.dropFirst(2).filter { !columns[$0].title.isEmpty }
        return titled.last { index in cells.allSatisfy { $0[index].isEmpty } } ?? titled.last { !columns[$0].isKey } ?? titled.last
            ?? shown.dropFirst().last
    }
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
