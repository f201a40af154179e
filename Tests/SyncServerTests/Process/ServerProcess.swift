// The built `sync-server` as a process, for tests of what only a process shows: signals, exit codes, several servers at once.

import Foundation
import SyncProtocol

@testable import SyncServer

/// @unchecked Sendable: used from one thread at a time; the child is ended with `deinit` at the latest.
final class ServerProcess: @unchecked Sendable {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    let port: Int
    private let process: Process
    private let log: URL

    /// Beside the test bundle, where the build puts every product.
    static var binary: URL {
        get throws {
            let folder = URL(fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
                .deletingLastPathComponent()
            // Under `swift test` a runner loads the bundle; its path is among the arguments then.
            let candidates =
                [folder]
                + CommandLine.arguments.filter { $0.hasSuffix(".xctest") }.map {
                    URL(fileURLWithPath: $0).deletingLastPathComponent()
                }
            for candidate in candidates {
                let binary = candidate.appendingPathComponent("sync-server")
                if FileManager.default.isExecutableFile(atPath: binary.path) { return binary }
            }
            throw Failure(description: "sync-server was not built; looked in \(candidates.map(\.path))")
        }
    }

    /// Starts `serve` on a port of the kernel's choice and waits until it listens.
    /// - Parameters:
    ///   - isDurable: What a private cluster has committed survives its end, whatever that is.
    ///   - wrapper: A program and its arguments that run what follows them in their own place.
    init(
        _ options: [String], isDurable: Bool = false, environment more: [String: String] = [:], wrapper: [String] = []
    ) throws {
        log = FileManager.default.temporaryDirectory.appendingPathComponent("tideline-test-\(UUID().uuidString).log")
        _ = FileManager.default.createFile(atPath: log.path, contents: nil)
        let output = Pipe()
        process = Process()
        let command = wrapper + [try ServerProcess.binary.path]
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = command.dropFirst() + ["serve", "--listen", "127.0.0.1:0", "--json"] + options
        process.environment = ServerProcess.environment.filter { !isDurable || $0.key != "TIDELINE_UNSAFE_NO_FSYNC" }.merging(more) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = try FileHandle(forWritingTo: log)
        try process.run()
        let line = output.fileHandleForReading.availableData
        guard let url = try? JSONValue(parsing: Array(line))["url"]?.stringValue,
            let port = url.split(separator: ":").last.flatMap({ Int($0) })
        else {
            process.terminate()
            process.waitUntilExit()
            throw Failure(description: "no address: \((try? String(contentsOf: log, encoding: .utf8)) ?? "")")
        }
        self.port = port
    }

    deinit {
        if process.isRunning {
            process.terminate()
            process.waitUntilExit()
        }
        try? FileManager.default.removeItem(at: log)
    }

    var isRunning: Bool { process.isRunning }

    var pid: Int32 { process.processIdentifier }

    func signal(_ number: Int32) { kill(process.processIdentifier, number) }

    /// The exit status; negative: the signal that ended it.
    func waitForExit() -> Int32 {
        process.waitUntilExit()
        return process.terminationReason == .exit ? process.terminationStatus : -process.terminationStatus
    }

    var lines: [JSONValue] {
        get throws {
            try String(contentsOf: log, encoding: .utf8).split(separator: "\n").map { try JSONValue(parsing: String($0)) }
        }
    }

    // MARK: Commands

    private static let template = Result { try MigratedDatabase(.tideline) }

    /// The URL of a database of its own, migrated for the binary.
    static func migratedDatabase() throws -> String { try template.get().copy() }

    private static var environment: [String: String] { ["PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "TIDELINE_UNSAFE_NO_FSYNC": "1"] }

    /// Runs one command to its end.
    static func run(_ arguments: [String], environment more: [String: String] = [:]) throws -> (
        status: Int32, output: String, errors: String
    ) {
        let process = Process()
        let (output, errors) = (Pipe(), Pipe())
        process.executableURL = try binary
        process.arguments = arguments
        process.environment = environment.merging(more) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        // Far below the size of a pipe, so reading one after the other cannot block.
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        let words = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text, words)
    }

    /// Runs one command with `--json` that must succeed.
    static func json(_ arguments: [String]) throws -> JSONValue {
        let result = try run(arguments + ["--json"])
        guard result.status == 0 else { throw Failure(description: "\(arguments): \(result.output) \(result.errors)") }
        return try JSONValue(parsing: result.output)
    }

    // MARK: Requests

    func client() throws -> LoopbackClient { try LoopbackClient(port: port) }

    func post(_ path: String, _ body: [UInt8], token: String? = nil) throws -> WireResponse {
        let client = try client()
        let authorization = token.map { "Authorization: Bearer \($0)\r\n" } ?? ""
        try client.send("POST \(path) HTTP/1.1\r\nHost: test\r\n\(authorization)Content-Length: \(body.count)\r\n\r\n")
        try client.send(body)
        return try client.response()
    }

    func get(_ target: String, token: String? = nil, method: String = "GET") throws -> WireResponse {
        let client = try client()
        try client.get(target, method: method, headers: token.map { "Authorization: Bearer \($0)\r\n" } ?? "")
        return try client.response(toHead: method == "HEAD")
    }

    func enroll(_ code: String) throws -> EnrollmentReply {
        let request = EnrollmentRequest(code: code, label: "laptop", platform: "linux", schemaVersion: Schema.currentVersion)
        let response = try post("/v1/enroll", request.json.canonicalBytes())
        guard response.status == 200 else { throw Failure(description: response.text) }
        return try EnrollmentReply(json: try JSONValue(parsing: response.body))
    }
}

extension EnrollmentReply {
    /// The body of a push of one set that creates a client.
    func pushBody(counter: Int64, client: Identifier, name: String) -> [UInt8] {
        pushBody(counter: counter, Change("client", client, .create(fields: ["name": .string(name)])))
    }

    func disableBody(counter: Int64, member: Identifier) -> [UInt8] {
        pushBody(
            counter: counter, Change("member", member, .transition(name: "disable", observed: "active", arguments: JSONObject())))
    }

    private func pushBody(counter: Int64, _ change: Change) -> [UInt8] { pushBody(counter: counter, [change]) }

    /// Of one set.
    func pushBody(counter: Int64, _ changes: [Change]) -> [UInt8] {
        let set = ChangeSet(
            dot: Dot(replica: replica, counter: counter), clock: VectorClock(replicas: [replica: counter - 1]),
            timestamp: HybridTimestamp(milliseconds: serverMilliseconds + counter), changes: changes)
        let bytes = set.sealedBytes()
        let offered = OfferedSet(counter: counter, hash: ChangeSet.hash(ofSealed: bytes), sealed: bytes)
        return PushRequest(schemaVersion: Schema.currentVersion, cursor: nil, sets: [offered]).bytes(replica: replica)
    }

    /// The target of a pull.
    func pull(cursor: String?, waitMilliseconds: Int? = nil, outcomesAfter: Int64 = 0) -> String {
        let request = PullRequest(
            cursor: cursor, waitMilliseconds: waitMilliseconds, outcomesAfter: outcomesAfter, schemaVersion: Schema.currentVersion)
        return "/v1/sync/pull?" + request.query.map { "\($0.name)=\($0.value)" }.joined(separator: "&")
    }
}
