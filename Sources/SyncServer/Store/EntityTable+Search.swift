// Looking records up by words and by elements of sets. Row level security bars indexes on operators that could leak other
// rows' values, and those of text search and arrays are such: so functions that run as the tables' owner look there, for the
// session's tenant only, and return ids only.

import SyncProtocol

extension EntityTable {
    /// A look-up by an element that finds more than this answers nothing useful: reading the list finds a page fast, as comparing
    /// sets costs little.
    static let foundMax = 2_000
    /// The same of words. Taking a row's words apart costs a hundred times as much as finding the row in their index, so far more rows are
    /// worth looking up.
    static let foundByWordsMax = 30_000

    /// Fields in full-text search.
    var searchedFields: [FieldSchema] { entity.fields.filter { $0.isSearchable && !$0.isSecret && !$0.isRestricted } }

    /// Sets that lists can be filtered on.
    var indexedSets: [FieldSchema] {
        entity.fields.filter { $0.isIndexed && $0.type.storage == .textSet && !$0.isSecret && !$0.isRestricted }
    }

    /// SQL: all searched words of a row, punctuation taken out so that parts of addresses are words of their own.
    var searchedWords: String? {
        let parts = searchedFields.map { field in
            let column = PostgresIdentifier.quoted(field.name)
            let text = field.type.storage == .textSet ? "tideline.joined(\(column))" : column
            return "coalesce(\(text), '')"
        }
        guard !parts.isEmpty else { return nil }
        return
            "translate(\(parts.joined(separator: " || ' ' || ")), '\(EntityTable.separators)', '\(String(repeating: " ", count: EntityTable.separators.count))')"
    }

    /// ASCII that never is part of a word.
    static let separators = "@.,;:/_+-()[]{}<>|#&!?*=%$^~\""

    /// SQL that is true for rows with all words; `parameter` is made by ``searchQuery(_:)``.
    func matchesWords(_ parameter: String) -> String? {
        searchedWords.map { "to_tsvector('simple', \($0)) @@ to_tsquery('simple', \(parameter))" }
    }

    /// Words after which a search does not become narrower in practice.
    private static let wordsMax = 10

    /// What people typed as a query: every word, or one that begins with it; nil when there is no word in it.
    /// A database in the C locale folds ASCII only, so each word is looked for in the spellings that names have.
    static func searchQuery(_ text: String) -> String? {
        let words = text.unicodeScalars.split { scalar in
            TextNormalization.isInvisible(scalar)
                || scalar.isASCII && !(scalar.properties.isAlphabetic || scalar.properties.numericType != nil)
        }
        let groups = words.prefix(wordsMax).map { word in
            let typed = String(String.UnicodeScalarView(word))
            let lower = typed.lowercased()
            let spellings = [typed, lower, lower.prefix(1).uppercased() + lower.dropFirst(), lower.uppercased()]
            return "(" + Array(Set(spellings)).sorted().map { "'\($0)':*" }.joined(separator: " | ") + ")"
        }
        return groups.isEmpty ? nil : groups.joined(separator: " & ")
    }

    /// SQL of the ids of rows with all words, at most ``foundByWordsMax`` and one: `(uuid[] as text, how many)`.
    var findWords: String { EntityTable.find("find_\(entity.name)_words") }

    /// SQL of the ids of rows whose set has an element, at most ``foundMax`` and one: `(uuid[] as text, how many)`.
    func findElement(_ field: FieldSchema) -> String { EntityTable.find("find_\(entity.name)_\(field.name)") }

    private static func find(_ function: String) -> String {
        "SELECT coalesce(array_agg(k), '{}')::text, count(*) FROM tideline.\(PostgresIdentifier.quoted(function))($1) k"
    }

    var searchFunctions: [(signature: String, definition: String)] {
        var functions: [(signature: String, definition: String)] = []
        func add(_ suffix: String, _ condition: String, upTo count: Int) {
            let signature = "tideline.\(PostgresIdentifier.quoted("find_\(entity.name)_\(suffix)"))(text)"
            // The tenant is compared in a way that no index serves: without statistics about tenants, walking all rows of one
            // would look as cheap as the index of words.
            let body = """
                SELECT id FROM \(name) WHERE NOT (tenant IS DISTINCT FROM nullif(current_setting('tideline.tenant', true), '')::uuid) \
                AND \(condition) LIMIT \(count + 1)
                """
            functions.append(
                (
                    signature,
                    """
                    CREATE OR REPLACE FUNCTION \(signature) RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER \
                    SET search_path = pg_catalog AS $find$\(body)$find$
                    """
                ))
        }
        if let condition = matchesWords("$1") { add("words", condition, upTo: EntityTable.foundByWordsMax) }
        for field in indexedSets {
            add(field.name, "\(PostgresIdentifier.quoted(field.name)) @> ARRAY[$1]", upTo: EntityTable.foundMax)
        }
        return functions
    }
}
