"""Fills a ledger in PostgreSQL: with no index to keep and no trigger, as `sqlite` does.

It needs a superuser, who alone may keep triggers from firing.
"""

from __future__ import annotations

from typing import Final

import asyncpg

from livekit_plugins_voicegateway.ledger import open_ledger

from .pattern import CALL, COLUMNS, PATTERN, Span, pattern

__all__ = ["fill"]

HURRY: Final = """
SET session_replication_role = replica;
SET synchronous_commit = off;
SET TimeZone = 'UTC';
SET maintenance_work_mem = '512MB';
"""

MONTHS: Final = """
SELECT voicegw_make_month(month::date) FROM generate_series(
    date_trunc('month', to_timestamp($1::bigint / 1000)), now(), interval '1 month'
) AS month
"""

INDEXES: Final = """
SELECT index.relname, replace(pg_get_indexdef(index.oid), ' ON ONLY ', ' ON ')
FROM pg_index JOIN pg_class AS index ON index.oid = indexrelid
WHERE indrelid IN ('usage'::regclass, 'calls'::regclass) AND NOT indisprimary
"""

PATTERN_TABLE: Final = """
CREATE TEMP TABLE pattern (
    place bigint, project text, modality text, provider text, model text, requested_model text,
    status text, speech boolean, audio_seconds double precision, input_tokens bigint,
    output_tokens bigint, characters bigint, cost_nanos bigint, price text,
    ttfb_ms double precision, error text
)
"""

REQUESTS: Final = """
INSERT INTO usage (
    id, request_id, started_at, ended_at, day, project, modality, provider, model, requested_model,
    status, room, job_id, speech_id, audio_seconds, input_tokens, output_tokens, characters,
    cost_nanos, price, ttfb_ms, duration_ms, error, updated_at
)
SELECT
    left(moment, 8) || '-' || right(moment, 4) || '-7000-8000-' || lpad(to_hex(n), 12, '0'),
    left(moment, 8) || '-' || right(moment, 4) || '-7000-9000-' || lpad(to_hex(n), 12, '0'),
    began, began + interval '2 s', (began AT TIME ZONE 'UTC')::date, project, modality, provider,
    model, requested_model, status, 'call-' || lpad((n / $5::bigint)::text, 7, '0'),
    'AJ_call-' || lpad((n / $5::bigint)::text, 7, '0'),
    CASE WHEN speech THEN 'speech_' || n / 3 END, audio_seconds, input_tokens, output_tokens,
    characters, cost_nanos, price, ttfb_ms, 2000, error, began + interval '2 s'
FROM (
    SELECT
        *, lpad(to_hex(ms), 12, '0') AS moment, to_timestamp(ms::double precision / 1000) AS began
    FROM (
        SELECT
            $1::bigint + place AS n,
            $3::bigint + ($1::bigint + place) * $4::bigint / $2::bigint AS ms, *
        FROM pattern WHERE $1::bigint + place < $2::bigint
    ) AS numbered
) AS timed
ORDER BY n
"""

TOTALS: Final = """
INSERT INTO usage_daily_slots
SELECT
    day, project, modality, provider, model, 0, count(*), count(*) - count(cost_nanos),
    sum(round(audio_seconds * 1000)::bigint), sum(input_tokens), sum(cached_input_tokens),
    sum(output_tokens), sum(characters), coalesce(sum(cost_nanos), 0),
    coalesce(sum(cost_nanos) FILTER (WHERE estimated), 0)
FROM usage GROUP BY day, project, modality, provider, model
"""

KEYS: Final = """
INSERT INTO usage_keys SELECT DISTINCT project, modality, provider, model FROM usage_daily_slots
"""

CALLS: Final = """
INSERT INTO calls (room, project, started_at)
SELECT
    'call-' || lpad((n / $5::bigint)::text, 7, '0'), project,
    to_timestamp(($3::bigint + n * $4::bigint / $2::bigint)::double precision / 1000)
FROM (SELECT $1::bigint + place AS n, project FROM pattern) AS numbered
WHERE n < $2 AND n % $5::bigint = 0
"""

TABLES: Final = ("usage", "usage_daily_slots", "usage_keys", "calls")


async def fill(url: str, span: Span) -> None:
    """Fill an empty database.

    Args:
        url: As in ``database.url``.
        span: How many requests, and when.
    """
    async with await open_ledger(url):
        pass
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(HURRY)
        await connection.execute(PATTERN_TABLE)
        await connection.copy_records_to_table("pattern", records=pattern(), columns=COLUMNS)
        await connection.fetch(MONTHS, span.first_ms)
        indexes = await connection.fetch(INDEXES)
        for name, _ in indexes:
            await connection.execute(f"DROP INDEX {name}")
        for base in range(0, span.requests, PATTERN):
            for statement in (REQUESTS, CALLS):
                await connection.execute(
                    statement, base, span.requests, span.first_ms, span.span_ms, CALL
                )
        await connection.execute(TOTALS)
        await connection.execute(KEYS)
        for _, definition in indexes:
            await connection.execute(definition)
        for table in TABLES:  # as autovacuum does in the course of time
            await connection.execute(f"VACUUM ANALYZE {table}")
    finally:
        await connection.close()
