// `help`: each command with an example that can be copied.

import SyncProtocol

enum Help {
    static func text(_ topic: String) -> String {
        if topic.isEmpty { return overview }
        return topics.first { $0.name == topic }?.text ?? topics.filter { $0.name.hasPrefix(topic) }.map(\.text).joined(separator: "\n\n")
            .nonEmpty ?? "There is no command \(topic).\n\n\(overview)"
    }

    private static var overview: String {
        let width = topics.map(\.name.count).max() ?? 0
        let commands = topics.map { "  \($0.name.padded(to: width))  \($0.summary)" }.joined(separator: "\n")
        let environment = Configuration.environment.map { "  \($0.name.padded(to: 28))  \($0.meaning)" }.joined(separator: "\n")
        return """
            sync-server — Tideline's server

            Start here:
              sync-server serve --data-dir ./data
              sync-server tenant create "Acme Ltd" --owner "Ada <ada@acme.example>" --data-dir ./data

            Commands:
            \(commands)

            Every command takes --database-url URL, or --data-dir DIR for the private database, and --json.
            help COMMAND tells more.

            Environment:
            \(environment)

            Exit: 0 done, 1 refused, 2 usage, 3 cannot reach the database, 4 not allowed (the role of the database URL may not do this), 5 storage.
            """
    }

    private struct Topic {
        let name: String
        let summary: String
        let text: String
    }

    private static func topic(_ name: String, _ summary: String, _ usage: String, _ more: String) -> Topic {
        Topic(name: name, summary: summary, text: "\(summary)\n\n  \(usage)\n\n\(more)")
    }

    private static let topics: [Topic] = [
        topic(
            "serve", "Answer replicas over HTTP.",
            """
            sync-server serve [--data-dir DIR] [--database-url URL] [--listen HOST:PORT] [--workers N] \
            [--webhook-threads N] [--webhook-allow RANGE]… [--cors-origin ORIGIN]… [--tenant-quota-gb N]
            """,
            """
            Without a database URL it runs a private Postgres in its data directory. The database is migrated at start.
            Webhooks go to public addresses only, unless --webhook-allow names others; --webhook-threads 0 leaves them to other servers.
            --cors-origin lets the web pages of an origin, such as https://app.example, use the API from a browser.
            A tenant stores at most \(StorageQuota.bytesMaxDefault >> 30) GB unless --tenant-quota-gb says otherwise; 0: as much as the disk holds.
            SIGTERM and SIGINT drain: who waits is answered, requests under way finish. A second signal ends at once.

            Examples:
              sync-server serve --data-dir ./data
              sync-server serve --database-url postgresql://app@db.example/tideline --listen 0.0.0.0:8080
            """),
        topic(
            "migrate", "Bring the database to this build's schema.", "sync-server migrate",
            "Creates and adds, never drops. Safe to run twice, or by several servers at once."),
        topic(
            "check", "Say whether the database is fit to serve from.", "sync-server check",
            """
            Looks at reachability, version, migration, pgcrypto, row level security, clocks, disk, at tenants that have stored almost as much
            as they may (give it the --tenant-quota-gb of the server), and at consumers that lag, fail, have dead letters or are disabled.
            Exit 1 if something is wrong.
            """),
        topic(
            "tenant create", "Make a tenant and the enrolment code of its owner.",
            "sync-server tenant create NAME --owner \"NAME <EMAIL>\" [--currency USD] [--timezone UTC]",
            """
            Prints tenant, member and code. The code works once, for 72 hours.

            Example:
              sync-server tenant create "Acme Ltd" --owner "Ada Lovelace <ada@acme.example>" --currency EUR --timezone Europe/Paris
            """),
        topic(
            "member add", "Invite a person.",
            "sync-server member add --tenant ID --name N --email E --role owner|manager|field|viewer [--replication full|field|sales|readonly] [--id ID]",
            "Prints member and code. The person joins with: replica enroll URL CODE"),
        topic(
            "code create", "Make another enrolment code for a member.", "sync-server code create --tenant ID --member ID [--replication P]",
            "For another machine, or when a code expired. A member has at most 20 codes that still work, a tenant 10,000."),
        topic(
            "replica list", "Show the enrolled replicas of a tenant.", "sync-server replica list --tenant ID",
            "With when each was last seen."),
        topic(
            "replica revoke", "Stop a replica from syncing.", "sync-server replica revoke --tenant ID REPLICA",
            "For a machine that was lost, or to make room: a member has at most 100 replicas. What it has not pushed stays in its file."),
        topic(
            "token create", "Make an API token for a member.",
            "sync-server token create --tenant ID --member ID [--label TEXT] [--days N | --expires TIME]",
            "Shown once; only its hash is stored. A member has at most 100 tokens that still work."),
        topic(
            "token revoke", "Stop an API token.", "sync-server token revoke TOKEN | --tenant ID --member ID",
            "With --tenant and --member: all API tokens of a member, when nobody knows them any more. Takes effect with the next request."),
        topic(
            "consumer add", "Register a reader of the feed: a webhook, a program that pulls, or a part of the server.",
            """
            sync-server consumer add --tenant ID NAME --url URL|--handler HANDLER [--kinds client.*,deal.won] [--from now|beginning|POSITION|TIME] \
            [--ordered-by tenant|record] [--max-attempts 12] [--concurrency 1] [--rate-per-minute N] [--include-restricted]
            """,
            """
            Without --url (or with --kind pull) the consumer asks for events itself. The secret of a webhook is shown once.
            With --handler it is built in, told what its handler is for, and changes records itself:
            \(BuiltinConsumer.all.map { "  \($0.name)  \($0.summary)" }.joined(separator: "\n"))

            Examples:
              sync-server consumer add --tenant ID billing --url https://billing.example/hooks --kinds deal.won,client.*
              sync-server consumer add --tenant ID warehouse --kind pull --from beginning
              sync-server consumer add --tenant ID offboarding --handler revoke_replicas
            """),
        topic(
            "consumer list", "Show the consumers of a tenant.", "sync-server consumer list --tenant ID",
            "With how far each is behind and how many dead letters it has."),
        topic(
            "consumer show", "Show one consumer and its last attempts.", "sync-server consumer show --tenant ID NAME",
            "The log of attempts keeps 7 days, at most 10,000 a consumer."),
        topic(
            "consumer pause", "Stop delivering to a consumer for now.", "sync-server consumer pause --tenant ID NAME [--reason TEXT]",
            "Nothing is lost: it continues where it stopped."),
        topic(
            "consumer resume", "Continue a paused or disabled consumer.", "sync-server consumer resume --tenant ID NAME",
            "What had failed is tried at once."),
        topic(
            "consumer replay", "Move a consumer's cursor.",
            "sync-server consumer replay --tenant ID NAME --from now|beginning|POSITION|TIME",
            "Events after that place are delivered again, with the same ids. Dead letters after it are among them."),
        topic(
            "consumer rotate-secret", "Give a webhook a new secret.", "sync-server consumer rotate-secret --tenant ID NAME",
            "Shown once. For 24 hours every event carries the signatures of both."),
        topic(
            "consumer remove", "Forget a consumer.", "sync-server consumer remove --tenant ID NAME",
            "With its dead letters and its log; the feed stays."),
        topic(
            "consumer dead", "Look at and settle what could not be delivered.",
            "sync-server consumer dead list|show|replay|discard --tenant ID NAME [--position N | --all]",
            """
            Examples:
              sync-server consumer dead list --tenant ID billing
              sync-server consumer dead show --tenant ID billing --position 42
              sync-server consumer dead replay --tenant ID billing --all
            """),
        topic(
            "restored", "Say that the database was restored from a backup.", "sync-server restored",
            """
            Run it before serving again. Every tenant begins a new epoch: replicas rebuild, keep what is pending and send it again.
            Without it the server finds out from the first replica that knows more than the backup.
            """),
    ]
}

extension String {
    fileprivate func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
    fileprivate var nonEmpty: String? { isEmpty ? nil : self }
}
