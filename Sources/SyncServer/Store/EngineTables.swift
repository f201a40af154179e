// The engine's own tables, in the schema `tideline`: heads, feed, stored outcomes, replicas, tokens. Times are Unix milliseconds.

import SyncProtocol

/// Every table leads with tenant, so that one policy guards them all and they can be distributed by tenant.
enum EngineTables {
    /// The tables that row level security guards, besides the entities' own.
    static let guarded = [
        "tenant_head", "entity_head", "feed", "feed_anchor", "idempotency_key", "change_set", "scope_exit", "replica", "token",
        "enrollment_code", "consumer", "delivery", "delivery_attempt", "deferred_set",
        "resealed_set",
    ]

    static let definition: [String] = [
        // Keys and the state of the migration; not a tenant's data.
        "CREATE TABLE IF NOT EXISTS tideline.meta (key text PRIMARY KEY, value text NOT NULL)",
        // The row that all writers of a tenant lock: positions are allocated under it.
        """
        CREATE TABLE IF NOT EXISTS tideline.tenant_head (tenant uuid PRIMARY KEY, epoch bigint NOT NULL, position bigint NOT NULL, \
        horizon bigint NOT NULL DEFAULT 0, max_stamp_ms bigint NOT NULL DEFAULT 0, max_stamp_logical bigint NOT NULL DEFAULT 0, \
        changed_at bigint NOT NULL)
        """,
        "CREATE INDEX IF NOT EXISTS tenant_head_changed_at_idx ON tideline.tenant_head (changed_at)",
        // How many answers are kept by key, and their bytes: whoever keeps one holds the head's lock anyway.
        """
        ALTER TABLE tideline.tenant_head ADD COLUMN IF NOT EXISTS kept_answers bigint NOT NULL DEFAULT 0, \
        ADD COLUMN IF NOT EXISTS kept_answer_bytes bigint NOT NULL DEFAULT 0
        """,
        // What is kept of the tenant; see StorageQuota.
        "ALTER TABLE tideline.tenant_head ADD COLUMN IF NOT EXISTS stored_bytes bigint NOT NULL DEFAULT 0",
        // So that a pull touches only entities that changed, and exact totals cost nothing.
        """
        CREATE TABLE IF NOT EXISTS tideline.entity_head (tenant uuid NOT NULL, entity text NOT NULL, position bigint NOT NULL, \
        live bigint NOT NULL, PRIMARY KEY (tenant, entity))
        """,
        // Timeline and outbox in one; append-only.
        """
        CREATE TABLE IF NOT EXISTS tideline.feed (tenant uuid NOT NULL, position bigint NOT NULL, epoch bigint NOT NULL, at bigint NOT NULL, \
        actor_kind text NOT NULL, actor uuid, replica uuid, counter bigint, entity text NOT NULL, record uuid NOT NULL, \
        operation text NOT NULL, kind text NOT NULL, category text NOT NULL, level text NOT NULL, changes jsonb NOT NULL, \
        restricted_changes jsonb NOT NULL, anchors text[] NOT NULL, scope_keys text[] NOT NULL, cause bigint, depth bigint NOT NULL, \
        operation_at bigint NOT NULL, fingerprint text NOT NULL, PRIMARY KEY (tenant, position))
        """,
        "ALTER TABLE tideline.feed ALTER COLUMN tenant SET STATISTICS 0",
        // Not led by tenant, so that no look-up by position can take it for a way to all of a tenant's entries.
        "CREATE INDEX IF NOT EXISTS feed_record_idx ON tideline.feed (record, tenant, position)",
        "CREATE INDEX IF NOT EXISTS feed_at_idx ON tideline.feed (tenant, at, position)",
        // On whose timelines an entry stands besides its record's own, in an order that a page can start anywhere in.
        """
        CREATE TABLE IF NOT EXISTS tideline.feed_anchor (tenant uuid NOT NULL, anchor text NOT NULL, position bigint NOT NULL, \
        PRIMARY KEY (tenant, anchor, position))
        """,
        // Answers of REST writes by the key that their caller gave, so that a repeated request is not a second write.
        """
        CREATE TABLE IF NOT EXISTS tideline.idempotency_key (tenant uuid NOT NULL, member uuid NOT NULL, key text NOT NULL, \
        request text NOT NULL, status bigint NOT NULL, etag text NOT NULL, location text, body text NOT NULL, created_at bigint NOT NULL, \
        PRIMARY KEY (tenant, member, key))
        """,
        // Immutable for texts, which the general function is not declared to be: an index needs that.
        """
        CREATE OR REPLACE FUNCTION tideline.joined(elements text[]) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE \
        SET search_path = pg_catalog AS $$SELECT array_to_string(elements, ' ')$$
        """,
        // The outcome is text, not jsonb: it is answered again byte for byte.
        """
        CREATE TABLE IF NOT EXISTS tideline.change_set (tenant uuid NOT NULL, replica uuid NOT NULL, counter bigint NOT NULL, \
        hash text NOT NULL, status text NOT NULL, outcome text NOT NULL, received_at bigint NOT NULL, created_ids uuid[], \
        PRIMARY KEY (tenant, replica, counter))
        """,
        "ALTER TABLE tideline.change_set ALTER COLUMN tenant SET STATISTICS 0",
        "CREATE INDEX IF NOT EXISTS change_set_created_idx ON tideline.change_set USING gin (created_ids) WHERE created_ids IS NOT NULL",
        // A record that was taken from a circle of readers: what pulls tell as evictions. The key is in the order pulls walk it.
        """
        CREATE TABLE IF NOT EXISTS tideline.scope_exit (tenant uuid NOT NULL, scope_key text NOT NULL, position bigint NOT NULL, \
        entity text NOT NULL, id uuid NOT NULL, PRIMARY KEY (tenant, scope_key, position))
        """,
        // What changes on every contact; the record people see is public.replica.
        """
        CREATE TABLE IF NOT EXISTS tideline.replica (tenant uuid NOT NULL, id uuid NOT NULL, member uuid NOT NULL, label text NOT NULL, \
        replication text NOT NULL, acknowledged bigint NOT NULL DEFAULT 0, last_stamp_ms bigint NOT NULL DEFAULT 0, \
        last_stamp_logical bigint NOT NULL DEFAULT 0, last_epoch bigint NOT NULL, last_seen_at bigint, created_at bigint NOT NULL, \
        revoked_at bigint, PRIMARY KEY (tenant, id))
        """,
        // From which head on it gets restricted fields; null: it does not.
        "ALTER TABLE tideline.replica ADD COLUMN IF NOT EXISTS restricted_since bigint",
        """
        CREATE TABLE IF NOT EXISTS tideline.token (tenant uuid NOT NULL, hash bytea NOT NULL, member uuid NOT NULL, replica uuid, \
        kind text NOT NULL, label text, created_at bigint NOT NULL, expires_at bigint, revoked_at bigint, PRIMARY KEY (tenant, hash))
        """,
        """
        CREATE TABLE IF NOT EXISTS tideline.enrollment_code (tenant uuid NOT NULL, hash bytea NOT NULL, member uuid NOT NULL, \
        replication text NOT NULL, created_at bigint NOT NULL, expires_at bigint NOT NULL, used_at bigint, PRIMARY KEY (tenant, hash))
        """,
        // Which replica a spent code has made, and a hash of what its file alone knows: for the answer that was lost on the way.
        "ALTER TABLE tideline.enrollment_code ADD COLUMN IF NOT EXISTS replica uuid, ADD COLUMN IF NOT EXISTS attempt text",
        "CREATE INDEX IF NOT EXISTS enrollment_code_hash_idx ON tideline.enrollment_code (hash)",
        """
        CREATE TABLE IF NOT EXISTS tideline.consumer (tenant uuid NOT NULL, name text NOT NULL, epoch bigint NOT NULL, \
        position bigint NOT NULL, lease_until bigint, disabled_at bigint, PRIMARY KEY (tenant, name))
        """,
        """
        CREATE TABLE IF NOT EXISTS tideline.delivery (tenant uuid NOT NULL, consumer text NOT NULL, position bigint NOT NULL, \
        attempts bigint NOT NULL DEFAULT 0, next_attempt_at bigint, status text NOT NULL, last_error text, \
        PRIMARY KEY (tenant, consumer, position))
        """,
        // Columns that came after the first release; migrations add and never drop. `position` is how far the feed was looked
        // through: what of it is not delivered yet has a row in `delivery`, so a delivered entry costs no space.
        """
        ALTER TABLE tideline.consumer ADD COLUMN IF NOT EXISTS kind text NOT NULL DEFAULT 'webhook', \
        ADD COLUMN IF NOT EXISTS kinds text[] NOT NULL DEFAULT '{}', ADD COLUMN IF NOT EXISTS url text, \
        ADD COLUMN IF NOT EXISTS secret text, ADD COLUMN IF NOT EXISTS previous_secret text, \
        ADD COLUMN IF NOT EXISTS previous_secret_until bigint, ADD COLUMN IF NOT EXISTS max_attempts bigint NOT NULL DEFAULT 12, \
        ADD COLUMN IF NOT EXISTS ordered_by text NOT NULL DEFAULT 'tenant', ADD COLUMN IF NOT EXISTS concurrency bigint NOT NULL DEFAULT 1, \
        ADD COLUMN IF NOT EXISTS rate_per_minute bigint, ADD COLUMN IF NOT EXISTS includes_restricted boolean NOT NULL DEFAULT false, \
        ADD COLUMN IF NOT EXISTS status text NOT NULL DEFAULT 'active', ADD COLUMN IF NOT EXISTS reason text, \
        ADD COLUMN IF NOT EXISTS failures bigint NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS blocked_until bigint NOT NULL DEFAULT 0, \
        ADD COLUMN IF NOT EXISTS due_at bigint, ADD COLUMN IF NOT EXISTS open_count bigint NOT NULL DEFAULT 0, \
        ADD COLUMN IF NOT EXISTS rate_minute bigint NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS rate_used bigint NOT NULL DEFAULT 0, \
        ADD COLUMN IF NOT EXISTS last_attempt_at bigint, ADD COLUMN IF NOT EXISTS last_success_at bigint, \
        ADD COLUMN IF NOT EXISTS created_at bigint NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS handler text
        """,
        // Status: open or dead. A lease is one dispatcher's, for a while; it settles only what still carries it.
        """
        ALTER TABLE tideline.delivery ADD COLUMN IF NOT EXISTS epoch bigint NOT NULL DEFAULT 0, \
        ADD COLUMN IF NOT EXISTS record uuid, ADD COLUMN IF NOT EXISTS kind text, ADD COLUMN IF NOT EXISTS at bigint NOT NULL DEFAULT 0, \
        ADD COLUMN IF NOT EXISTS lease uuid, ADD COLUMN IF NOT EXISTS lease_until bigint, ADD COLUMN IF NOT EXISTS last_status bigint, \
        ADD COLUMN IF NOT EXISTS died_at bigint
        """,
        "CREATE INDEX IF NOT EXISTS delivery_open_idx ON tideline.delivery (tenant, consumer, position) WHERE status = 'open'",
        """
        CREATE TABLE IF NOT EXISTS tideline.delivery_attempt (tenant uuid NOT NULL, consumer text NOT NULL, position bigint NOT NULL, \
        attempt bigint NOT NULL, at bigint NOT NULL, duration_ms bigint NOT NULL, result text NOT NULL, status bigint, error text, \
        request_id text, PRIMARY KEY (tenant, consumer, position, at, attempt))
        """,
        "CREATE INDEX IF NOT EXISTS delivery_attempt_at_idx ON tideline.delivery_attempt (tenant, consumer, at)",
        // Sets that wait, after a restore, for what other replicas still have to bring back: which records they name, not what they
        // say. A row goes when its set is decided.
        """
        CREATE TABLE IF NOT EXISTS tideline.deferred_set (tenant uuid NOT NULL, replica uuid NOT NULL, counter bigint NOT NULL, \
        hash text NOT NULL, ids uuid[] NOT NULL, deferred_at bigint NOT NULL, PRIMARY KEY (tenant, replica, counter))
        """,
        // Sets that were sealed anew under another id, by what each was sealed as first, and where it was decided: whoever brings the
        // same again gets that answer. Counters stay when sets are sealed anew, so they are not told twice.
        """
        CREATE TABLE IF NOT EXISTS tideline.resealed_set (tenant uuid NOT NULL, member uuid NOT NULL, origin text NOT NULL, \
        counter bigint NOT NULL, replica uuid NOT NULL, first_replica uuid NOT NULL, \
        PRIMARY KEY (tenant, member, origin, counter, replica))
        """,
        """
        CREATE INDEX IF NOT EXISTS resealed_set_twin_idx ON tideline.resealed_set (tenant, replica, counter) \
        WHERE first_replica <> replica
        """,
        // Of the request that wrote the entry, if the transaction named one.
        """
        ALTER TABLE tideline.feed ADD COLUMN IF NOT EXISTS request_id text DEFAULT nullif(current_setting('tideline.request', true), '')
        """,
    ]

    /// Look-ups that must cross tenants. They return ids only, run as the tables' owner, and read through policies of their own.
    static let functions: [String] = [
        """
        CREATE OR REPLACE FUNCTION tideline.enrollment_tenant(code_hash bytea) RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER \
        SET search_path = pg_catalog AS 'SELECT tenant FROM tideline.enrollment_code WHERE hash = code_hash LIMIT 1'
        """,
        """
        CREATE OR REPLACE FUNCTION tideline.heads_changed(since bigint) RETURNS TABLE (tenant uuid, "position" bigint, changed_at bigint) \
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog \
        AS 'SELECT h.tenant, h.position, h.changed_at FROM tideline.tenant_head h WHERE h.changed_at >= since'
        """,
        // Webhooks and built-in consumers with something to do; of each tenant the longest untouched first, so that none starves, and as
        // many of each tenant as there is room for.
        """
        CREATE OR REPLACE FUNCTION tideline.outbox_due(now bigint, open_max bigint, count bigint) \
        RETURNS TABLE (tenant uuid, name text, failures bigint) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS \
        'SELECT d.tenant, d.name, d.failures FROM (SELECT c.tenant, c.name, c.failures, c.last_attempt_at, \
        row_number() OVER (PARTITION BY c.tenant ORDER BY c.last_attempt_at NULLS FIRST) AS turn \
        FROM tideline.consumer c JOIN tideline.tenant_head h ON h.tenant = c.tenant \
        WHERE c.kind IN (''webhook'', ''builtin'') AND c.status = ''active'' AND c.blocked_until <= now \
        AND (c.due_at <= now OR (h.position > c.position AND c.open_count < open_max))) d \
        ORDER BY d.turn, d.last_attempt_at NULLS FIRST LIMIT count'
        """,
        // Tenants that store so much, the fullest first.
        """
        CREATE OR REPLACE FUNCTION tideline.storage_status(bytes bigint, count bigint) RETURNS TABLE (tenant uuid, stored bigint) \
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS \
        'SELECT h.tenant, h.stored_bytes FROM tideline.tenant_head h WHERE h.stored_bytes >= bytes ORDER BY h.stored_bytes DESC LIMIT count'
        """,
        // How far consumers are, in numbers, the furthest behind first. Positions are dense within an epoch, so nothing is counted.
        """
        CREATE OR REPLACE FUNCTION tideline.outbox_status(count bigint) RETURNS TABLE (tenant uuid, name text, kind text, status text, \
        lag bigint, oldest_at bigint, dead bigint, failures bigint) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS \
        'SELECT c.tenant, c.name, c.kind, c.status, \
        h.position - greatest(b.done, h.epoch * \(FeedPosition.epochStride) - 1), \
        (SELECT f.at FROM tideline.feed f WHERE f.tenant = c.tenant AND f.position > b.done ORDER BY f.position LIMIT 1), \
        (SELECT count(*) FROM tideline.delivery d WHERE d.tenant = c.tenant AND d.consumer = c.name AND d.status = ''dead''), c.failures \
        FROM tideline.consumer c JOIN tideline.tenant_head h ON h.tenant = c.tenant \
        CROSS JOIN LATERAL (SELECT coalesce((SELECT min(d.position) - 1 FROM tideline.delivery d WHERE d.tenant = c.tenant \
        AND d.consumer = c.name AND d.status = ''open''), c.position) AS done) b \
        ORDER BY h.position - b.done DESC LIMIT count'
        """,
    ]
    static let functionSignatures = [
        "tideline.enrollment_tenant(bytea)", "tideline.heads_changed(bigint)", "tideline.outbox_due(bigint, bigint, bigint)",
        "tideline.outbox_status(bigint)", "tideline.storage_status(bigint, bigint)",
    ]
    /// Tables those functions read.
    static let crossTenant = ["tenant_head", "enrollment_code", "consumer", "delivery", "feed"]
}
