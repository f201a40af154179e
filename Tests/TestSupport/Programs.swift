// The built programs as a person runs them: real processes, real files, real sockets, killed for real.

import Foundation

public enum Programs {
    /// Where the test runner's own build put its programs.
    public static let folder: URL = {
        for candidate in [URL(fileURLWithPath: CommandLine.arguments[0]), Bundle.main.bundleURL.appendingPathComponent("x")] {
            var folder = candidate.deletingLastPathComponent()
            for _ in 0..<4 {
                if FileManager.default.isExecutableFile(atPath: folder.appendingPathComponent("sync-server").path) { return folder }
                folder.deleteLastPathComponent()
            }
        }
        preconditionFailure("sync-server was not built beside the tests")
    }()

    /// Where a program of the machine is; nil when it is not installed.
    public static func path(of name: String) -> String? {
        (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin").split(separator: ":").map { "\($0)/\(name)" }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    /// A folder of its own for one test, readable by the unprivileged user that Postgres runs as.
    public static func temporaryFolder() throws -> URL {
        let name = "tl-\(UInt64.random(in: 0...UInt64.max))"
        let folder = URL(fileURLWithPath: NSTemporaryDirectory()).appendingPathComponent(name)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        return folder
    }
}

/// What a finished program left behind.
public struct Finished: Sendable {
    public let code: Int32
    public let output: String
    public let errors: String
}

/// A running program. Unchecked because `Process` is only told to start, end and report, each of which it does from any thread.
public final class RunningProgram: @unchecked Sendable {
    private let process = Process()
    private let outputFile: URL
    private let errorFile: URL

    /// A program of this build.
    public convenience init(_ name: String, _ arguments: [String], environment: [String: String] = [:]) throws {
        try self.init(path: Programs.folder.appendingPathComponent(name).path, arguments, environment: environment)
    }

    /// Any program.
    public init(path: String, _ arguments: [String], environment: [String: String] = [:]) throws {
        let base = URL(fileURLWithPath: NSTemporaryDirectory()).appendingPathComponent("tl-run-\(UInt64.random(in: 0...UInt64.max))")
        outputFile = base.appendingPathExtension("out")
        errorFile = base.appendingPathExtension("err")
        for file in [outputFile, errorFile] { _ = FileManager.default.createFile(atPath: file.path, contents: nil) }
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try FileHandle(forWritingTo: outputFile)
        process.standardError = try FileHandle(forWritingTo: errorFile)
        try process.run()
    }

    deinit {
        try? FileManager.default.removeItem(at: outputFile)
        try? FileManager.default.removeItem(at: errorFile)
    }

    public var pid: Int32 { process.processIdentifier }
    public var isRunning: Bool { process.isRunning }
    public var output: String { (try? String(contentsOf: outputFile, encoding: .utf8)) ?? "" }
    public var errors: String { (try? String(contentsOf: errorFile, encoding: .utf8)) ?? "" }

    public func signal(_ number: Int32) { if process.isRunning { kill(process.processIdentifier, number) } }

    /// Waits for the end without blocking the cooperative pool.
    public func finish() async -> Finished {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                self.process.waitUntilExit()
                continuation.resume()
            }
        }
        let code = process.terminationReason == .uncaughtSignal ? -process.terminationStatus : process.terminationStatus
        return Finished(code: code, output: output, errors: errors)
    }

    /// Asks `condition` until it holds or the program has ended; true when it held.
    public func wait(seconds: Double = 60, until condition: @escaping @Sendable (RunningProgram) -> Bool) async throws -> Bool {
        let deadline = Date().addingTimeInterval(seconds)
        while Date() < deadline {
            if condition(self) { return true }
            if !process.isRunning { return condition(self) }
            try await Task.sleep(nanoseconds: 10_000_000)
        }
        return false
    }
}

/// Runs a program to its end.
public func run(_ name: String, _ arguments: [String], environment: [String: String] = [:]) async throws -> Finished {
    try await RunningProgram(name, arguments, environment: environment).finish()
}
