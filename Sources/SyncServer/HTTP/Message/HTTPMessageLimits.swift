// Message layer: how large the parts of a request may be. Each limit has the status it is refused with.

struct HTTPMessageLimits: Sendable {
    /// Longest request line, without CRLF. Over it: 414.
    var requestLineBytes = 8 * 1024
    /// All header lines together, with their CRLFs; trailers of a chunked body have as much again. Over it: 431.
    var headerBytes = 32 * 1024
    /// Header lines, and as many trailer lines. Over it: 431.
    var headerCount = 100
    /// Body once unframed. Over it: 413, before any of it is read when the request declares its length.
    var bodyBytes = 8 * 1024 * 1024
    /// Chunk extensions of one body together. They carry nothing here, so a body made mostly of them is an attack: 400.
    var chunkExtensionBytes = 4 * 1024
}
