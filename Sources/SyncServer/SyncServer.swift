// Entry point: the command line, and nothing else.

import Foundation

@main
enum SyncServer {
    static func main() {
        let exit = Command.run(Array(CommandLine.arguments.dropFirst()), environment: ProcessInfo.processInfo.environment)
        Foundation.exit(exit.rawValue)
    }
}
