// Comparing secrets and authentication codes.

/// Takes the same time wherever the bytes differ, so that a code cannot be guessed byte by byte. Lengths are not secret.
public func constantTimeEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    var difference: UInt8 = 0
    for index in left.indices { difference |= left[index] ^ right[index] }
    return difference == 0
}
