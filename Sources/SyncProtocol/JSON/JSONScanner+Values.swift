// Whole values on top of the tokenizer: skipped (validated in full, duplicates included) or built into a tree.
// Recursion is bounded by the depth limit.

extension JSONScanner {
    @inline(__always)
    mutating func scanKey(since first: Int, table: inout JSONKeyTable?) throws(JSONError) -> JSONStringToken {
        guard peek() == 0x22 else { throw unexpected(at: position, expected: "expected a key in quotes") }
        let token = try scanString()
        guard keys.insert(token, of: bytes, since: first, table: &table) else {
            throw failure(.duplicateKey, at: token.start - 1, "the object has this key already")
        }
        guard peek() == 0x3A else { throw unexpected(at: position, expected: "expected a colon") }
        position &+= 1
        return token
    }

    func checkDepth(_ depth: Int) throws(JSONError) {
        if depth > maximumDepth { throw failure(.depth, at: position, "nested too deeply") }
    }

    /// After a member or element: true if another follows, false if `close` was read.
    @inline(__always)
    mutating func scanSeparator(close: UInt8) throws(JSONError) -> Bool {
        let byte = peek()
        guard byte == 0x2C || byte == close else {
            throw unexpected(at: position, expected: "expected a comma or the end of the container")
        }
        position &+= 1
        return byte == 0x2C
    }

    // MARK: Skip

    /// - Parameter depth: containers already open.
    mutating func skipValue(depth: Int) throws(JSONError) {
        switch peek() {
        case 0x22: _ = try scanString()
        case 0x7B:
            try checkDepth(depth + 1)
            try skipObject(depth: depth + 1)
        case 0x5B:
            try checkDepth(depth + 1)
            try skipArray(depth: depth + 1)
        case 0x2D, 0x30...0x39: _ = try scanNumber()
        case 0x74: try scanLiteral("true")
        case 0x66: try scanLiteral("false")
        case 0x6E: try scanLiteral("null")
        default: throw unexpected(at: position, expected: "not a JSON value")
        }
    }

    private mutating func skipObject(depth: Int) throws(JSONError) {
        position &+= 1
        if peek() == 0x7D {
            position &+= 1
            return
        }
        let first = keys.count
        var table: JSONKeyTable?
        repeat {
            _ = try scanKey(since: first, table: &table)
            try skipValue(depth: depth)
        } while try scanSeparator(close: 0x7D)
        keys.removeKeys(since: first)
    }

    private mutating func skipArray(depth: Int) throws(JSONError) {
        position &+= 1
        if peek() == 0x5D {
            position &+= 1
            return
        }
        repeat { try skipValue(depth: depth) } while try scanSeparator(close: 0x5D)
    }

    // MARK: Tree

    /// - Parameter depth: containers already open.
    mutating func readTree(depth: Int) throws(JSONError) -> JSONValue {
        switch peek() {
        case 0x22:
            let token = try scanString()
            return .string(string(token))
        case 0x7B:
            try checkDepth(depth + 1)
            return .object(try readObject(depth: depth + 1))
        case 0x5B:
            try checkDepth(depth + 1)
            return .array(try readArray(depth: depth + 1))
        case 0x2D, 0x30...0x39:
            let token = try scanNumber()
            if let integer = token.integer { return .integer(integer) }
            return .decimal(String(decoding: slice(token.start..<token.end), as: UTF8.self))
        case 0x74:
            try scanLiteral("true")
            return .bool(true)
        case 0x66:
            try scanLiteral("false")
            return .bool(false)
        case 0x6E:
            try scanLiteral("null")
            return .null
        default: throw unexpected(at: position, expected: "not a JSON value")
        }
    }

    private mutating func readArray(depth: Int) throws(JSONError) -> [JSONValue] {
        position &+= 1
        if peek() == 0x5D {
            position &+= 1
            return []
        }
        var elements: [JSONValue] = []
        repeat { elements.append(try readTree(depth: depth)) } while try scanSeparator(close: 0x5D)
        return elements
    }

    private mutating func readObject(depth: Int) throws(JSONError) -> JSONObject {
        position &+= 1
        if peek() == 0x7D {
            position &+= 1
            return JSONObject()
        }
        let first = keys.count
        var table: JSONKeyTable?
        var members: [JSONObject.Member] = []
        members.reserveCapacity(8)
        var isSorted = true
        repeat {
            let key = try scanKey(since: first, table: &table)
            let newest = keys.count - 1
            if isSorted, newest > first { isSorted = keys.isOrdered(newest - 1, before: newest, in: bytes) }
            members.append(JSONObject.Member(key: string(key), value: try readTree(depth: depth)))
        } while try scanSeparator(close: 0x7D)
        if !isSorted {
            var order = Array(first..<keys.count)
            order.sort { keys.isOrdered($0, before: $1, in: bytes) }
            members = order.map { members[$0 - first] }
        }
        keys.removeKeys(since: first)
        return JSONObject(sortedMembers: members)
    }
}
