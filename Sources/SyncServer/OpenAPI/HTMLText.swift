// Pieces of the page at `/v1/docs`: escaping, tables, code. Nothing here knows what it shows.

enum HTMLText {
    static func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            // Addresses in examples are to be read: nothing on the page looks like something to load.
            case "/" where result.hasSuffix("/"): result += "&#47;"
            default: result.append(character)
            }
        }
        return result
    }

    static func code(_ text: String) -> String { "<code>\(escaped(text))</code>" }

    static func codes(_ texts: some Sequence<String>) -> String { texts.map(code).joined(separator: " ") }

    static func block(_ text: String) -> String { "<pre>\(escaped(text))</pre>" }

    /// Text with words between backquotes as code.
    static func prose(_ text: String) -> String {
        text.split(separator: "`", omittingEmptySubsequences: false).enumerated()
            .map { $0 % 2 == 0 ? escaped(String($1)) : code(String($1)) }.joined()
    }

    static func paragraph(_ text: String) -> String { "<p>\(prose(text))</p>" }

    /// Cells are HTML already. Empty without rows. Wide ones scroll by themselves on a narrow screen.
    static func table(_ head: [String], _ rows: [[String]]) -> String {
        guard !rows.isEmpty else { return "" }
        let headings = head.map { "<th>\(escaped($0))</th>" }.joined()
        let body = rows.map { "<tr>" + $0.map { "<td>\($0)</td>" }.joined() + "</tr>" }.joined()
        return "<div class=\"wide\"><table class=\"c\(head.count)\"><thead><tr>\(headings)</tr></thead><tbody>\(body)</tbody></table></div>"
    }

    /// A text as one word of a shell.
    static func shellQuoted(_ text: String) -> String { "'" + text.replacing("'", with: "'\\''") + "'" }

    static let style = """
        :root{--text:#1c2430;--back:#fff;--line:#dfe4ea;--soft:#f4f6f9;--link:#0b5cad;--quiet:#5c6773}
        html{scroll-padding-top:.5rem}
        body{font:15px/1.55 system-ui,sans-serif;margin:0;color:var(--text);background:var(--back);display:flex;overflow-wrap:break-word}
        nav{position:sticky;top:0;height:100vh;overflow:auto;flex:0 0 13rem;padding:1rem 1.2rem;border-right:1px solid var(--line);box-sizing:border-box}
        nav h1{font-size:1.2rem;margin:.3rem 0}nav h2{font-size:.85rem;margin:1.2rem 0 .3rem;color:var(--quiet)}nav ul{list-style:none;margin:0;padding:0}
        main{flex:1;min-width:0;max-width:62rem;padding:0 2rem 4rem}section{padding-top:1.2rem}h2{margin:.6rem 0}h3{margin:1.4rem 0 .4rem;font-size:1.05rem}
        details{border:1px solid var(--line);border-radius:6px;margin:.35rem 0;padding:0 .8rem}details[open]{padding-bottom:.6rem}
        details h4{margin:.9rem 0 .2rem;font-size:.9rem;color:var(--quiet)}
        summary{cursor:pointer;padding:.45rem 0}summary span{color:var(--quiet);margin-left:.5rem}
        summary b{display:inline-block;width:4.2rem;font:600 12px ui-monospace,monospace}.get{color:#0b6e4f}.post{color:#0b5cad}.patch{color:#8a5a00}.delete{color:#b3261e}
        .wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px;margin:.5rem 0}
        th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line)}th{font-weight:600;color:var(--quiet)}
        td:first-child{min-width:7rem}p code,summary code,pre{overflow-wrap:anywhere}
        code{font:13px ui-monospace,monospace}pre{background:var(--soft);padding:.8rem;overflow:auto;border-radius:6px;font:13px/1.5 ui-monospace,monospace;white-space:pre-wrap}
        a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}.index{display:none}
        @media(max-width:50rem){body{display:block}nav{position:static;height:auto;border:0;border-bottom:1px solid var(--line);padding:.8rem 1rem}
        nav ul{display:flex;flex-wrap:wrap;gap:.1rem 1rem}nav h2{margin:.7rem 0 .1rem}nav p{margin:.4rem 0}nav a{display:inline-block;padding:.2rem 0}
        main{padding:0 1rem 3rem}summary span{display:block;margin:0 0 0 1.1rem}summary b{width:3.6rem}table.c4{min-width:36rem}table.c3{min-width:26rem}
        .index{display:block;position:fixed;right:.8rem;bottom:.8rem;padding:.4rem .8rem;border-radius:6px;background:var(--soft);border:1px solid var(--line)}}
        @media(prefers-color-scheme:dark){:root{--text:#dbe2ea;--back:#12161c;--line:#2b333d;--soft:#1b212a;--link:#7cb8f5;--quiet:#93a0ad}.get{color:#5fd0a5}.post{color:#7cb8f5}.patch{color:#e0b050}.delete{color:#ff8a80}}
        """
}
