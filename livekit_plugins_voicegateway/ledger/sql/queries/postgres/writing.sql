-- What PostgresLedger writes. Each block begins with its name and what it does.

-- write_rows --
-- Inserts the rows of a batch, or brings them up to date, in the order of their ids, so that nobody
-- waits in a circle. Each parameter is an array with a value for each row; started_at and ended_at
-- are Unix milliseconds. A row that is there already is replaced by a later version:
--   its owner has closed it:   by another closing version, never by an open one;
--   it was closed as stale:    by a closing version, or by an open one that is further on, which
--                              shows that its owner lives;
--   it is open:                by a closing version, or by an open one that is as far or further.
-- How far an open version is says its duration_ms.
INSERT INTO usage AS kept (
    id, request_id, started_at, ended_at, day, project, modality, provider, model, requested_model,
    status, estimated, room, job_id, speech_id, audio_seconds, connection_seconds, input_tokens,
    cached_input_tokens, output_tokens, characters, cost_nanos, price, ttfb_ms, duration_ms, error,
    owner, updated_at
)
SELECT
    row_id, request_id, to_timestamp(started_ms::double precision / 1000),
    to_timestamp(ended_ms::double precision / 1000), day, project, modality, provider, model,
    requested_model, status, estimated, room, job_id, speech_id, audio_seconds, connection_seconds,
    input_tokens, cached_input_tokens, output_tokens, characters, cost_nanos, price, ttfb_ms,
    duration_ms, error, owner, to_timestamp(voicegw_now(:now::double precision))
FROM unnest(
    :id::text[], :request_id::text[], :started_at::bigint[], :ended_at::bigint[], :day::date[],
    :project::text[], :modality::text[], :provider::text[], :model::text[],
    :requested_model::text[], :status::text[], :estimated::boolean[], :room::text[],
    :job_id::text[], :speech_id::text[], :audio_seconds::double precision[],
    :connection_seconds::double precision[], :input_tokens::bigint[],
    :cached_input_tokens::bigint[], :output_tokens::bigint[], :characters::bigint[],
    :cost_nanos::bigint[], :price::text[], :ttfb_ms::double precision[],
    :duration_ms::double precision[], :error::text[], :owner::text[]
) AS written (
    row_id, request_id, started_ms, ended_ms, day, project, modality, provider, model,
    requested_model, status, estimated, room, job_id, speech_id, audio_seconds, connection_seconds,
    input_tokens, cached_input_tokens, output_tokens, characters, cost_nanos, price, ttfb_ms,
    duration_ms, error, owner
)
ORDER BY row_id
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
    stale = false
WHERE CASE
    WHEN excluded.status <> 'open' THEN true
    WHEN kept.status = 'open'
        THEN coalesce(excluded.duration_ms, 0) >= coalesce(kept.duration_ms, 0)
    WHEN kept.stale THEN coalesce(excluded.duration_ms, 0) > coalesce(kept.duration_ms, 0)
    ELSE false
END;

-- close_stale --
-- Closes the open rows that nobody has brought up to date for :seen_within seconds: their process is
-- gone. Cost and quantities stay as they were last seen. A row that somebody writes just now is
-- theirs. The last condition admits the index.
UPDATE usage SET
    status = 'cancelled',
    stale = true,
    ended_at = updated_at,
    error = coalesce(error, 'the process ended before the request did')
WHERE id IN (
    SELECT id FROM usage
    WHERE status = 'open'
        AND updated_at < to_timestamp(voicegw_now(:now::double precision) - :seen_within)
        AND status <> 'completed'
    FOR UPDATE SKIP LOCKED
);

-- any_usage_before --
-- One row when retention has something to delete: a closed request of a day before :day.
SELECT 1 FROM usage
WHERE started_at < voicegw_time(:started_before)
    AND day < voicegw_day(:day)
    AND status <> 'open'
LIMIT 1;

-- keep_from --
-- Notes that requests before :day may be gone from now on.
INSERT INTO retention AS noted (id, kept_from) VALUES (1, voicegw_day(:day))
ON CONFLICT (id) DO UPDATE SET kept_from = greatest(noted.kept_from, excluded.kept_from);

-- months_before --
-- The places of the months that ended before :day, oldest first.
SELECT relname::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'usage'::regclass
    AND relname ~ '^usage_[0-9]{4}_[0-9]{2}$'
    AND to_date(right(relname, 7), 'YYYY_MM') + interval '1 month' <= voicegw_day(:day)
ORDER BY relname;

-- drop_month --
-- Drops the place of a month, and says how many rows went; NULL when a row in it is to be kept.
SELECT voicegw_drop_month(:place, voicegw_day(:day));

-- delete_usage --
-- Deletes at most :limit closed rows of days before :day. A day begins less than a day before or
-- after its UTC date, so :started_before, one day later, finds all of them through the index.
DELETE FROM usage WHERE id IN (
    SELECT id FROM usage
    WHERE started_at < voicegw_time(:started_before)
        AND day < voicegw_day(:day)
        AND status <> 'open'
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
);

-- forget_calls --
-- Takes out the calls of which no request is left.
DELETE FROM calls
WHERE started_at < voicegw_time(:started_before)
    AND NOT EXISTS (
        SELECT FROM usage WHERE usage.room = calls.room AND usage.project = calls.project
    );

-- fold_slots --
-- Puts the totals of the days before :day into one slot each.
SELECT voicegw_fold_slots(voicegw_day(:day));
