-- Ways through all requests, for exports and for who follows the log. Each block begins with its
-- name and what it answers.

-- rows_of_days --
-- Requests of the days :first_day to :last_day behind (:after, :after_id), oldest first, in the
-- order of UsageRow. A day begins less than a day before or after its UTC date, so the two times,
-- one day further out, bound the walk through the index.
SELECT
    id, request_id, started_at, ended_at, day, project, modality, provider, model, requested_model,
    status, estimated, room, job_id, speech_id, audio_seconds, connection_seconds, input_tokens,
    cached_input_tokens, output_tokens, characters, cost_nanos, price, ttfb_ms, duration_ms, error,
    owner
FROM usage
WHERE (started_at, id) > (max(:after, :started_from), :after_id)
    AND started_at < :started_before
    AND day BETWEEN :first_day AND :last_day
    AND (:project IS NULL OR project = :project)
ORDER BY started_at, id
LIMIT :limit;

-- totals_of_days --
-- The totals of the days :first_day to :last_day as they are kept.
SELECT
    day, project, modality, provider, model, requests, unpriced_requests, audio_seconds,
    input_tokens, cached_input_tokens, output_tokens, characters, cost_nanos, estimated_cost_nanos
FROM usage_daily
WHERE day BETWEEN :first_day AND :last_day AND (:project IS NULL OR project = :project)
ORDER BY day, project, modality, provider, model;

-- newest_mark --
-- The mark of the row that was written first last. A row keeps its rowid when it is changed.
SELECT coalesce(max(rowid), 0) FROM usage;

-- rows_written_after --
-- Marks and rows, in the order in which they were first written.
SELECT
    rowid, id, request_id, started_at, ended_at, day, project, modality, provider, model,
    requested_model, status, estimated, room, job_id, speech_id, audio_seconds, connection_seconds,
    input_tokens, cached_input_tokens, output_tokens, characters, cost_nanos, price, ttfb_ms,
    duration_ms, error, owner
FROM usage
WHERE rowid > :mark
ORDER BY rowid
LIMIT :limit;
