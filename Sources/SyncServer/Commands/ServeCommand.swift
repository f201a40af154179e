// `serve`: runs until SIGTERM or SIGINT, then drains. A second signal ends at once.

import Foundation
import SyncProtocol

enum ServeCommand {
    static func run(_ configuration: Configuration, _ arguments: inout Arguments, _ console: Console) throws -> ExitCode {
        try arguments.finish()
        guard ListenAddress(parsing: configuration.listen) != nil else { throw UsageError("--listen is HOST:PORT") }
        // Blocked before any thread exists, so that all inherit it and only the wait below takes them.
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGTERM)
        sigaddset(&signals, SIGINT)
        pthread_sigmask(SIG_BLOCK, &signals, nil)

        let application = try Application(configuration, log: Log.standardError)
        let address = try application.start()
        // Scripts that chose port 0 read the address here.
        console.show(["url": .string("http://\(address)"), "process": .integer(Int64(getpid()))], "listening on http://\(address)")
        var received: Int32 = 0
        while sigwait(&signals, &received) != 0 {}
        let impatience = Thread {
            var again: Int32 = 0
            var signals = sigset_t()
            sigemptyset(&signals)
            sigaddset(&signals, SIGTERM)
            sigaddset(&signals, SIGINT)
            while sigwait(&signals, &again) != 0 {}
            // The private cluster is told by the kernel.
            _exit(128 + again)
        }
        impatience.start()
        application.stop()
        return .done
    }
}
