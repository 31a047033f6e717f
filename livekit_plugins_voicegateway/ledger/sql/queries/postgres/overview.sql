-- What reports ask of PostgresLedger for those who watch it. None of these reads more rows because
-- there are more: totals, the open requests, and the newest few of each model.

-- daily_costs --
-- Totals of the days :first_day to :last_day by day and project, of one project or of all.
SELECT
    voicegw_iso(day), project, sum(requests)::bigint, sum(unpriced_requests)::bigint,
    (sum(audio_ms) / 1000)::double precision, sum(input_tokens)::bigint,
    sum(cached_input_tokens)::bigint, sum(output_tokens)::bigint, sum(characters)::bigint,
    CASE WHEN sum(requests) > sum(unpriced_requests) THEN sum(cost_nanos)::bigint END,
    sum(estimated_cost_nanos)::bigint
FROM usage_daily_slots
WHERE day BETWEEN voicegw_day(:first_day) AND voicegw_day(:last_day)
    AND (:project::text IS NULL OR project = :project)
GROUP BY day, project
HAVING sum(requests) <> 0
ORDER BY day, project;

-- live_counts --
-- How many requests run, by project and modality. A row that nobody brought up to date for
-- :seen_within seconds belongs to a process that is gone. The second condition admits the index.
SELECT project, modality, count(*) FROM usage
WHERE status = 'open'
    AND status <> 'completed'
    AND updated_at >= to_timestamp(voicegw_now(:now::double precision) - :seen_within)
    AND (:project::text IS NULL OR project = :project)
GROUP BY project, modality
ORDER BY project, modality;

-- newest_live --
-- Ids of the requests that run, the one that began last first.
SELECT id FROM usage
WHERE status = 'open'
    AND status <> 'completed'
    AND updated_at >= to_timestamp(voicegw_now(:now::double precision) - :seen_within)
    AND (:project::text IS NULL OR project = :project)
ORDER BY started_at DESC, id DESC
LIMIT :limit;

-- latencies --
-- Milliseconds to the first result by model, over the newest :sample requests of each project and
-- model that was used since :first_day: how many had one, the median, the 95th percentile.
WITH keys AS (
    SELECT DISTINCT project, modality, provider, model FROM usage_daily_slots
    WHERE day >= voicegw_day(:first_day) AND (:project::text IS NULL OR project = :project)
)
SELECT
    keys.modality, keys.provider, keys.model, count(*),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY found.ttfb_ms),
    percentile_disc(0.95) WITHIN GROUP (ORDER BY found.ttfb_ms)
FROM keys CROSS JOIN LATERAL (
    SELECT usage.ttfb_ms FROM usage
    WHERE voicegw_key(usage.project, usage.modality, usage.provider, usage.model)
        = voicegw_key(keys.project, keys.modality, keys.provider, keys.model)
    ORDER BY usage.started_at AT TIME ZONE 'UTC' DESC
    LIMIT :sample
) AS found
WHERE found.ttfb_ms IS NOT NULL
GROUP BY keys.modality, keys.provider, keys.model
ORDER BY keys.modality, keys.provider, keys.model;

-- charges --
-- What was charged since :first_day by project and model, and the price of the newest request, if
-- it is among the newest 50, that was not refused by a budget.
WITH keys AS (
    SELECT
        project, modality, provider, model, sum(requests)::bigint AS requests,
        sum(unpriced_requests)::bigint AS unpriced_requests,
        CASE
            WHEN sum(requests) > sum(unpriced_requests) THEN sum(cost_nanos)::bigint
        END AS cost_nanos
    FROM usage_daily_slots
    WHERE day >= voicegw_day(:first_day) AND (:project::text IS NULL OR project = :project)
    GROUP BY project, modality, provider, model
    HAVING sum(requests) <> 0
)
SELECT
    keys.project, keys.modality, keys.provider, keys.model, keys.requests, keys.unpriced_requests,
    keys.cost_nanos, newest.price, voicegw_iso(newest.started_at)
FROM keys LEFT JOIN LATERAL (
    SELECT price, started_at FROM (
        SELECT
            usage.price, usage.started_at, usage.status,
            usage.started_at AT TIME ZONE 'UTC' AS began
        FROM usage
        WHERE voicegw_key(usage.project, usage.modality, usage.provider, usage.model)
            = voicegw_key(keys.project, keys.modality, keys.provider, keys.model)
        ORDER BY usage.started_at AT TIME ZONE 'UTC' DESC
        LIMIT 50
    ) AS newest_ones
    WHERE status <> 'rejected'
    ORDER BY began DESC
    LIMIT 1
) AS newest ON true
ORDER BY keys.modality, keys.provider, keys.model, keys.project;
