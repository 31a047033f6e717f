-- What SqliteLedger writes. Each block begins with its name and what it does.

-- take_batches --
-- Makes the place where `stage_rows` puts a batch, and says what `write_rows` does with it: each row
-- is inserted, or brought up to date. That is one statement, so the file is locked for as long as
-- SQLite works and not while Python does. A row that is there already is replaced by a later version:
--   its owner has closed it:   by another closing version, never by an open one;
--   it was closed as stale:    by a closing version, or by an open one that is further on, which
--                              shows that its owner lives;
--   it is open:                by a closing version, or by an open one that is as far or further.
-- How far an open version is says its duration_ms. Hardly ever does a later version differ in what
-- the indexes hold beside the status, and SQLite writes all of them as soon as they are named. So
-- the first step leaves them out, and leaves alone what differs in them. The second has something to
-- do only where the first has not taken every row. The batch stays in memory, and needs no folder
-- for temporary files; temp_store is left as it is, or checking the totals of millions of requests
-- would take gigabytes of it.
PRAGMA temp.cache_size = -8000;
PRAGMA temp.journal_mode = MEMORY;

CREATE TEMP TABLE voicegw_batch (
    id, request_id, started_at, ended_at, day, project, modality, provider, model, requested_model,
    status, estimated, room, job_id, speech_id, audio_seconds, connection_seconds, input_tokens,
    cached_input_tokens, output_tokens, characters, cost_nanos, price, ttfb_ms, duration_ms, error,
    owner
);

CREATE TEMP VIEW voicegw_write AS SELECT NULL AS now;

CREATE TEMP TRIGGER voicegw_write_batch INSTEAD OF INSERT ON voicegw_write
BEGIN
    INSERT INTO usage (
        id, request_id, started_at, ended_at, day, project, modality, provider, model,
        requested_model, status, estimated, room, job_id, speech_id, audio_seconds,
        connection_seconds, input_tokens, cached_input_tokens, output_tokens, characters,
        cost_nanos, price, ttfb_ms, duration_ms, error, owner, updated_at
    )
    SELECT
        id, request_id, started_at, ended_at, day, project, modality, provider, model,
        requested_model, status, estimated, room, job_id, speech_id, audio_seconds,
        connection_seconds, input_tokens, cached_input_tokens, output_tokens, characters,
        cost_nanos, price, ttfb_ms, duration_ms, error, owner, NEW.now
    FROM voicegw_batch
    WHERE true
    ON CONFLICT (id) DO UPDATE SET
        request_id = excluded.request_id,
        ended_at = excluded.ended_at,
        requested_model = excluded.requested_model,
        status = excluded.status,
        estimated = excluded.estimated,
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
    WHERE (
            usage.started_at, usage.day, usage.project, usage.modality, usage.provider, usage.model
        ) = (
            excluded.started_at, excluded.day, excluded.project, excluded.modality,
            excluded.provider, excluded.model
        )
        AND usage.room IS excluded.room
        AND CASE
            WHEN excluded.status <> 'open' THEN true
            WHEN usage.status = 'open'
                THEN coalesce(excluded.duration_ms, 0) >= coalesce(usage.duration_ms, 0)
            WHEN usage.stale THEN coalesce(excluded.duration_ms, 0) > coalesce(usage.duration_ms, 0)
            ELSE false
        END;

    INSERT INTO usage (
        id, request_id, started_at, ended_at, day, project, modality, provider, model,
        requested_model, status, estimated, room, job_id, speech_id, audio_seconds,
        connection_seconds, input_tokens, cached_input_tokens, output_tokens, characters,
        cost_nanos, price, ttfb_ms, duration_ms, error, owner, updated_at
    )
    SELECT
        id, request_id, started_at, ended_at, day, project, modality, provider, model,
        requested_model, status, estimated, room, job_id, speech_id, audio_seconds,
        connection_seconds, input_tokens, cached_input_tokens, output_tokens, characters,
        cost_nanos, price, ttfb_ms, duration_ms, error, owner, NEW.now
    FROM voicegw_batch
    WHERE (SELECT changes()) <> (SELECT count(*) FROM voicegw_batch)
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
END;

-- clear_batch --
-- Takes out what was staged before.
DELETE FROM voicegw_batch;

-- stage_rows --
-- Stages a row, in the order of UsageRow; the list behind VALUES is repeated to stage several.
INSERT INTO voicegw_batch VALUES (
    ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?
);

-- write_rows --
-- Writes what was staged, one version of each row; see `take_batches`.
INSERT INTO voicegw_write (now) VALUES (:now);

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
