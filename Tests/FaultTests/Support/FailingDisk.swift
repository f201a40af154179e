// A disk that is full or broken whenever a test says so: a small library, compiled here and preloaded into the programs under
// test, lets their calls fail on files of a given path. Needs no right that an ordinary user does not have.

import Foundation
import TestSupport

#if canImport(Glibc)
    import Glibc
#endif

/// @unchecked Sendable: the memory is shared with other processes anyway; each field is written before `active`.
final class FailingDisk: @unchecked Sendable {
    struct Calls: OptionSet, Sendable {
        let rawValue: Int32
        static let write = Calls(rawValue: 1)
        static let sync = Calls(rawValue: 2)
        /// Making files, and making room in them.
        static let grow = Calls(rawValue: 4)
        static let read = Calls(rawValue: 8)
    }

    /// Offsets in the control file; failing_calls.c has the same.
    private enum Field {
        static let active = 0
        static let calls = 4
        static let error = 8
        static let halves = 12
        static let skip = 16
        static let left = 24
        static let hits = 32
        static let part = 40
        static let size = 296
    }

    private static let library = Result { try compile() }

    private let control: String
    private let memory: UnsafeMutableRawPointer

    /// - Parameter folder: Where the control file goes; whoever runs the program must be able to reach it.
    init(in folder: URL) throws {
        _ = try Self.library.get()
        control = folder.appendingPathComponent("disk-\(UInt64.random(in: 0 ... .max))").path
        guard FileManager.default.createFile(atPath: control, contents: Data(count: 4096)) else {
            throw UnexpectedResult("cannot make \(control)")
        }
        chmod(control, 0o666)
        let file = open(control, O_RDWR)
        defer { close(file) }
        guard file >= 0, let memory = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), memory != MAP_FAILED else {
            throw UnexpectedResult("cannot map \(control)")
        }
        self.memory = memory
    }

    deinit { munmap(memory, 4096) }

    /// For the programs that are to feel it.
    var environment: [String: String] {
        get throws { ["LD_PRELOAD": try Self.library.get(), "TIDELINE_TEST_DISK_CONTROL": control] }
    }

    /// From now on `calls` on files whose path contains `part` fail.
    /// - Parameters:
    ///   - skip: So many calls succeed before.
    ///   - times: So many fail; nil: all, until `heal`.
    ///   - halves: The first one that fails writes half.
    func fail(_ calls: Calls, on part: String, with error: Int32, skip: Int = 0, times: Int? = nil, halves: Bool = false) {
        heal()
        put(calls.rawValue, Field.calls)
        put(error, Field.error)
        put(Int32(halves ? 1 : 0), Field.halves)
        put(Int64(skip), Field.skip)
        put(Int64(times ?? -1), Field.left)
        put(Int64(0), Field.hits)
        let bytes = Array(part.utf8.prefix(255)) + [0]
        memory.advanced(by: Field.part).copyMemory(from: bytes, byteCount: bytes.count)
        put(Int32(1), Field.active)
    }

    func heal() { put(Int32(0), Field.active) }

    /// Calls that failed since `fail`.
    var hits: Int { Int(memory.load(fromByteOffset: Field.hits, as: Int64.self)) }

    private func put<T>(_ value: T, _ offset: Int) { memory.storeBytes(of: value, toByteOffset: offset, as: T.self) }

    /// With the compiler of the machine, or the one that every Swift toolchain brings.
    private static func compile() throws -> String {
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("failing_calls.c").path
        let folder = try Programs.temporaryFolder()
        removeAtExit(folder)
        let library = folder.appendingPathComponent("failing_calls.so").path
        var compilers = ["cc", "clang", "gcc"].compactMap { Programs.path(of: $0) }
        if let swift = Programs.path(of: "swift") {
            let real = URL(fileURLWithPath: swift).resolvingSymlinksInPath()
            compilers.append(real.deletingLastPathComponent().appendingPathComponent("clang").path)
        }
        var words = "there is no C compiler"
        for compiler in compilers where FileManager.default.isExecutableFile(atPath: compiler) {
            let process = Process()
            let output = Pipe()
            process.executableURL = URL(fileURLWithPath: compiler)
            process.arguments = ["-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
            process.standardOutput = output
            process.standardError = output
            try process.run()
            words = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            process.waitUntilExit()
            if process.terminationStatus == 0 {
                chmod(library, 0o755)
                return library
            }
        }
        throw UnexpectedResult("the failing disk cannot be compiled: \(words)")
    }
}
