-- What reports ask of PostgresLedger. Each block begins with its name and what it answers.

-- costs --
-- Totals of the days :first_day to :last_day, of one project or of all, added up four ways. One
-- statement, so that all four are of the same moment, and the lines are read once for all of them.
SELECT
    CASE grouping(project, modality, provider, day)
        WHEN 7 THEN 'project' WHEN 11 THEN 'modality' WHEN 9 THEN 'model' ELSE 'day'
    END,
    voicegw_iso(day), project, modality, provider, model,
    sum(requests)::bigint, sum(unpriced_requests)::bigint,
    (sum(audio_ms) / 1000)::double precision, sum(input_tokens)::bigint,
    sum(cached_input_tokens)::bigint, sum(output_tokens)::bigint, sum(characters)::bigint,
    CASE WHEN sum(requests) > sum(unpriced_requests) THEN sum(cost_nanos)::bigint END,
    sum(estimated_cost_nanos)::bigint
FROM usage_daily_slots
WHERE day BETWEEN (SELECT voicegw_day(:first_day)) AND (SELECT voicegw_day(:last_day))
    AND (:project::text IS NULL OR project = :project)
GROUP BY GROUPING SETS ((project), (modality), (modality, provider, model), (day))
HAVING sum(requests) <> 0;

-- has_project --
-- Whether anything was ever recorded for a project.
SELECT EXISTS (SELECT FROM usage_keys WHERE project = :project);

-- newest --
-- Ids of the newest requests, older than (:before, :before_id).
SELECT id FROM usage
WHERE (started_at, id) < (voicegw_time(:before), :before_id)
    AND (:status::text IS NULL OR status = :status)
ORDER BY started_at DESC, id DESC
LIMIT :limit;

-- newest_of_room --
-- Ids of the newest requests of a call.
SELECT id FROM usage
WHERE room = :room
    AND (started_at, id) < (voicegw_time(:before), :before_id)
    AND (:project::text IS NULL OR project = :project)
    AND (:modality::text IS NULL OR modality = :modality)
    AND (:provider::text IS NULL OR provider = :provider)
    AND (:model::text IS NULL OR model = :model)
    AND (:status::text IS NULL OR status = :status)
ORDER BY started_at DESC, id DESC
LIMIT :limit;

-- newest_of_status --
-- Ids of the newest requests that have not completed; the second condition admits the index.
SELECT id FROM usage
WHERE status = :status
    AND status <> 'completed'
    AND started_at AT TIME ZONE 'UTC' <= voicegw_time(:before) AT TIME ZONE 'UTC'
    AND (started_at, id) < (voicegw_time(:before), :before_id)
    AND (:project::text IS NULL OR project = :project)
    AND (:modality::text IS NULL OR modality = :modality)
    AND (:provider::text IS NULL OR provider = :provider)
    AND (:model::text IS NULL OR model = :model)
ORDER BY started_at AT TIME ZONE 'UTC' DESC, id DESC
LIMIT :limit;

-- newest_of_keys --
-- Ids of the newest requests by project, modality and model in any combination. The totals know
-- which keys there are; the newest rows of each come from the index, and the newest of those win.
SELECT found.id
FROM usage_keys AS keys CROSS JOIN LATERAL (
    SELECT usage.id, usage.started_at FROM usage
    WHERE voicegw_key(usage.project, usage.modality, usage.provider, usage.model)
            = voicegw_key(keys.project, keys.modality, keys.provider, keys.model)
        AND usage.started_at AT TIME ZONE 'UTC' <= voicegw_time(:before) AT TIME ZONE 'UTC'
        AND (usage.started_at, usage.id) < (voicegw_time(:before), :before_id)
        AND (:status::text IS NULL OR usage.status = :status)
    ORDER BY usage.started_at AT TIME ZONE 'UTC' DESC, usage.id DESC
    LIMIT :limit
) AS found
WHERE (:project::text IS NULL OR keys.project = :project)
    AND (:modality::text IS NULL OR keys.modality = :modality)
    AND (:provider::text IS NULL OR keys.provider = :provider)
    AND (:model::text IS NULL OR keys.model = :model)
ORDER BY found.started_at DESC, found.id DESC
LIMIT :limit;

-- rows --
-- The requests with the ids of the array :ids, newest first, in the order of UsageRow.
SELECT
    id, request_id, voicegw_iso(started_at), voicegw_iso(ended_at), voicegw_iso(day), project,
    modality, provider, model, requested_model, status, estimated, room, job_id, speech_id,
    audio_seconds, connection_seconds, input_tokens, cached_input_tokens, output_tokens, characters,
    cost_nanos, price, ttfb_ms, duration_ms, error, owner
FROM usage
WHERE id IN (SELECT unnest(:ids::text[]))
ORDER BY usage.started_at DESC, usage.id DESC;

-- newest_calls --
-- The newest calls by the time they began, older than (:before, :before_room). A call that two
-- projects paid for began with the earlier of the two.
SELECT room, voicegw_iso(started_at) FROM calls
WHERE (started_at, room) < (voicegw_time(:before), :before_room)
    AND NOT EXISTS (
        SELECT 1 FROM calls AS other
        WHERE other.room = calls.room
            AND (other.started_at, other.project) < (calls.started_at, calls.project)
    )
ORDER BY calls.started_at DESC, room DESC
LIMIT :limit;

-- newest_calls_of_project --
-- The newest calls that a project paid for.
SELECT room, voicegw_iso(started_at) FROM calls
WHERE project = :project AND (started_at, room) < (voicegw_time(:before), :before_room)
ORDER BY calls.started_at DESC, room DESC
LIMIT :limit;

-- call_totals --
-- What was used in the calls of the array :rooms, by project and model.
SELECT
    room, project, modality, provider, model, voicegw_iso(min(started_at)),
    CASE WHEN count(*) FILTER (WHERE status = 'open') = 0 THEN voicegw_iso(max(ended_at)) END,
    count(*), count(*) - count(cost_nanos),
    (sum(round(audio_seconds * 1000)::bigint) / 1000)::double precision, sum(input_tokens)::bigint,
    sum(cached_input_tokens)::bigint, sum(output_tokens)::bigint, sum(characters)::bigint,
    sum(cost_nanos)::bigint, coalesce(sum(cost_nanos) FILTER (WHERE estimated), 0)::bigint
FROM usage
WHERE room = ANY(:rooms) AND (:project::text IS NULL OR project = :project)
GROUP BY room, project, modality, provider, model;

-- call_latencies --
-- Milliseconds to the first result in the calls of the array :rooms, by modality: how many requests
-- had one, the median and the maximum.
SELECT
    room, modality, count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY ttfb_ms), max(ttfb_ms)
FROM usage
WHERE room = ANY(:rooms)
    AND (:project::text IS NULL OR project = :project)
    AND ttfb_ms IS NOT NULL
GROUP BY room, modality;

-- call_turns --
-- The turns of one call by modality, in the order in which they began.
SELECT
    speech_id, modality, voicegw_iso(min(started_at)),
    CASE WHEN count(*) FILTER (WHERE status = 'open') = 0 THEN voicegw_iso(max(ended_at)) END,
    count(*), count(*) - count(cost_nanos), sum(cost_nanos)::bigint, sum(input_tokens)::bigint,
    sum(output_tokens)::bigint, sum(characters)::bigint, min(ttfb_ms),
    count(*) FILTER (WHERE status = 'cancelled')
FROM usage
WHERE room = :room AND speech_id IS NOT NULL
GROUP BY speech_id, modality
ORDER BY min(started_at), speech_id, modality;

-- kept_from --
-- From which day on all single requests are there; NULL when none was ever deleted.
SELECT voicegw_iso(max(kept_from)) FROM retention;

-- mismatches --
-- Every line of the totals from :first_day on that is not the sum of its requests, and every group
-- of requests without a line: the line's values, then the sums. One statement, so that both are of
-- the same moment.
WITH compared AS (
    SELECT
        day, project, modality, provider, model, requests AS t1, unpriced_requests AS t2,
        audio_ms AS t3, input_tokens AS t4, cached_input_tokens AS t5, output_tokens AS t6,
        characters AS t7, cost_nanos AS t8, estimated_cost_nanos AS t9, 0 AS s1, 0 AS s2, 0 AS s3,
        0 AS s4, 0 AS s5, 0 AS s6, 0 AS s7, 0 AS s8, 0 AS s9
    FROM usage_daily_slots WHERE day >= voicegw_day(:first_day)
    UNION ALL
    SELECT
        day, project, modality, provider, model, 0, 0, 0, 0, 0, 0, 0, 0, 0, count(*),
        count(*) - count(cost_nanos), sum(round(audio_seconds * 1000)::bigint), sum(input_tokens),
        sum(cached_input_tokens), sum(output_tokens), sum(characters),
        coalesce(sum(cost_nanos), 0), coalesce(sum(cost_nanos) FILTER (WHERE estimated), 0)
    FROM usage WHERE day >= voicegw_day(:first_day)
    GROUP BY day, project, modality, provider, model
)
SELECT
    voicegw_iso(day), project, modality, provider, model,
    sum(t1)::bigint, sum(t2)::bigint, (sum(t3) / 1000)::double precision, sum(t4)::bigint,
    sum(t5)::bigint, sum(t6)::bigint, sum(t7)::bigint,
    CASE WHEN sum(t1) > sum(t2) OR sum(t8) <> 0 THEN sum(t8)::bigint END, sum(t9)::bigint,
    sum(s1)::bigint, sum(s2)::bigint, (sum(s3) / 1000)::double precision, sum(s4)::bigint,
    sum(s5)::bigint, sum(s6)::bigint, sum(s7)::bigint,
    CASE WHEN sum(s1) > sum(s2) THEN sum(s8)::bigint END, sum(s9)::bigint
FROM compared
GROUP BY day, project, modality, provider, model
HAVING (
    sum(t1), sum(t2), sum(t3), sum(t4), sum(t5), sum(t6), sum(t7), sum(t8), sum(t9)
) <> (sum(s1), sum(s2), sum(s3), sum(s4), sum(s5), sum(s6), sum(s7), sum(s8), sum(s9))
ORDER BY compared.day, project, modality, provider, model;

-- checked --
-- How many requests and lines of totals a check of the totals looks at.
SELECT
    (SELECT count(*) FROM usage WHERE day >= voicegw_day(:first_day)),
    (SELECT count(*) FROM usage_daily WHERE day >= voicegw_day(:first_day));
