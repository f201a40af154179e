// Test support: a program that believes somebody is looking: its output is a terminal of a given size.

#if canImport(Glibc)
    import Foundation
    import Glibc
    import TestSupport

    struct PseudoTerminal {
        var columns: Int
        var rows: Int

        /// Runs a program of this build to its end; what it wrote to the terminal, lines ended by "\n".
        func run(
            _ name: String, _ arguments: [String], environment: [String: String] = [:], errorsToo: Bool = false
        ) async throws -> (code: Int32, output: String) {
            // By hand, because Glibc's module has no posix_openpt: open, unlock (TIOCSPTLCK), ask for the number (TIOCGPTN).
            let main = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
            var (isLocked, number): (Int32, Int32) = (0, 0)
            guard main >= 0, ioctl(main, 0x4004_5431, &isLocked) == 0, ioctl(main, 0x8004_5430, &number) == 0 else {
                throw UnexpectedResult(description: "no terminal: \(String(cString: strerror(errno)))")
            }
            let path = "/dev/pts/\(number)"
            defer { close(main) }
            let side = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC)
            guard side >= 0 else { throw UnexpectedResult(description: "no terminal: \(String(cString: strerror(errno)))") }
            var size = winsize(ws_row: UInt16(rows), ws_col: UInt16(columns), ws_xpixel: 0, ws_ypixel: 0)
            guard ioctl(side, UInt(TIOCSWINSZ), &size) == 0 else { throw UnexpectedResult(description: "no size") }
            let process = Process()
            process.executableURL = Programs.folder.appendingPathComponent(name)
            process.arguments = arguments
            var variables = ProcessInfo.processInfo.environment.merging(["TERM": "xterm"]) { $1 }
            for name in ["NO_COLOR", "PAGER", "LESS", "COLUMNS"] { variables[name] = nil }
            process.environment = variables.merging(environment) { $1 }
            let terminal = FileHandle(fileDescriptor: side, closeOnDealloc: true)
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = terminal
            process.standardError = errorsToo ? terminal : FileHandle.nullDevice
            try process.run()
            try terminal.close()
            let text = await Self.everything(from: main)
            await withCheckedContinuation { continuation in
                DispatchQueue.global().async {
                    process.waitUntilExit()
                    continuation.resume()
                }
            }
            let code = process.terminationReason == .uncaughtSignal ? -process.terminationStatus : process.terminationStatus
            return (code, text.replacing("\r\n", with: "\n"))
        }

        /// Until nobody has the other side open.
        private static func everything(from descriptor: Int32) async -> String {
            await withCheckedContinuation { continuation in
                Thread.detachNewThread {
                    var bytes: [UInt8] = []
                    var chunk = [UInt8](repeating: 0, count: 16 << 10)
                    while true {
                        let count = read(descriptor, &chunk, chunk.count)
                        if count < 0, errno == EINTR { continue }
                        guard count > 0 else { break }
                        bytes += chunk[..<count]
                    }
                    continuation.resume(returning: String(decoding: bytes, as: UTF8.self))
                }
            }
        }
    }
#endif
