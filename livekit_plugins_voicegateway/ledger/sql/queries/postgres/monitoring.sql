-- What Prometheus is told by PostgresLedger. Each block begins with its name and what it answers.

-- finished_totals --
-- Totals of all days by project and model, without what open requests have used until now: they may
-- be estimated too high, and a counter must not fall. One statement, so that both are of the same
-- moment; the totals are kept, and open requests are few.
WITH all_days AS (
    SELECT
        project, modality, provider, model, requests, unpriced_requests, audio_ms, input_tokens,
        cached_input_tokens, output_tokens, characters, cost_nanos, estimated_cost_nanos
    FROM usage_daily_slots
    UNION ALL
    SELECT
        project, modality, provider, model, -1, -(cost_nanos IS NULL)::integer,
        -round(audio_seconds * 1000)::bigint, -input_tokens, -cached_input_tokens, -output_tokens,
        -characters, -coalesce(cost_nanos, 0), -estimated::integer * coalesce(cost_nanos, 0)
    FROM usage WHERE status = 'open' AND status <> 'completed'
)
SELECT
    project, modality, provider, model, sum(requests)::bigint, sum(unpriced_requests)::bigint,
    (sum(audio_ms) / 1000)::double precision, sum(input_tokens)::bigint,
    sum(cached_input_tokens)::bigint, sum(output_tokens)::bigint, sum(characters)::bigint,
    sum(cost_nanos)::bigint, sum(estimated_cost_nanos)::bigint
FROM all_days
GROUP BY project, modality, provider, model
HAVING sum(requests) > 0
ORDER BY project, modality, provider, model;
