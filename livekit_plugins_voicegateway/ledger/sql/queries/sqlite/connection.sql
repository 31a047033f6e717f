-- How a connection is set up. Each block begins with its name and what it does.

-- use_wal --
-- Readers and one writer beside each other. Kept in the file, so it is set once.
PRAGMA journal_mode = WAL;

-- settle --
-- FULL: what is committed has reached the disk. The -wal is brought into the file every 32 MB, not
-- every 4: most pages have been changed many times by then, and go there once. The cache (16 MB)
-- keeps the growing ends of the indexes in memory; the limit (64 MB) gives back what a long reader
-- has made the -wal grow to. Whoever has read once has opened -wal and -shm, and keeps them.
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 8000;
PRAGMA cache_size = -16000;
PRAGMA journal_size_limit = 67108864;
SELECT 1 FROM sqlite_master LIMIT 1;

-- wait_here --
-- From here on this connection waits by itself for locks.
PRAGMA busy_timeout = 0;

-- settle_leases --
-- NORMAL: a lease need not outlive the machine, as no process that holds one does. Nobody waits for
-- the disk with the write lock in hand, and what is written next with FULL takes it along. Nor
-- does a lease wait for the -wal to be brought into the file, as long as rows are written, too.
-- busy_timeout last: see `wait_here`.
PRAGMA synchronous = NORMAL;
PRAGMA wal_autocheckpoint = 12000;
PRAGMA journal_size_limit = 67108864;
SELECT 1 FROM sqlite_master LIMIT 1;
PRAGMA busy_timeout = 0;

-- settle_reading --
-- Whoever has read once has opened -wal and -shm, and keeps them.
SELECT 1 FROM sqlite_master LIMIT 1;

-- forget_pages --
-- Lets go of the pages in memory: what is in the file is read again.
PRAGMA shrink_memory;

-- find_damage --
-- Looks for damage: "ok", or the first thing that is wrong with the file.
PRAGMA integrity_check(1);

-- begin --
-- Takes the write lock, waiting for whoever holds it.
BEGIN IMMEDIATE;

-- commit --
-- Makes what was done since begin durable, and gives the lock back.
COMMIT;

-- data_version --
-- Another number whenever another connection, of this process or of any, has committed.
PRAGMA data_version;

-- has_migrations --
-- Whether the file has a ledger in it already.
SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'schema_migrations');

-- create_migrations --
-- The record of what has been applied. additive: whether older workers can go on with it.
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    additive   INTEGER NOT NULL,
    applied_at TEXT NOT NULL
);

-- applied_migrations --
-- What has been applied, in order.
SELECT number, name, additive FROM schema_migrations ORDER BY number;

-- record_migration --
-- Notes that a migration has been applied.
INSERT INTO schema_migrations (number, name, additive, applied_at)
VALUES (:number, :name, :additive, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));
