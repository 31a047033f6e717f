-- What SqliteLedger writes. Each block begins with its name and what it does.

-- write_rows --
-- Inserts the rows of a batch, or brings them up to date. :rows is a JSON array of arrays in the
-- order of the columns below; it is one statement, so the file is locked for as long as SQLite
-- works and not while Python does. A row that is there already is replaced by a later version:
--   its owner has closed it:   by another closing version, never by an open one;
--   it was closed as stale:    by a closing version, or by an open one that is further on, which
--                              shows that its owner lives;
--   it is open:                by a closing version, or by an open one that is as far or further.
-- How far an open version is says its duration_ms. LIMIT -1 keeps json_each from being asked for
-- the same value once per column.
INSERT INTO usage (
    id, request_id, started_at, ended_at, day, project, modality, provider, model, requested_model,
    status, estimated, room, job_id, speech_id, audio_seconds, connection_seconds, input_tokens,
    cached_input_tokens, output_tokens, characters, cost_nanos, price, ttfb_ms, duration_ms, error,
    owner, updated_at
)
SELECT
    json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
    json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'),
    json_extract(value, '$[9]'), json_extract(value, '$[10]'), json_extract(value, '$[11]'),
    json_extract(value, '$[12]'), json_extract(value, '$[13]'), json_extract(value, '$[14]'),
    json_extract(value, '$[15]'), json_extract(value, '$[16]'), json_extract(value, '$[17]'),
    json_extract(value, '$[18]'), json_extract(value, '$[19]'), json_extract(value, '$[20]'),
    json_extract(value, '$[21]'), json_extract(value, '$[22]'), json_extract(value, '$[23]'),
    json_extract(value, '$[24]'), json_extract(value, '$[25]'),
    json_extract(value, '$[26]'), :now
FROM (SELECT value FROM json_each(:rows) LIMIT -1)
WHERE true
ON CONFLICT (id) DO UPDATE SET
    request_id = excluded.request_id,
    started_at = excluded.started_at,
    ended_at = excluded.ended_at,
    day = excluded.day,
    project = excluded.project,
    modality = excluded.modality,
    provider = excluded.provider,
    model = excluded.model,
    requested_model = excluded.requested_model,
    status = excluded.status,
    estimated = excluded.estimated,
    room = excluded.room,
    job_id = excluded.job_id,
    speech_id = excluded.speech_id,
    audio_seconds = excluded.audio_seconds,
    connection_seconds = excluded.connection_seconds,
    input_tokens = excluded.input_tokens,
    cached_input_tokens = excluded.cached_input_tokens,
    output_tokens = excluded.output_tokens,
    characters = excluded.characters,
    cost_nanos = excluded.cost_nanos,
    price = excluded.price,
    ttfb_ms = excluded.ttfb_ms,
    duration_ms = excluded.duration_ms,
    error = excluded.error,
    owner = excluded.owner,
    updated_at = excluded.updated_at,
    stale = 0
WHERE CASE
    WHEN excluded.status <> 'open' THEN true
    WHEN usage.status = 'open'
        THEN coalesce(excluded.duration_ms, 0) >= coalesce(usage.duration_ms, 0)
    WHEN usage.stale THEN coalesce(excluded.duration_ms, 0) > coalesce(usage.duration_ms, 0)
    ELSE false
END;

-- close_stale --
-- Closes the open rows that nobody has brought up to date since :seen_before: their process is
-- gone. Cost and quantities stay as they were last seen. The last condition admits the index.
UPDATE usage SET
    status = 'cancelled',
    stale = 1,
    ended_at = updated_at,
    error = coalesce(error, 'the process ended before the request did')
WHERE status = 'open' AND updated_at < :seen_before AND status <> 'completed';

-- any_stale --
-- One row when close_stale has something to close.
SELECT 1 FROM usage
WHERE status = 'open' AND updated_at < :seen_before AND status <> 'completed'
LIMIT 1;

-- any_usage_before --
-- One row when retention has something to delete: a closed request of a day before :day.
SELECT 1 FROM usage
WHERE started_at < :started_before AND day < :day AND status <> 'open'
LIMIT 1;

-- keep_from --
-- Notes that requests before :day may be gone from now on.
INSERT INTO retention (only, kept_from) VALUES (1, :day)
ON CONFLICT (only) DO UPDATE SET kept_from = max(kept_from, excluded.kept_from);

-- delete_usage --
-- Deletes at most :limit closed rows of days before :day. A day begins less than a day before or
-- after its UTC date, so :started_before, one day later, finds all of them through the index.
DELETE FROM usage WHERE rowid IN (
    SELECT rowid FROM usage
    WHERE started_at < :started_before AND day < :day AND status <> 'open'
    LIMIT :limit
);

-- forget_calls --
-- Takes out the calls of which no request is left.
DELETE FROM calls
WHERE started_at < :started_before
    AND NOT EXISTS (
        SELECT 1 FROM usage WHERE usage.room = calls.room AND usage.project = calls.project
    );
