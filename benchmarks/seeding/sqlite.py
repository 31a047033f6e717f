"""Fills a SQLite ledger: with no index and no trigger to keep, which are made anew at the end.

What the triggers would have kept, totals and calls, is added up block by block; a test compares it
with what writing the same requests gives.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from livekit_plugins_voicegateway.ledger import open_ledger

from .pattern import CALL, COLUMNS, PATTERN, Span, pattern

__all__ = ["fill"]

HURRY: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA cache_size = -1000000;
PRAGMA threads = 2;
"""

SETTLE: Final = """
PRAGMA locking_mode = NORMAL;
PRAGMA journal_mode = WAL;
"""

WHAT_WRITING_KEEPS: Final = """
SELECT type, name, sql FROM sqlite_master
WHERE tbl_name IN ('usage', 'calls') AND type IN ('index', 'trigger') AND sql IS NOT NULL
"""

REQUESTS: Final = """
INSERT INTO usage (
    id, request_id, started_at, ended_at, day, project, modality, provider, model, requested_model,
    status, room, job_id, speech_id, audio_seconds, input_tokens, output_tokens, characters,
    cost_nanos, price, ttfb_ms, duration_ms, error, updated_at
)
SELECT
    printf('%08x-%04x-7000-8000-%012x', ms >> 16, ms & 65535, n),
    printf('%08x-%04x-7000-9000-%012x', ms >> 16, ms & 65535, n),
    strftime('%Y-%m-%dT%H:%M:%fZ', ms / 1000.0, 'unixepoch'),
    strftime('%Y-%m-%dT%H:%M:%fZ', (ms + 2000) / 1000.0, 'unixepoch'),
    date(ms / 1000, 'unixepoch'), project, modality, provider, model, requested_model, status,
    printf('call-%07d', n / :call), printf('AJ_call-%07d', n / :call),
    CASE WHEN speech THEN 'speech_' || (n / 3) END,
    audio_seconds, input_tokens, output_tokens, characters, cost_nanos, price, ttfb_ms, 2000.0,
    error, strftime('%Y-%m-%dT%H:%M:%fZ', (ms + 2000) / 1000.0, 'unixepoch')
FROM (
    SELECT :base + place AS n, :first_ms + (:base + place) * :span_ms / :requests AS ms, *
    FROM pattern WHERE :base + place < :requests
)
ORDER BY n
"""

TOTALS: Final = """
INSERT INTO usage_daily (
    day, project, modality, provider, model, requests, unpriced_requests, audio_seconds,
    input_tokens, cached_input_tokens, output_tokens, characters, cost_nanos, estimated_cost_nanos
)
SELECT
    day, project, modality, provider, model, count(*), sum(cost_nanos IS NULL),
    round(sum(audio_seconds), 3), sum(input_tokens), sum(cached_input_tokens), sum(output_tokens),
    sum(characters), sum(cost_nanos), sum(estimated * coalesce(cost_nanos, 0))
FROM usage WHERE rowid > :base AND rowid <= :base + :pattern
GROUP BY day, project, modality, provider, model
ON CONFLICT (day, project, modality, provider, model) DO UPDATE SET
    requests = requests + excluded.requests,
    unpriced_requests = unpriced_requests + excluded.unpriced_requests,
    audio_seconds = round(audio_seconds + excluded.audio_seconds, 3),
    input_tokens = input_tokens + excluded.input_tokens,
    output_tokens = output_tokens + excluded.output_tokens,
    characters = characters + excluded.characters,
    cost_nanos = coalesce(cost_nanos + excluded.cost_nanos, cost_nanos, excluded.cost_nanos)
"""

CALLS: Final = """
INSERT INTO calls (room, project, started_at)
SELECT room, project, started_at FROM usage
WHERE rowid > :base AND rowid <= :base + :pattern AND (rowid - 1) % :call = 0
"""


async def fill(path: Path, span: Span) -> None:
    """Make a ledger with requests in it.

    Args:
        path: The file; there is none yet.
        span: How many, and when.
    """
    async with await open_ledger(f"sqlite:///{path}"):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(HURRY)
        kept = connection.execute(WHAT_WRITING_KEEPS).fetchall()
        for kind, name, _ in kept:
            connection.execute(f"DROP {kind} {name}")
        connection.execute(f"CREATE TEMP TABLE pattern ({', '.join(COLUMNS)})")
        places = ", ".join("?" * len(COLUMNS))
        connection.execute("BEGIN")
        connection.executemany(f"INSERT INTO pattern VALUES ({places})", pattern())
        for base in range(0, span.requests, PATTERN):
            values = {**span._asdict(), "base": base, "call": CALL, "pattern": PATTERN}
            for statement in (REQUESTS, TOTALS, CALLS):
                connection.execute(statement, values)
        for _, _, statement in kept:
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.executescript(SETTLE)
