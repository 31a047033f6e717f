-- How a connection is set up. Each block begins with its name and what it does.

-- settle --
-- What the queries take for granted, whatever the database's own defaults are; who waits 5 s for a
-- lock is told so, and a process that vanishes in the middle holds up nobody for long. A plan for
-- all months takes longer to make than most answers, so each is made once, for any parameters; it is
-- to follow an index from its end, and not to collect all that matches.
SET TimeZone = 'UTC';
SET default_transaction_isolation = 'read committed';
SET jit = off;
SET plan_cache_mode = force_generic_plan;
SET enable_bitmapscan = off;
SET lock_timeout = '5s';
SET idle_in_transaction_session_timeout = '60s';
SET tcp_keepalives_idle = 30;
SET tcp_keepalives_interval = 10;
SET tcp_keepalives_count = 3;

-- settle_reading --
-- The same for who only reads.
SET default_transaction_read_only = on;

-- data_version --
-- Another number whenever a transaction has ended, whoever's it was.
SELECT hashtextextended(pg_current_snapshot()::text, 0);

-- has_migrations --
-- Whether the database has a ledger in it already.
SELECT to_regclass('schema_migrations') IS NOT NULL;

-- migrate_alone --
-- Lets one after the other look for what is missing, until the transaction ends; more of them may
-- be waiting than is usual.
SELECT set_config('lock_timeout', '60s', true), pg_advisory_xact_lock(867140, 1);

-- create_migrations --
-- The record of what has been applied. additive: whether older workers can go on with it.
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    additive   boolean NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- applied_migrations --
-- What has been applied, in order.
SELECT number, name, additive FROM schema_migrations ORDER BY number;

-- record_migration --
-- Notes that a migration has been applied.
INSERT INTO schema_migrations (number, name, additive)
VALUES (:number::integer, :name, :additive::boolean);

-- make_months --
-- Makes the places of the months around now that are not there yet, and says how many.
SELECT voicegw_make_months(current_date);
