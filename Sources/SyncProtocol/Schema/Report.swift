// A report: a question about many records, asked in one SQL text that SQLite and Postgres answer with identical rows.

/// Reads the typed tables of its entities, in integers only: amounts in minor units, days since 1970, no fractions.
public struct Report: Sendable {
    /// What `replica report NAME` takes.
    public let name: String
    /// One line for people.
    public let title: String
    /// The entities whose tables it reads: its answer is about the rows of these that the asker holds.
    public let entities: [String]
    public let arguments: [Argument]
    /// As its SQL selects them, in order.
    public let columns: [Column]
    /// One SELECT that ends in a total order; `:name` stands for an argument.
    let sql: String

    /// 0001-01-01 to 9999-12-31.
    private static let days: ClosedRange<Int64> = -719_162...2_932_896

    public struct Argument: Sendable {
        public let name: String
        public let type: FieldType
        public let summary: String
        /// When it is not given.
        public let fallback: Fallback
    }

    public enum Fallback: Sendable, Hashable {
        case value(Int64)
        /// So many days before the day of asking, as a day.
        case daysAgo(Int64)
    }

    public struct Column: Sendable {
        public let name: String
        /// How its values are to be shown; amounts of money are in the currency of the column `currency`.
        public let type: FieldType

        public init(_ name: String, _ type: FieldType = .integer(.min ... .max)) {
            self.name = name
            self.type = type
        }
    }

    public init(_ name: String, title: String, reads entities: [String], arguments: [Argument] = [], columns: [Column], sql: String) {
        self.name = name
        self.title = title
        self.entities = entities
        self.arguments = arguments
        self.columns = columns
        self.sql = sql
    }

    /// The SQL with numbered parameters, one for each of ``arguments`` in order: `?1` for SQLite, `$1` for Postgres.
    public func statement(parameter: (Int) -> String) -> String {
        // The longest first, so that one argument's name may begin another's.
        let longestFirst = arguments.indices.sorted { arguments[$0].name.utf8.count > arguments[$1].name.utf8.count }
        return longestFirst.reduce(sql) { $0.replacing(":\(arguments[$1].name)", with: parameter($1)) }
    }

    /// Values of all arguments in order, in stored form.
    /// - Parameters:
    ///   - given: By name, in stored form.
    ///   - today: Days since 1970-01-01 where the asker is.
    /// - Throws: ``Violation`` for a name that there is not (`unknown_field`) or a value that does not fit (`invalid_format`, `out_of_range`).
    public func values(_ given: [String: JSONValue], today: Int64) throws(Violation) -> [Int64] {
        for name in given.keys.sorted() where !arguments.contains(where: { $0.name == name }) {
            let known = arguments.isEmpty ? "takes no arguments" : "takes \(arguments.map(\.name).joined(separator: ", "))"
            throw Violation(
                entity: "", id: nil, field: name, code: .unknownField, message: "\(self.name) has no argument \(name), it \(known)")
        }
        var values: [Int64] = []
        for argument in arguments {
            guard let value = given[argument.name], !value.isNull else {
                switch argument.fallback {
                case .value(let value): values.append(value)
                case .daysAgo(let days): values.append(today - days)
                }
                continue
            }
            guard let number = value.integerValue else {
                throw Violation(
                    entity: "", id: nil, field: argument.name, code: .invalidFormat, message: "\(argument.name) is a \(argument.type.name)")
            }
            switch argument.type {
            case .date where !Report.days.contains(number):
                throw outside(argument, "a day of the years 1 to 9999")
            case .integer(let range) where !range.contains(number):
                throw outside(argument, "between \(range.lowerBound) and \(range.upperBound)")
            default: break
            }
            values.append(number)
        }
        return values
    }

    private func outside(_ argument: Argument, _ words: String) -> Violation {
        Violation(entity: "", id: nil, field: argument.name, code: .outOfRange, message: "\(argument.name) is \(words)")
    }
}

extension Report.Argument {
    public static func day(_ name: String, _ summary: String, orDaysAgo days: Int64 = 0) -> Report.Argument {
        .init(name: name, type: .date, summary: summary, fallback: .daysAgo(days))
    }
}
