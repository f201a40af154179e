// swift-tools-version: 6.0
import PackageDescription

// The arrows of the architecture: SyncProtocol ← SyncServer, SyncProtocol ← Replica ← replica-cli.
// SyncServer and Replica never import each other. There are no package dependencies: Foundation, Dispatch, libpq, libsqlite3.
let package = Package(
    name: "tideline",
    platforms: [.macOS(.v13), .iOS(.v16)],
    products: [
        .library(name: "SyncProtocol", targets: ["SyncProtocol"]),
        .library(name: "Replica", targets: ["Replica"]),
        .executable(name: "sync-server", targets: ["SyncServer"]),
        .executable(name: "replica", targets: ["replica-cli"]),
    ],
    targets: [
        .systemLibrary(name: "CPostgres", path: "Sources/CPostgres"),
        .systemLibrary(name: "CSQLite", path: "Sources/CSQLite"),
        .target(name: "CLinux", path: "Sources/CLinux"),
        .target(name: "SyncProtocol"),
        .executableTarget(name: "SyncServer", dependencies: ["SyncProtocol", "CPostgres", "CLinux"]),
        .target(name: "Replica", dependencies: ["SyncProtocol", "CSQLite"]),
        .executableTarget(name: "replica-cli", dependencies: ["Replica", "SyncProtocol"]),
        .executableTarget(name: "tideline-bench", dependencies: ["Replica", "SyncProtocol", "CSQLite"], path: "bench/Sources"),
        .executableTarget(name: "demo-receiver", dependencies: ["SyncProtocol"], path: "demo/receiver"),
        .target(name: "TestSupport", dependencies: ["SyncProtocol"], path: "Tests/TestSupport"),
        .target(
            name: "ServerSupport", dependencies: ["SyncServer", "Replica", "SyncProtocol", "TestSupport"], path: "Tests/ServerSupport"),
        .testTarget(name: "SyncProtocolTests", dependencies: ["SyncProtocol", "TestSupport"]),
        .testTarget(name: "SyncServerTests", dependencies: ["SyncServer", "SyncProtocol", "TestSupport"]),
        .testTarget(name: "ReplicaTests", dependencies: ["Replica", "SyncProtocol", "ServerSupport", "TestSupport"]),
        .testTarget(
            name: "FaultTests", dependencies: ["SyncServer", "replica-cli", "Replica", "SyncProtocol", "CLinux", "TestSupport"],
            exclude: ["Support/failing_calls.c"]),
        .testTarget(
            name: "ConformanceTests", dependencies: ["SyncServer", "Replica", "SyncProtocol", "ServerSupport", "TestSupport"]),
        .testTarget(name: "EndToEndTests", dependencies: ["replica-cli", "SyncServer", "Replica", "SyncProtocol", "TestSupport"]),
    ],
    swiftLanguageModes: [.v6]
)
