-- What Outbox asks of its file. Each block begins with its name and what it does.

-- shrink --
-- Gives space back when rows are gone. Before the first table, or it has no effect.
PRAGMA auto_vacuum = FULL;

-- use_wal --
-- Many processes write it at once.
PRAGMA journal_mode = WAL;

-- settle --
-- What is committed has reached the disk.
PRAGMA synchronous = FULL;

-- create --
-- row is a JSON array as row_codec writes it. A newer version takes the place of an older one, and
-- a new number with it, so that what has been sent is never taken for what has not.
CREATE TABLE IF NOT EXISTS waiting (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    row      TEXT NOT NULL
);

-- create_refused --
-- row is JSON as row_codec writes a row that no ledger may be able to take.
CREATE TABLE IF NOT EXISTS refused (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id     TEXT NOT NULL UNIQUE,
    row    TEXT NOT NULL,
    reason TEXT NOT NULL,
    at     TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

-- has_table --
-- Whether the file has been made ready.
SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'refused');

-- put --
-- Keeps rows; :rows is a JSON array of rows.
INSERT OR REPLACE INTO waiting (id, row)
SELECT json_extract(value, '$[0]'), value FROM json_each(:rows);

-- size --
-- How many bytes the file has.
SELECT page_count * page_size FROM pragma_page_count, pragma_page_size;

-- after --
-- The next rows in order of arrival.
SELECT sequence, row FROM waiting WHERE sequence > :sequence ORDER BY sequence LIMIT :limit;

-- remove --
-- Takes out the rows with the numbers in the JSON array :sequences.
DELETE FROM waiting WHERE sequence IN (SELECT value FROM json_each(:sequences));

-- any --
-- One row when anything waits.
SELECT 1 FROM waiting LIMIT 1;

-- count --
-- How many rows wait.
SELECT count(*) FROM waiting;

-- set_aside --
-- Keeps rows that are refused; :rows is a JSON array of [id, row, reason].
INSERT OR REPLACE INTO refused (id, row, reason)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
FROM json_each(:rows);

-- forget --
-- Drops the oldest of more than :most rows that are set aside.
DELETE FROM refused WHERE number <= (
    SELECT number FROM refused ORDER BY number DESC LIMIT 1 OFFSET :most
);

-- refused --
-- What is set aside, the oldest first.
SELECT number, row, reason, at FROM refused ORDER BY number LIMIT :limit;

-- take_back --
-- Takes out what is set aside under the numbers in the JSON array :numbers.
DELETE FROM refused WHERE number IN (SELECT value FROM json_each(:numbers));

-- count_refused --
-- How many rows are set aside.
SELECT count(*) FROM refused;

-- lock --
-- Held open by whoever drains the outbox; it ends with its process.
BEGIN EXCLUSIVE;
