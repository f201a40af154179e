// The layout keeps its promises: arrows point one way, and no domain names another.

import Foundation
import Testing

@Suite struct ArchitectureTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    private func sources(_ folder: String) throws -> [(path: String, text: String)] {
        let base = Self.root.appendingPathComponent("Sources/\(folder)")
        let paths = try FileManager.default.subpathsOfDirectory(atPath: base.path).filter { $0.hasSuffix(".swift") }
        return try paths.map { ($0, try String(contentsOf: base.appendingPathComponent($0), encoding: .utf8)) }
    }

    private func imports(_ text: String) -> Set<String> {
        Set(
            text.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
                .filter { $0.hasPrefix("import ") || $0.contains(" import ") && $0.hasPrefix("@") }
                .compactMap { $0.split(separator: " ").last.map { String($0.split(separator: ".")[0]) } })
    }

    @Test func everyTarget_importsOnlyWhatItsPlaceAllows() throws {
        let allowed: [String: Set<String>] = [
            "SyncProtocol": ["Foundation", "FoundationEssentials"],
            "SyncServer": ["Foundation", "FoundationNetworking", "Dispatch", "Glibc", "SyncProtocol", "CPostgres", "CLinux", "CSQLite"],
            "Replica": ["Foundation", "FoundationNetworking", "Dispatch", "Glibc", "Darwin", "Android", "Musl", "SyncProtocol", "CSQLite"],
            "replica-cli": ["Foundation", "Dispatch", "Glibc", "Darwin", "Android", "Musl", "SyncProtocol", "Replica"],
        ]
        for (folder, modules) in allowed {
            let files = try sources(folder)
            #expect(!files.isEmpty)
            for file in files { #expect(imports(file.text).isSubset(of: modules), "\(folder)/\(file.path): \(imports(file.text))") }
        }
    }

    /// What only some systems have is imported where that very module was asked for, so that the rest builds everywhere.
    @Test func modulesOfASystem_areImportedOnlyWhereTheyExist() throws {
        let system: Set<String> = ["Glibc", "Musl", "Android", "Darwin", "CLinux"]
        var guarded = 0
        for folder in ["SyncProtocol", "Replica", "replica-cli"] {
            for file in try sources(folder) {
                var conditions: [String] = []
                for line in file.text.split(separator: "\n").map({ $0.trimmingCharacters(in: .whitespaces) }) {
                    if line.hasPrefix("#if ") {
                        conditions.append(line)
                    } else if line.hasPrefix("#else") {
                        if !conditions.isEmpty { conditions[conditions.count - 1] = line }
                    } else if line.hasPrefix("#endif") {
                        _ = conditions.popLast()
                    } else if let module = imports(line).first, system.contains(module) {
                        #expect(folder != "SyncProtocol", "\(file.path) imports \(module)")
                        #expect(
                            conditions.contains { $0.contains("canImport(\(module))") }, "\(folder)/\(file.path): \(module) is not guarded")
                        guarded += 1
                    }
                }
            }
        }
        #expect(guarded > 0)
    }

    @Test func noDomain_namesAnothersTypes() throws {
        let domains = try sources("SyncProtocol/Domains").filter { $0.path != "Registry.swift" }
        let names = domains.map { ($0.path, String($0.path.split(separator: ".")[0]).lowercased()) }
        for file in domains {
            for (path, name) in names where path != file.path && name != "customfields" {
                #expect(!file.text.lowercased().contains("domain.\(name)"), "\(file.path) names \(path)")
                #expect(!file.text.contains("\(String(path.split(separator: ".")[0]))Rules"), "\(file.path) names \(path)")
            }
        }
    }
}
