// Requests that parsers are known to read in more than one way, by class, each with the one reading of this server: what RFC 9112
// says, and a refusal wherever it leaves a choice. HTTPRequestParserTests has the plain cases; these are the ones that were used
// against somebody.

import Testing

/// One input and its only reading.
struct HostileRequest: CustomTestStringConvertible, Sendable {
    enum Verdict: Equatable, Sendable {
        /// `METHOD path body` of each request, in order; nothing is left over and nothing is refused.
        case requests([String])
        /// The first request is refused with this status, and nothing after it is read.
        case refused(Int, String)
    }

    let name: String
    let bytes: [UInt8]
    let verdict: Verdict

    var testDescription: String { name }

    init(_ name: String, _ text: String, _ verdict: Verdict) { self.init(name, bytes: Array(text.utf8), verdict) }

    init(_ name: String, bytes: [UInt8], _ verdict: Verdict) { (self.name, self.bytes, self.verdict) = (name, bytes, verdict) }

    /// What a smuggled request asks for. No server may ever work on it.
    static let prize = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

    // MARK: Building

    private static func get(_ target: String, _ headers: String = "") -> String { "GET \(target) HTTP/1.1\r\nHost: a\r\n\(headers)\r\n" }

    private static func post(_ headers: String, _ body: String) -> String { "POST /x HTTP/1.1\r\nHost: a\r\n\(headers)\r\n\(body)" }

    private static func chunked(_ body: String) -> String { post("Transfer-Encoding: chunked\r\n", body) }

    private static func bad(_ code: String) -> Verdict { .refused(400, code) }

    // MARK: Lengths

    /// A length in each of the spellings that some number parser takes.
    private static let contentLengths: [HostileRequest] =
        ([
            ("plus", "+5"), ("minus", "-5"), ("minus zero", "-0"), ("underscore", "1_0"), ("hexadecimal", "0x5"), ("octal", "0o5"),
            ("exponent", "5e0"), ("fraction", "5.0"), ("quoted", "\"5\""), ("list of equals", "5, 5"), ("list", "5, 6"),
            ("trailing comma", "5,"),
            ("leading comma", ",5"), ("two words", "5 5"), ("tab inside", "5\t5"), ("letter behind", "5a"), ("letter before", "a5"),
            ("empty", ""), ("blank", " "), ("full-width digit", "５"), ("Arabic digit", "٥"), ("superscript", "⁵"),
            ("no-break space", "\u{A0}5"),
            ("next line", "5\u{85}"), ("parameter", "5;q=1"), ("percent", "%35"),
        ] as [(String, String)]).map { name, value in
            HostileRequest("Content-Length: \(name)", post("Content-Length: \(value)\r\n", "hello" + prize), bad("bad_content_length"))
        }

    private static let lengths: [HostileRequest] = [
        .init("Content-Length with zeros", post("Content-Length: 0000000000000000000005\r\n", "hello"), .requests(["POST /x hello"])),
        .init("Content-Length between blanks", post("Content-Length: \t5 \t\r\n", "hello"), .requests(["POST /x hello"])),
        .init("Content-Length of 2^63", post("Content-Length: 9223372036854775808\r\n", prize), .refused(413, "body_too_large")),
        .init("Content-Length of 2^64 + 5", post("Content-Length: 18446744073709551621\r\n", "hello"), .refused(413, "body_too_large")),
        .init(
            "Content-Length of a thousand digits", post("Content-Length: \(String(repeating: "9", count: 1000))\r\n", ""),
            .refused(413, "body_too_large")),
        .init("two equal lengths", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), bad("bad_content_length")),
        .init("two lengths, the first zero", post("Content-Length: 0\r\nContent-Length: 44\r\n", prize), bad("bad_content_length")),
        .init("two lengths in two cases", post("Content-Length: 5\r\ncontent-length: 0\r\n", "hello"), bad("bad_content_length")),
        .init("both lengths", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + prize), bad("ambiguous_length")),
        .init(
            "length zero and chunks", post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n" + prize),
            bad("ambiguous_length")),
        .init("length in GET", get("/x", "Content-Length: 5\r\n") + "hello", .requests(["GET /x hello"])),
        .init("chunks in GET", get("/x", "Transfer-Encoding: chunked\r\n") + "1\r\nZ\r\n0\r\n\r\n", .requests(["GET /x Z"])),
        .init("length in HEAD", "HEAD /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", .requests(["HEAD /x abc"])),
        .init(
            "no length: what follows is the next request", post("", "GET /y HTTP/1.1\r\nHost: a\r\n\r\n"),
            .requests(["POST /x ", "GET /y "])),
        .init(
            "length under another name", post("Content_Length: 5\r\nContentLength: 5\r\nX-Content-Length: 5\r\n", ""),
            .requests(["POST /x "])),
        .init("chunks in HTTP/1.0", "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad("bad_transfer_encoding")),
        .init(
            "chunks in HTTP/1.0 that stays open",
            "POST /x HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + prize,
            bad("ambiguous_length")),
    ]

    // MARK: Transfer codings

    private static let codings: [HostileRequest] =
        ([
            ("upper case", "CHUNKED", .requests(["POST /x Z"])), ("mixed case", "cHuNkEd", .requests(["POST /x Z"])),
            ("between blanks", "\t chunked \t", .requests(["POST /x Z"])),
            ("empty", "", bad("bad_transfer_encoding")), ("blank", " ", bad("bad_transfer_encoding")),
            ("leading comma", ",chunked", bad("bad_transfer_encoding")), ("trailing comma", "chunked,", bad("bad_transfer_encoding")),
            ("only commas", ",,", bad("bad_transfer_encoding")), ("twice", "chunked, chunked", bad("bad_transfer_encoding")),
            ("twice, no blank", "chunked,chunked", bad("bad_transfer_encoding")),
            ("not last", "chunked, identity", bad("bad_transfer_encoding")),
            ("not last, unknown", "chunked, cow", bad("bad_transfer_encoding")),
            ("identity", "identity", .refused(501, "unsupported_transfer_encoding")),
            ("gzip first", "gzip, chunked", .refused(501, "unsupported_transfer_encoding")),
            ("unknown", "pigeons", .refused(501, "unsupported_transfer_encoding")),
            ("unknown first", "cow, chunked", .refused(501, "unsupported_transfer_encoding")),
            ("prefix", "chunk", .refused(501, "unsupported_transfer_encoding")),
            ("suffix", "chunkedfoo", .refused(501, "unsupported_transfer_encoding")),
            ("prefixed", "xchunked", .refused(501, "unsupported_transfer_encoding")),
            ("parameter", "chunked;q=1", .refused(501, "unsupported_transfer_encoding")),
            ("double quotes", "\"chunked\"", .refused(501, "unsupported_transfer_encoding")),
            ("quotes", "'chunked'", .refused(501, "unsupported_transfer_encoding")),
            ("three words", "cow chunked bar", .refused(501, "unsupported_transfer_encoding")),
            ("colon", ": chunked", .refused(501, "unsupported_transfer_encoding")),
            ("semicolon list", "identity; chunked", .refused(501, "unsupported_transfer_encoding")),
            ("dotless", "chunĸed", .refused(501, "unsupported_transfer_encoding")),
            ("Kelvin sign", "chun\u{212A}ed", .refused(501, "unsupported_transfer_encoding")),
            ("no-break space", "\u{A0}chunked", .refused(501, "unsupported_transfer_encoding")),
            ("byte order mark", "\u{FEFF}chunked", .refused(501, "unsupported_transfer_encoding")),
            ("zero-width", "chunked\u{200B}", .refused(501, "unsupported_transfer_encoding")),
            ("vertical tab", "\u{0B}chunked", bad("bad_header")), ("form feed", "chunked\u{0C}", bad("bad_header")),
            ("backspace", "x\u{08}chunked", bad("bad_header")),
            ("delete", "chunked\u{7F}", bad("bad_header")), ("NUL", "chunked\u{0}", bad("bad_header")),
        ] as [(String, String, Verdict)]).map { name, value, verdict in
            HostileRequest("Transfer-Encoding: \(name)", post("Transfer-Encoding: \(value)\r\n", "1\r\nZ\r\n0\r\n\r\n"), verdict)
        }

    private static let codingLines: [HostileRequest] = [
        .init(
            "codings in two lines", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + prize),
            bad("bad_transfer_encoding")),
        .init(
            "identity, then chunked", post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            bad("bad_transfer_encoding")),
        .init(
            "chunked, then nothing", post("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", "0\r\n\r\n"), bad("bad_transfer_encoding")
        ),
        .init("coding folded", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n" + prize), bad("bad_header")),
        .init("coding folded at LF", post("Transfer-Encoding:\n chunked\r\n", "0\r\n\r\n"), bad("bad_line_ending")),
        .init("coding behind another value's LF", post("X: x\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), bad("bad_line_ending")),
        .init("coding behind another value's CR", post("X: x\rTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), bad("bad_line_ending")),
        .init("coding behind an empty value's CR", post("X:\rTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), bad("bad_line_ending")),
        .init("coding with a CR inside its name", post("Transfer\r-Encoding: chunked\r\n", ""), bad("bad_line_ending")),
        .init("coding with a CR at the end", post("Transfer-Encoding: chunked\r\r\n", ""), bad("bad_line_ending")),
        .init("underscore for hyphen", post("Transfer_Encoding: chunked\r\n", ""), .requests(["POST /x "])),
        .init("space for hyphen", post("Transfer Encoding: chunked\r\n", ""), bad("bad_header")),
        .init("content coding", post("Content-Encoding: chunked\r\n", ""), .requests(["POST /x "])),
        .init(
            "connection option", post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            .requests(["POST /x "])),
    ]

    // MARK: Chunks

    private static let chunkSizes: [HostileRequest] =
        ([
            ("prefix", "0x5"), ("upper prefix", "0X5"), ("plus", "+5"), ("minus", "-5"), ("underscore", "0_5"), ("leading blank", " 5"),
            ("trailing blank", "5 "), ("trailing tab", "5\t"), ("empty", ""), ("blank", " "), ("letter", "g"), ("quoted", "\"5\""),
            ("full-width", "５"), ("fraction", "5.0"), ("comma", "5,"), ("two numbers", "5 5"), ("NUL", "5\u{0}"),
            ("only an extension", ";a=b"),
            ("seventeen digits", "00000000000000005"), ("hash", "5#"), ("percent", "%35"),
        ] as [(String, String)]).map { name, size in
            HostileRequest("chunk size: \(name)", chunked("\(size)\r\nhello\r\n0\r\n\r\n" + prize), bad("bad_chunk"))
        }

    private static let chunks: [HostileRequest] = [
        .init(
            "chunk size in both cases", chunked("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
            .requests(["POST /x 01234567890123456789"])),
        .init("chunk size of sixteen digits", chunked("0000000000000005\r\nhello\r\n0\r\n\r\n"), .requests(["POST /x hello"])),
        .init("three zeros at the end", chunked("5\r\nhello\r\n000\r\n\r\n"), .requests(["POST /x hello"])),
        .init("chunk size of 2^63", chunked("8000000000000000\r\n"), .refused(413, "body_too_large")),
        .init("chunk size of 2^64 - 1", chunked("ffffffffffffffff\r\n"), .refused(413, "body_too_large")),
        .init("chunk size of 2^64 + 5", chunked("10000000000000005\r\nhello\r\n"), bad("bad_chunk")),
        .init("empty lines between chunks", chunked("5\r\nhello\r\n\r\n0\r\n\r\n"), bad("bad_chunk")),
        .init("chunk data of CRs", chunked("2\r\n\r\n\r\n0\r\n\r\n"), .requests(["POST /x \r\n"])),
        .init("chunk data like an end", chunked("7\r\n0\r\n\r\nGE\r\n0\r\n\r\n"), .requests(["POST /x 0\r\n\r\nGE"])),
        .init("LF behind the data", chunked("5\r\nhello\n0\r\n\r\n"), bad("bad_chunk")),
        .init("CR and another byte behind the data", chunked("5\r\nhello\rX0\r\n\r\n"), bad("bad_chunk")),
        .init("two bytes of anything behind the data", chunked("5\r\nhelloXX0\r\n\r\n"), bad("bad_chunk")),
        .init("LF behind the size", chunked("5\nhello\r\n0\r\n\r\n"), bad("bad_line_ending")),
        .init("CR behind the size", chunked("5\rhello\r\n0\r\n\r\n"), bad("bad_line_ending")),
        .init("LF behind the last chunk", chunked("0\n\r\n" + prize), bad("bad_line_ending")),
        .init("LF as the last line", chunked("0\r\n\n" + prize), bad("bad_line_ending")),
        .init("last chunk that is not empty", chunked("0\r\nX\r\n\r\n"), bad("bad_header")),
        .init("chunk shorter than its data", chunked("3\r\nhello\r\n0\r\n\r\n"), bad("bad_chunk")),
        .init("chunked twice over", chunked("5\r\n0\r\n\r\n\r\n0\r\n\r\n"), .requests(["POST /x 0\r\n\r\n"])),
        .init(
            "a request behind the last chunk", chunked("0\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n"), .requests(["POST /x ", "GET /y "])),
    ]

    private static let extensions: [HostileRequest] =
        ([
            ("name", ";a", true), ("name and value", ";a=b", true), ("several", ";a=b;c;d=e", true), ("blanks", " ; a = b ;c", true),
            ("quoted", ";a=\"b;c=\\\"d\\\" é\"", true), ("quoted empty", ";a=\"\"", true),
            ("no name", ";", false), ("no name, value", ";=b", false), ("no value", ";a=", false), ("open quotes", ";a=\"b", false),
            ("open quotes by escape", ";a=\"b\\\"", false), ("escape at the end", ";a=\"b\\", false),
            ("text behind quotes", ";a=\"b\"c", false),
            ("no semicolon", " a=b", false), ("two semicolons", ";;a", false), ("two equals", ";a==b", false),
            ("blank at the end", ";a ", false),
            ("control byte", ";a=\u{01}", false), ("NUL in quotes", ";a=\"\u{0}\"", false), ("delimiter in name", ";a/b", false),
            ("name above ASCII", ";é", false),
        ] as [(String, String, Bool)]).map { name, text, isFine in
            HostileRequest(
                "chunk extension: \(name)", chunked("1\(text)\r\nZ\r\n0\(text)\r\n\r\n"),
                isFine ? .requests(["POST /x Z"]) : bad("bad_chunk"))
        }

    private static let extensionLines: [HostileRequest] = [
        .init("chunk extension: CR inside", chunked("1;a\rb\r\nZ\r\n0\r\n\r\n"), bad("bad_line_ending")),
        .init("chunk extension: LF inside", chunked("2;\nxx\r\n4c\r\n0\r\n\r\n" + prize), bad("bad_line_ending")),
        .init(
            "chunk extensions: more than they are worth",
            chunked(String(repeating: "1;a=\(String(repeating: "b", count: 500))\r\nZ\r\n", count: 10) + "0\r\n\r\n"), bad("bad_chunk")),
    ]

    private static let trailers: [HostileRequest] = [
        .init("trailer", chunked("0\r\nA: b\r\n\r\n"), .requests(["POST /x "])),
        .init("trailer that would be a length", chunked("0\r\nContent-Length: 44\r\n\r\n"), .requests(["POST /x "])),
        .init("trailer that would be a coding", chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n"), .requests(["POST /x "])),
        .init("trailer that would be the Host", chunked("0\r\nHost: b\r\nAuthorization: Bearer x\r\n\r\n"), .requests(["POST /x "])),
        .init("trailer without a name", chunked("0\r\n: b\r\n\r\n"), bad("bad_header")),
        .init("trailer with a blank before its colon", chunked("0\r\nA : b\r\n\r\n"), bad("bad_header")),
        .init("trailer with LF", chunked("0\r\nA: b\n\r\n"), bad("bad_line_ending")),
        .init("trailer with CR", chunked("0\r\nA: b\rGET / HTTP/1.1\r\n\r\n"), bad("bad_line_ending")),
    ]

    // MARK: Lines and headers

    private static let lines: [HostileRequest] = [
        .init("only LFs", "GET /x HTTP/1.1\nHost: a\n\n", bad("bad_line_ending")),
        .init("only CRs", "GET /x HTTP/1.1\rHost: a\r\r\n", bad("bad_line_ending")),
        .init("CR CR LF", "GET /x HTTP/1.1\r\r\nHost: a\r\n\r\n", bad("bad_line_ending")),
        .init("LF CR", "GET /x HTTP/1.1\n\rHost: a\n\r\n\r", bad("bad_line_ending")),
        .init("a byte between CR and LF", "GET /x HTTP/1.1\r\nHost: a\r\n\rX\n\r\n", bad("bad_line_ending")),
        .init(
            "a request in a value", "GET /x HTTP/1.1\r\nHost: a\r\nX: a\n\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
            bad("bad_line_ending")),
        .init("blank line with a blank", "GET /x HTTP/1.1\r\nHost: a\r\n \r\n" + prize, bad("bad_header")),
        .init("blank line with a tab", "GET /x HTTP/1.1\r\nHost: a\r\n\t\r\n" + prize, bad("bad_header")),
        .init("fold into the Host", "GET /x HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n", bad("bad_header")),
        .init("fold of the request line", "GET /x\r\n HTTP/1.1\r\nHost: a\r\n\r\n", bad("bad_request_line")),
        .init("header without a value", get("/x", "X:\r\n"), .requests(["GET /x "])),
        .init("header of many colons", get("/x", "X::::a:b\r\n"), .requests(["GET /x "])),
        .init("header of every token byte", get("/x", "!#$%&'*+-.^_`|~09azAZ: v\r\n"), .requests(["GET /x "])),
        .init("header of only a colon", get("/x", ":\r\n"), bad("bad_header")),
        .init("header of only a name", get("/x", "name\r\n"), bad("bad_header")),
        .init("header name folded before its colon", get("/x", "name\r\n : value\r\n"), bad("bad_header")),
        .init("quoted header name", get("/x", "\"X\": v\r\n"), bad("bad_header")),
        .init("tab before the colon", get("/x", "X\t: v\r\n"), bad("bad_header")),
        .init("UTF-8 value", get("/x", "X: é€😀\r\n"), .requests(["GET /x "])),
        .init("Latin-1 value", bytes: joined("GET /x HTTP/1.1\r\nHost: a\r\nX: ", [0xE9], "\r\n\r\n"), bad("bad_header")),
        .init(
            "overlong CR in a value",
            bytes: joined("GET /x HTTP/1.1\r\nHost: a\r\nX: ", [0xC0, 0x8D, 0xC0, 0x8A], "\r\n\r\n"), bad("bad_header")),
        .init("U+560D, which ends in CR when cut", get("/x", "X: \u{560D}\u{560A}Set: y\r\n"), .requests(["GET /x "])),
        .init("a head without an end, then a body", "POST /x HTTP/1.1\r\nHost: a\r\n{\"a\":1}\r\n\r\n", bad("bad_header")),
    ]

    private static func joined(_ before: String, _ bytes: [UInt8], _ after: String) -> [UInt8] {
        var all = Array(before.utf8)
        all += bytes
        all += after.utf8
        return all
    }

    /// Every byte that no header may hold, in each place it could take.
    private static let controls: [HostileRequest] = {
        let places: [(name: String, before: String, after: String)] = [
            ("before a name", "", "X: v"), ("in a name", "X", "Y: v"), ("behind a name", "X", ": v"), ("in a value", "X: v", "v"),
            ("behind a value", "X: v", ""),
        ]
        var all: [HostileRequest] = []
        for byte in UInt8(0)...0x1F where byte != 9 && byte != 10 && byte != 13 {
            for place in places {
                let bytes = joined("GET /x HTTP/1.1\r\nHost: a\r\n" + place.before, [byte], place.after + "\r\n\r\n")
                all.append(HostileRequest("byte \(byte) \(place.name)", bytes: bytes, bad("bad_header")))
            }
        }
        return all
    }()

    // MARK: Request lines, targets, hosts

    private static let requestLines: [HostileRequest] =
        ([
            ("HTTP/0.9", "GET /x", "bad_request_line", 400), ("no method", "/x HTTP/1.1", "bad_request_line", 400),
            ("blank at the end", "GET /x HTTP/1.1 ", "bad_request_line", 400),
            ("blank at the start", " GET /x HTTP/1.1", "bad_request_line", 400),
            ("blank in the target", "GET /x y HTTP/1.1", "bad_request_line", 400),
            ("tab", "GET\t/x\tHTTP/1.1", "bad_request_line", 400), ("no-break space", "GET\u{A0}/x\u{A0}HTTP/1.1", "bad_request_line", 400),
            ("no version", "GET /x ", "bad_request_line", 400), ("version of one digit", "GET /x HTTP/1", "bad_request_line", 400),
            ("version without numbers", "GET /x HTTP/", "bad_request_line", 400),
            ("version of many digits", "GET /x HTTP/1.32", "bad_request_line", 400),
            ("version with zeros", "GET /x HTTP/01.1", "bad_request_line", 400),
            ("version with a comma", "GET /x HTTP/1,1", "bad_request_line", 400),
            ("version with a plus", "GET /x HTTP/+1.1", "bad_request_line", 400),
            ("lower-case protocol", "GET /x Http/1.1", "bad_request_line", 400),
            ("other protocol", "GET /x ICE/1.0", "bad_request_line", 400),
            ("other protocol, same ending", "GET /x IHTTP/1.0", "bad_request_line", 400),
            ("RTSP", "PUT /x RTSP/1.0", "bad_request_line", 400), ("HTTP/5.6", "GET /x HTTP/5.6", "unsupported_version", 505),
            ("HTTP/0.9 by its number", "GET /x HTTP/0.9", "unsupported_version", 505),
            ("HTTP/2.0", "GET /x HTTP/2.0", "unsupported_version", 505),
            ("HTTP/1.9", "GET /x HTTP/1.9", "unsupported_version", 505),
            ("method of delimiters", "G=\":<>(e),[T];?\" /x HTTP/1.1", "bad_request_line", 400),
            ("method with a colon", "GET: /x HTTP/1.1", "bad_request_line", 400),
            ("method above ASCII", "GÉT /x HTTP/1.1", "bad_request_line", 400),
            ("method with NUL", "GE\u{0}T /x HTTP/1.1", "bad_request_line", 400),
            ("authority form", "GET a:80 HTTP/1.1", "bad_target", 400),
            ("CONNECT", "CONNECT a:443 HTTP/1.1", "unsupported_method", 501),
            ("CONNECT to a path", "CONNECT /x HTTP/1.1", "unsupported_method", 501),
            ("asterisk for GET", "GET * HTTP/1.1", "bad_target", 400), ("asterisk and more", "OPTIONS *x HTTP/1.1", "bad_target", 400),
            ("exclamation mark", "GET ! HTTP/1.1", "bad_target", 400), ("backslash", "GET \\x HTTP/1.1", "bad_target", 400),
            ("backslash inside", "GET /a\\..\\x HTTP/1.1", "bad_target", 400),
            ("fragment", "GET /x#y HTTP/1.1", "bad_target", 400), ("double quotes", "GET /\"x\" HTTP/1.1", "bad_target", 400),
            ("angle brackets", "GET /<x> HTTP/1.1", "bad_target", 400),
            ("braces", "GET /{x} HTTP/1.1", "bad_target", 400), ("bar", "GET /x?a=| HTTP/1.1", "bad_target", 400),
            ("caret", "GET /^ HTTP/1.1", "bad_target", 400), ("backquote", "GET /`x` HTTP/1.1", "bad_target", 400),
            ("raw UTF-8", "GET /é HTTP/1.1", "bad_target", 400), ("delete", "GET /\u{7F} HTTP/1.1", "bad_target", 400),
            ("overlong slash", "GET /%c0%af HTTP/1.1", "bad_target", 400),
            ("surrogate", "GET /%ed%a0%80 HTTP/1.1", "bad_target", 400), ("NUL", "GET /%00 HTTP/1.1", "bad_target", 400),
            ("half an escape", "GET /%4 HTTP/1.1", "bad_target", 400),
            ("IIS escape", "GET /%u0041 HTTP/1.1", "bad_target", 400), ("escape with a sign", "GET /%+1 HTTP/1.1", "bad_target", 400),
            ("other scheme", "GET file:///etc/passwd HTTP/1.1", "bad_target", 400),
            ("user information", "GET http://user:word@a/x HTTP/1.1", "bad_target", 400),
            ("no authority", "GET http:///x HTTP/1.1", "bad_target", 400), ("one slash", "GET http:/a/x HTTP/1.1", "bad_target", 400),
            ("other authority", "GET http://b/x HTTP/1.1", "bad_host", 400),
            ("other port", "GET http://a:8080/x HTTP/1.1", "bad_host", 400),
        ] as [(String, String, String, Int)]).map { name, line, code, status in
            HostileRequest("request line: \(name)", "\(line)\r\nHost: a\r\n\r\n", .refused(status, code))
        }

    private static let targets: [HostileRequest] =
        ([
            ("dots are not resolved", "/a/../x", "/a/../x"), ("escaped dots", "/%2e%2e/x", "/../x"), ("two slashes", "//x", "//x"),
            ("question marks", "/x?a=b?c", "/x"),
            ("absolute", "http://a/x", "/x"), ("absolute with the default port", "HTTP://A:80/x", "/x"),
            ("absolute without a path", "http://a?x=1", "/"), ("brackets", "/x?a[lt]=1", "/x"),
            ("semicolon", "/x;jsessionid=1", "/x;jsessionid=1"), ("line break that is escaped", "/x%0d%0aX:%20y", "/x\r\nX: y"),
        ] as [(String, String, String)]).map { name, target, path in
            HostileRequest("target: \(name)", get(target), .requests(["GET \(path) "]))
        }

    private static let hosts: [HostileRequest] =
        ([
            ("empty", ""), ("path", "a/x"), ("userinfo", "u@a"), ("two", "a, b"), ("blank inside", "a b"), ("port with a sign", "a:+80"),
            ("port with letters", "a:8o"), ("port of six digits", "a:000080"),
            ("two ports", "a:80:80"), ("open bracket", "[::1"), ("text behind a bracket", "[::1]x"), ("empty brackets", "[]"),
            ("zone", "[fe80::1%25eth0]"), ("only a port", ":80"), ("backslash", "a\\b"), ("query", "a?x"), ("fragment", "a#x"),
            ("quotes", "\"a\""), ("NUL escaped is a name, control is not", "a\u{01}"), ("internationalised", "é"),
            ("angle brackets", "<a>"),
        ] as [(String, String)]).map { name, host in
            HostileRequest(
                "Host: \(name)", "GET /x HTTP/1.1\r\nHost: \(host)\r\n\r\n", bad(host.contains("\u{01}") ? "bad_header" : "bad_host"))
        }

    private static let hostLines: [HostileRequest] = [
        .init("Host: none", "GET /x HTTP/1.1\r\n\r\n", bad("bad_host")), .init("Host: twice", get("/x", "Host: a\r\n"), bad("bad_host")),
        .init("Host: twice in two cases", get("/x", "hOsT: b\r\n"), bad("bad_host")),
        .init("Host: behind a blank", "GET /x HTTP/1.1\r\n Host: a\r\n\r\n", bad("bad_header")),
        .init("Host: IPv6 and port", "GET /x HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n", .requests(["GET /x "])),
        .init(
            "Host: other names do not count", get("/x", "X-Forwarded-Host: b\r\nForwarded: host=b\r\nX-Host: c\r\n"), .requests(["GET /x "])
        ),
        .init(
            "path overrides do not count",
            get("/x", "X-Original-URL: /smuggled\r\nX-Rewrite-URL: /smuggled\r\nX-HTTP-Method-Override: DELETE\r\n"), .requests(["GET /x "])
        ),
    ]

    private static let protocols: [HostileRequest] = [
        .init("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .refused(505, "unsupported_version")),
        .init(
            "upgrade to h2c is not taken",
            get("/x", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
            .requests(["GET /x "])),
        .init(
            "upgrade to WebSocket is not taken",
            get("/x", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n") + get("/y"),
            .requests(["GET /x ", "GET /y "])),
        .init("expectation that is none", get("/x", "Expect:\r\n"), .refused(417, "expectation_failed")),
        .init(
            "expectation twice", post("Expect: 100-continue, 100-continue\r\nContent-Length: 1\r\n", "a"),
            .refused(417, "expectation_failed")),
        .init(
            "expectation with a value", post("Expect: 100-continue=1\r\nContent-Length: 1\r\n", "a"), .refused(417, "expectation_failed")),
        .init("TLS hello", bytes: [0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3, 13, 10], bad("bad_request_line")),
        .init("PROXY protocol", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + get("/x"), bad("bad_request_line")),
        .init("PROXY protocol, binary", bytes: [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10], bad("bad_request_line")),
        .init("one empty line first", "\r\n" + get("/x"), .requests(["GET /x "])),
        .init("two empty lines first", "\r\n\r\n" + get("/x"), bad("bad_request_line")),
        .init("empty line between requests", post("Content-Length: 1\r\n", "a\r\n") + get("/y"), .requests(["POST /x a", "GET /y "])),
    ]

    static let all: [HostileRequest] = [
        contentLengths, lengths, codings, codingLines, chunkSizes, chunks, extensions, extensionLines, trailers, lines, controls,
        requestLines,
        targets, hosts, hostLines, protocols,
    ].flatMap { $0 }

    // MARK: One byte at a time

    /// A request with both lengths in which one byte makes the header of the coding another one, or none. Read as chunks the body holds
    /// the prize as a request of its own; read by its length the prize is part of the body.
    static let mutations: [HostileRequest] = {
        let body = "0\r\n\r\n" + prize
        let head = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: \(body.utf8.count)\r\n"
        let places: [(name: String, before: String, after: String, isInName: Bool)] = [
            ("before the name", "", "Transfer-Encoding: chunked", true), ("behind the name", "Transfer-Encoding", ": chunked", true),
            ("inside the name", "Transfer", "Encoding: chunked", true), ("in the name's place", "Transfer-Encodin", ": chunked", true),
            ("before the value", "Transfer-Encoding:", "chunked", false), ("inside the value", "Transfer-Encoding: chun", "ked", false),
            ("behind the value", "Transfer-Encoding: chunked", "", false),
        ]
        var all: [HostileRequest] = []
        for byte in UInt8.min...UInt8.max {
            for place in places {
                // A token byte in the name makes it a header that means nothing, a colon ends the name early; all else is a refusal.
                let isCut = byte == UInt8(ascii: ":") && (place.name == "inside the name" || place.name == "in the name's place")
                let isHarmless = place.isInName && (isCut || isToken(byte) && !names(place.name, byte))
                let verdict: Verdict = isHarmless ? .requests(["POST /x \(body)"]) : .refused(400, code(byte, place.name, place.isInName))
                let bytes = joined(head + place.before, [byte], place.after + "\r\n\r\n" + body)
                all.append(HostileRequest("byte \(byte) \(place.name)", bytes: bytes, verdict))
            }
        }
        return all
    }()

    private static func isToken(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
            || Array("!#$%&'*+-.^_`|~".utf8).contains(byte)
    }

    private static func code(_ byte: UInt8, _ place: String, _ isInName: Bool) -> String {
        if byte == 10 || byte == 13 { return "bad_line_ending" }
        if isInName { return names(place, byte) ? "ambiguous_length" : "bad_header" }
        // A colon behind the value, a blank around it, any text: it is still a coding beside a length.
        return byte == 9 || (0x20...0x7E).contains(byte) ? "ambiguous_length" : "bad_header"
    }

    private static func names(_ place: String, _ byte: UInt8) -> Bool {
        switch place {
        case "behind the name": byte == UInt8(ascii: ":")
        case "inside the name": byte == UInt8(ascii: "-")
        case "in the name's place": byte | 0x20 == UInt8(ascii: "g")
        default: false
        }
    }
}
