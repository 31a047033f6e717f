-- What reports ask of SqliteLedger for those who watch it. None of these reads more rows because
-- there are more: totals, the open requests, and the newest few of each model.

-- daily_costs --
-- Totals of the days :first_day to :last_day by day and project, of one project or of all.
SELECT
    day, project, sum(requests), sum(unpriced_requests), round(sum(audio_seconds), 3),
    sum(input_tokens), sum(cached_input_tokens), sum(output_tokens), sum(characters),
    sum(cost_nanos), sum(estimated_cost_nanos)
FROM usage_daily
WHERE day BETWEEN :first_day AND :last_day AND (:project IS NULL OR project = :project)
GROUP BY day, project
ORDER BY day, project;

-- live_counts --
-- How many requests run, by project and modality. A row that nobody brought up to date since
-- :seen_after belongs to a process that is gone. The second condition admits the index.
SELECT project, modality, count(*) FROM usage
WHERE status = 'open'
    AND status <> 'completed'
    AND updated_at >= :seen_after
    AND (:project IS NULL OR project = :project)
GROUP BY project, modality
ORDER BY project, modality;

-- newest_live --
-- Ids of the requests that run, the one that began last first.
SELECT id FROM usage
WHERE status = 'open'
    AND status <> 'completed'
    AND updated_at >= :seen_after
    AND (:project IS NULL OR project = :project)
ORDER BY started_at DESC, id DESC
LIMIT :limit;

-- latencies --
-- Milliseconds to the first result by model, over the newest :sample requests of each project and
-- model that was used since :first_day: how many had one, the median, the 95th percentile.
WITH keys AS (
    SELECT DISTINCT project, modality, provider, model FROM usage_daily
    WHERE day >= :first_day AND (:project IS NULL OR project = :project)
),
ranked AS (
    SELECT
        found.modality, found.provider, found.model, found.ttfb_ms,
        row_number() OVER (
            PARTITION BY found.modality, found.provider, found.model ORDER BY found.ttfb_ms
        ) AS place,
        count(*) OVER (PARTITION BY found.modality, found.provider, found.model) AS places
    FROM keys CROSS JOIN usage AS found ON found.rowid IN (
        SELECT usage.rowid FROM usage
        WHERE (usage.project, usage.modality, usage.provider, usage.model)
            = (keys.project, keys.modality, keys.provider, keys.model)
        ORDER BY usage.started_at DESC
        LIMIT :sample
    )
    WHERE found.ttfb_ms IS NOT NULL
)
SELECT
    modality, provider, model, places,
    avg(CASE WHEN place IN ((places + 1) / 2, (places + 2) / 2) THEN ttfb_ms END),
    max(CASE WHEN place = (places * 95 + 99) / 100 THEN ttfb_ms END)
FROM ranked
GROUP BY modality, provider, model, places
ORDER BY modality, provider, model;

-- charges --
-- What was charged since :first_day by project and model, and the price of the newest request, if
-- it is among the newest 50, that was not refused by a budget.
WITH keys AS (
    SELECT
        project, modality, provider, model, sum(requests) AS requests,
        sum(unpriced_requests) AS unpriced_requests, sum(cost_nanos) AS cost_nanos
    FROM usage_daily
    WHERE day >= :first_day AND (:project IS NULL OR project = :project)
    GROUP BY project, modality, provider, model
)
SELECT
    keys.project, keys.modality, keys.provider, keys.model, keys.requests, keys.unpriced_requests,
    keys.cost_nanos, newest.price, newest.started_at
FROM keys LEFT JOIN usage AS newest ON newest.rowid = (
    SELECT place FROM (
        SELECT usage.rowid AS place, usage.status FROM usage
        WHERE (usage.project, usage.modality, usage.provider, usage.model)
            = (keys.project, keys.modality, keys.provider, keys.model)
        ORDER BY usage.started_at DESC
        LIMIT 50
    )
    WHERE status <> 'rejected'
    LIMIT 1
)
ORDER BY keys.modality, keys.provider, keys.model, keys.project;
