// What the shells hand over while somebody types: words that may be half quoted, and that bash has cut apart.

enum Shell: String, CaseIterable, Sendable { case bash, zsh, fish }

/// The word under the cursor, and how an answer must be written so that the shell can put it in its place.
struct CurrentWord: Sendable, Hashable {
    /// Without quotes.
    var text: String
    /// The quote that is open.
    var quote: Character?
    /// So many characters of `text` stand before what the shell replaces.
    var kept: Int

    /// A candidate as the shell wants it.
    func written(_ candidate: String, for shell: Shell) -> String {
        guard shell == .bash else { return candidate }
        let rest = String(candidate.dropFirst(min(kept, candidate.count)))
        return quote == nil ? Self.escaped(rest) : rest
    }

    private static func escaped(_ text: String) -> String {
        let special: Set<Character> = [
            " ", "\t", "\\", "'", "\"", "`", "$", "&", "|", ";", "<", ">", "(", ")", "*", "?", "[", "]", "{", "}", "#", "!", "~", "^",
        ]
        return text.reduce(into: "") { result, character in
            if special.contains(character) { result.append("\\") }
            result.append(character)
        }
    }
}

enum ShellWords {
    /// - Parameter raw: everything after the program's name up to and including the word under the cursor, as typed.
    static func split(_ raw: [String], for shell: Shell) -> (before: [String], current: CurrentWord) {
        let joined = shell == .bash ? rejoined(raw) : raw.map { (text: $0, last: $0) }
        let before = joined.dropLast().map { unquoted($0.text).text }
        guard let (text, last) = joined.last else { return ([], CurrentWord(text: "", quote: nil, kept: 0)) }
        let (plain, quote) = unquoted(text)
        let isCut = text != last || last == "=" || last == ":"
        let lastPlain = last == "=" || last == ":" ? "" : unquoted(last).text
        return (before, CurrentWord(text: plain, quote: quote, kept: isCut ? plain.count - lastPlain.count : 0))
    }

    /// bash cuts words at `=` and `:`; this puts them together again, remembering the last piece.
    private static func rejoined(_ pieces: [String]) -> [(text: String, last: String)] {
        var words: [(text: String, last: String)] = []
        var joinsNext = false
        for piece in pieces {
            let isMark = piece == "=" || piece == ":"
            if let word = words.last, isMark && !word.text.isEmpty || joinsNext {
                words[words.count - 1] = (word.text + piece, piece)
            } else {
                words.append((piece, piece))
            }
            joinsNext = isMark
        }
        return words
    }

    /// Without quotes and backslashes, as the shell would read it, and the quote that is still open.
    private static func unquoted(_ raw: String) -> (text: String, quote: Character?) {
        var text = ""
        var quote: Character?
        var isEscaped = false
        for character in raw {
            if isEscaped {
                text.append(character)
                isEscaped = false
            } else if character == "\\", quote != "'" {
                isEscaped = true
            } else if let open = quote {
                if character == open { quote = nil } else { text.append(character) }
            } else if character == "'" || character == "\"" {
                quote = character
            } else {
                text.append(character)
            }
        }
        return (text, quote)
    }
}
