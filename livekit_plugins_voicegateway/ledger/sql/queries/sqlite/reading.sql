-- What reports ask of SqliteLedger. Each block begins with its name and what it answers.

-- costs --
-- Totals of the days :first_day to :last_day, of one project or of all, added up four ways. One
-- statement, so that all four are of the same moment. The days are added up once; three of the
-- four are sums of what is left then, a line for each project and model.
WITH chosen AS NOT MATERIALIZED (
    SELECT * FROM usage_daily
    WHERE day BETWEEN :first_day AND :last_day AND (:project IS NULL OR project = :project)
),
of_all_days AS MATERIALIZED (
    SELECT
        project, modality, provider, model, sum(requests) AS requests,
        sum(unpriced_requests) AS unpriced_requests, sum(audio_seconds) AS audio_seconds,
        sum(input_tokens) AS input_tokens, sum(cached_input_tokens) AS cached_input_tokens,
        sum(output_tokens) AS output_tokens, sum(characters) AS characters,
        sum(cost_nanos) AS cost_nanos, sum(estimated_cost_nanos) AS estimated_cost_nanos
    FROM chosen GROUP BY project, modality, provider, model
)
SELECT
    'project', NULL AS day, project, NULL AS modality, NULL AS provider, NULL AS model,
    sum(requests), sum(unpriced_requests), round(sum(audio_seconds), 3), sum(input_tokens),
    sum(cached_input_tokens), sum(output_tokens), sum(characters), sum(cost_nanos),
    sum(estimated_cost_nanos)
FROM of_all_days GROUP BY project
UNION ALL
SELECT
    'modality', NULL, NULL, modality, NULL, NULL,
    sum(requests), sum(unpriced_requests), round(sum(audio_seconds), 3), sum(input_tokens),
    sum(cached_input_tokens), sum(output_tokens), sum(characters), sum(cost_nanos),
    sum(estimated_cost_nanos)
FROM of_all_days GROUP BY modality
UNION ALL
SELECT
    'model', NULL, NULL, modality, provider, model,
    sum(requests), sum(unpriced_requests), round(sum(audio_seconds), 3), sum(input_tokens),
    sum(cached_input_tokens), sum(output_tokens), sum(characters), sum(cost_nanos),
    sum(estimated_cost_nanos)
FROM of_all_days GROUP BY modality, provider, model
UNION ALL
SELECT
    'day', day, NULL, NULL, NULL, NULL,
    sum(requests), sum(unpriced_requests), round(sum(audio_seconds), 3), sum(input_tokens),
    sum(cached_input_tokens), sum(output_tokens), sum(characters), sum(cost_nanos),
    sum(estimated_cost_nanos)
FROM chosen GROUP BY day;

-- has_project --
-- Whether anything was ever recorded for a project.
SELECT EXISTS (SELECT 1 FROM usage_daily WHERE project = :project);

-- newest --
-- Ids of the newest requests, older than (:before, :before_id).
SELECT id FROM usage
WHERE (started_at, id) < (:before, :before_id) AND (:status IS NULL OR status = :status)
ORDER BY started_at DESC, id DESC
LIMIT :limit;

-- newest_of_room --
-- Ids of the newest requests of a call.
SELECT id FROM usage
WHERE room = :room
    AND (started_at, id) < (:before, :before_id)
    AND (:project IS NULL OR project = :project)
    AND (:modality IS NULL OR modality = :modality)
    AND (:provider IS NULL OR provider = :provider)
    AND (:model IS NULL OR model = :model)
    AND (:status IS NULL OR status = :status)
ORDER BY started_at DESC, id DESC
LIMIT :limit;

-- newest_of_status --
-- Ids of the newest requests that have not completed; the second condition admits the index.
SELECT id FROM usage
WHERE status = :status
    AND status <> 'completed'
    AND (started_at, id) < (:before, :before_id)
    AND (:project IS NULL OR project = :project)
    AND (:modality IS NULL OR modality = :modality)
    AND (:provider IS NULL OR provider = :provider)
    AND (:model IS NULL OR model = :model)
ORDER BY started_at DESC, id DESC
LIMIT :limit;

-- newest_of_keys --
-- Ids of the newest requests by project, modality and model in any combination. The totals know
-- which keys there are; the newest rows of each come from the index, and the newest of those win.
WITH keys AS (
    SELECT DISTINCT project, modality, provider, model FROM usage_daily
    WHERE (:project IS NULL OR project = :project)
        AND (:modality IS NULL OR modality = :modality)
        AND (:provider IS NULL OR provider = :provider)
        AND (:model IS NULL OR model = :model)
)
SELECT found.id
FROM keys CROSS JOIN usage AS found ON found.rowid IN (
    SELECT usage.rowid FROM usage
    WHERE (usage.project, usage.modality, usage.provider, usage.model)
        = (keys.project, keys.modality, keys.provider, keys.model)
        AND (usage.started_at, usage.id) < (:before, :before_id)
        AND (:status IS NULL OR usage.status = :status)
    ORDER BY usage.started_at DESC, usage.id DESC
    LIMIT :limit
)
ORDER BY found.started_at DESC, found.id DESC
LIMIT :limit;

-- rows --
-- The requests with the ids of the JSON array :ids, newest first, in the order of UsageRow.
SELECT
    id, request_id, started_at, ended_at, day, project, modality, provider, model, requested_model,
    status, estimated, room, job_id, speech_id, audio_seconds, connection_seconds, input_tokens,
    cached_input_tokens, output_tokens, characters, cost_nanos, price, ttfb_ms, duration_ms, error,
    owner
FROM usage
WHERE id IN (SELECT value FROM json_each(:ids))
ORDER BY started_at DESC, id DESC;

-- newest_calls --
-- The newest calls by the time they began, older than (:before, :before_room). A call that two
-- projects paid for began with the earlier of the two.
SELECT room, started_at FROM calls
WHERE (started_at, room) < (:before, :before_room)
    AND NOT EXISTS (
        SELECT 1 FROM calls AS other
        WHERE other.room = calls.room
            AND (other.started_at, other.project) < (calls.started_at, calls.project)
    )
ORDER BY started_at DESC, room DESC
LIMIT :limit;

-- newest_calls_of_project --
-- The newest calls that a project paid for.
SELECT room, started_at FROM calls
WHERE project = :project AND (started_at, room) < (:before, :before_room)
ORDER BY started_at DESC, room DESC
LIMIT :limit;

-- call_totals --
-- What was used in the calls of the JSON array :rooms, by project and model.
SELECT
    room, project, modality, provider, model, min(started_at),
    CASE WHEN sum(status = 'open') = 0 THEN max(ended_at) END,
    count(*), sum(cost_nanos IS NULL), round(sum(audio_seconds), 3), sum(input_tokens),
    sum(cached_input_tokens), sum(output_tokens), sum(characters), sum(cost_nanos),
    sum(estimated * coalesce(cost_nanos, 0))
FROM usage
WHERE room IN (SELECT value FROM json_each(:rooms)) AND (:project IS NULL OR project = :project)
GROUP BY room, project, modality, provider, model;

-- call_latencies --
-- Milliseconds to the first result in the calls of the JSON array :rooms, by modality: how many
-- requests had one, the median and the maximum.
WITH ranked AS (
    SELECT
        room, modality, ttfb_ms,
        row_number() OVER (PARTITION BY room, modality ORDER BY ttfb_ms) AS place,
        count(*) OVER (PARTITION BY room, modality) AS places
    FROM usage
    WHERE room IN (SELECT value FROM json_each(:rooms))
        AND (:project IS NULL OR project = :project)
        AND ttfb_ms IS NOT NULL
)
SELECT
    room, modality, places,
    avg(CASE WHEN place IN ((places + 1) / 2, (places + 2) / 2) THEN ttfb_ms END),
    max(ttfb_ms)
FROM ranked
GROUP BY room, modality, places;

-- call_turns --
-- The turns of one call by modality, in the order in which they began.
SELECT
    speech_id, modality, min(started_at),
    CASE WHEN sum(status = 'open') = 0 THEN max(ended_at) END, count(*), sum(cost_nanos IS NULL),
    sum(cost_nanos), sum(input_tokens), sum(output_tokens), sum(characters), min(ttfb_ms),
    sum(status = 'cancelled')
FROM usage
WHERE room = :room AND speech_id IS NOT NULL
GROUP BY speech_id, modality
ORDER BY min(started_at), speech_id, modality;

-- kept_from --
-- From which day on all single requests are there; NULL when none was ever deleted.
SELECT max(kept_from) FROM retention;

-- mismatches --
-- Every line of usage_daily from :first_day on that is not the sum of its requests, and every group
-- of requests without a line: the line's values, then the sums. One statement, so that both are of
-- the same moment.
WITH compared AS (
    SELECT
        day, project, modality, provider, model, requests AS t1, unpriced_requests AS t2,
        audio_seconds AS t3, input_tokens AS t4, cached_input_tokens AS t5, output_tokens AS t6,
        characters AS t7, cost_nanos AS t8, estimated_cost_nanos AS t9, 0 AS s1, 0 AS s2, 0 AS s3,
        0 AS s4, 0 AS s5, 0 AS s6, 0 AS s7, NULL AS s8, 0 AS s9
    FROM usage_daily WHERE day >= :first_day
    UNION ALL
    SELECT
        day, project, modality, provider, model, 0, 0, 0, 0, 0, 0, 0, NULL, 0, count(*),
        sum(cost_nanos IS NULL), round(sum(round(audio_seconds, 3)), 3), sum(input_tokens),
        sum(cached_input_tokens), sum(output_tokens), sum(characters), sum(cost_nanos),
        sum(estimated * coalesce(cost_nanos, 0))
    FROM usage WHERE day >= :first_day
    GROUP BY day, project, modality, provider, model
)
SELECT
    day, project, modality, provider, model,
    sum(t1), sum(t2), sum(t3), sum(t4), sum(t5), sum(t6), sum(t7), sum(t8), sum(t9),
    sum(s1), sum(s2), sum(s3), sum(s4), sum(s5), sum(s6), sum(s7), sum(s8), sum(s9)
FROM compared
GROUP BY day, project, modality, provider, model
HAVING sum(t1) <> sum(s1) OR sum(t2) <> sum(s2) OR sum(t3) <> sum(s3) OR sum(t4) <> sum(s4)
    OR sum(t5) <> sum(s5) OR sum(t6) <> sum(s6) OR sum(t7) <> sum(s7)
    OR sum(t8) IS NOT sum(s8) OR sum(t9) <> sum(s9)
ORDER BY day, project, modality, provider, model;

-- checked --
-- How many requests and lines of totals a check of the totals looks at.
SELECT
    (SELECT count(*) FROM usage WHERE day >= :first_day),
    (SELECT count(*) FROM usage_daily WHERE day >= :first_day);
