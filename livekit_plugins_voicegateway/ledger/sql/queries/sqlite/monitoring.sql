-- What Prometheus is told by SqliteLedger. Each block begins with its name and what it answers.

-- finished_totals --
-- Totals of all days by project and model, without what open requests have used until now: they may
-- be estimated too high, and a counter must not fall. One statement, so that both are of the same
-- moment; the totals are kept, and open requests are few.
WITH all_days AS (
    SELECT
        project, modality, provider, model, requests, unpriced_requests, audio_seconds,
        input_tokens, cached_input_tokens, output_tokens, characters,
        coalesce(cost_nanos, 0) AS cost_nanos, estimated_cost_nanos
    FROM usage_daily
    UNION ALL
    SELECT
        project, modality, provider, model, -1, -(cost_nanos IS NULL), -round(audio_seconds, 3),
        -input_tokens, -cached_input_tokens, -output_tokens, -characters,
        -coalesce(cost_nanos, 0), -estimated * coalesce(cost_nanos, 0)
    FROM usage WHERE status = 'open' AND status <> 'completed'
)
SELECT
    project, modality, provider, model, sum(requests), sum(unpriced_requests),
    round(sum(audio_seconds), 3), sum(input_tokens), sum(cached_input_tokens), sum(output_tokens),
    sum(characters), sum(cost_nanos), sum(estimated_cost_nanos)
FROM all_days
GROUP BY project, modality, provider, model
HAVING sum(requests) > 0
ORDER BY project, modality, provider, model;
