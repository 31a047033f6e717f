-- Ways through all requests, for exports and for who follows the log. Each block begins with its
-- name and what it answers.

-- rows_of_days --
-- Requests of the days :first_day to :last_day behind (:after, :after_id), oldest first, in the
-- order of UsageRow. A day begins less than a day before or after its UTC date, so the two times,
-- one day further out, bound the walk through the index.
SELECT
    id, request_id, voicegw_iso(started_at), voicegw_iso(ended_at), voicegw_iso(day), project,
    modality, provider, model, requested_model, status, estimated, room, job_id, speech_id,
    audio_seconds, connection_seconds, input_tokens, cached_input_tokens, output_tokens, characters,
    cost_nanos, price, ttfb_ms, duration_ms, error, owner
FROM usage
WHERE (started_at, id)
        > (greatest(voicegw_time(:after), voicegw_time(:started_from)), :after_id)
    AND started_at < voicegw_time(:started_before)
    AND day BETWEEN voicegw_day(:first_day) AND voicegw_day(:last_day)
    AND (:project::text IS NULL OR project = :project)
ORDER BY usage.started_at, usage.id
LIMIT :limit;

-- totals_of_days --
-- The totals of the days :first_day to :last_day.
SELECT
    voicegw_iso(day), project, modality, provider, model, requests, unpriced_requests,
    audio_seconds, input_tokens, cached_input_tokens, output_tokens, characters, cost_nanos,
    estimated_cost_nanos
FROM usage_daily
WHERE day BETWEEN voicegw_day(:first_day) AND voicegw_day(:last_day)
    AND (:project::text IS NULL OR project = :project)
ORDER BY usage_daily.day, project, modality, provider, model;

-- newest_mark --
-- The highest mark below those that transactions which still run may yet write. A row keeps its
-- mark when it is changed.
SELECT coalesce(max(mark), 0) FROM usage
WHERE mark < pg_snapshot_xmin(pg_current_snapshot())::text::bigint << 20;

-- rows_written_after --
-- Marks and rows, in the order in which they were first written. What is written by a transaction
-- that began before one that still runs is complete; the rest comes later.
SELECT
    mark, id, request_id, voicegw_iso(started_at), voicegw_iso(ended_at), voicegw_iso(day), project,
    modality, provider, model, requested_model, status, estimated, room, job_id, speech_id,
    audio_seconds, connection_seconds, input_tokens, cached_input_tokens, output_tokens, characters,
    cost_nanos, price, ttfb_ms, duration_ms, error, owner
FROM usage
WHERE mark > :mark AND mark < pg_snapshot_xmin(pg_current_snapshot())::text::bigint << 20
ORDER BY usage.mark
LIMIT :limit;
