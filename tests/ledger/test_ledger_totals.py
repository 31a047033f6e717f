"""Totals are the sum of the requests, whatever is written, in whatever order, and how often."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings, strategies as st
from support.ledger_places import Place, fresh_place
from support.postgres import PostgresServer
from support.usage_rows import NOON, usage_row

from livekit_plugins_voicegateway.ledger.base import RowFilter, Totals
from livekit_plugins_voicegateway.metering.usage import UsageRow

IDS = ("a", "b", "c", "d")

versions = st.builds(
    usage_row,
    id=st.sampled_from(IDS),
    day=st.sampled_from(("2027-01-15", "2027-01-16")),
    project=st.sampled_from(("prod", "staging")),
    modality=st.sampled_from(("stt", "llm")),
    status=st.sampled_from(("open", "open", "completed", "cancelled", "failed", "rejected")),
    estimated=st.booleans(),
    room=st.sampled_from((None, "room")),
    audio_seconds=st.floats(0, 1e6),
    input_tokens=st.integers(0, 10**9),
    cached_input_tokens=st.integers(0, 10**9),
    output_tokens=st.integers(0, 10**9),
    characters=st.integers(0, 10**9),
    cost_nanos=st.none() | st.integers(0, 10**12),
    duration_ms=st.none() | st.floats(0, 1e7),
)

# what happens to a ledger: a batch is written, or whoever comes by closes stale rows
events = st.lists(st.lists(versions, max_size=6) | st.just("close stale"), max_size=8)


def limits(engine: PostgresServer | None, examples: int) -> settings:
    """How much is tried: less where each step is a round trip to a server."""
    return settings(
        max_examples=examples if engine is None else examples // 3,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


@contextmanager
def any_place(engine: PostgresServer | None) -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        with fresh_place(engine, Path(folder), clock=lambda: NOON) as place:
            yield place


def added_up(rows: list[UsageRow]) -> dict[str, Totals]:
    sums: dict[str, Totals] = {}
    for row in rows:
        sums[row.day] = sums.get(row.day, Totals()) + Totals(
            requests=1,
            unpriced_requests=row.cost_nanos is None,
            audio_seconds=round(row.audio_seconds, 3),
            input_tokens=row.input_tokens,
            cached_input_tokens=row.cached_input_tokens,
            output_tokens=row.output_tokens,
            characters=row.characters,
            cost_nanos=row.cost_nanos,
            estimated_cost_nanos=(row.cost_nanos or 0) if row.estimated else 0,
        )
    return sums


def test_totals_are_the_sum_of_the_rows_after_anything(engine: PostgresServer | None) -> None:
    async def run(happened: list[list[UsageRow] | str]) -> None:
        with any_place(engine) as place:
            async with place.ledger() as ledger:
                for event in happened:
                    if isinstance(event, str):
                        await ledger.close_stale(-1)
                    else:
                        await ledger.write(event)
                    check = await ledger.check_totals()
                    assert check.mismatches == []
                rows = await ledger.rows(RowFilter(), limit=1000)
                days = await ledger.costs("", "~")
                found = {line.day: line.totals for line in days if line.grouping == "day"}
                assert found == added_up(rows)

    @limits(engine, 60)
    @given(events)
    def check(happened: list[list[UsageRow] | str]) -> None:
        asyncio.run(run(happened))

    check()


def test_the_last_version_stays_in_whatever_order_versions_arrive(
    engine: PostgresServer | None,
) -> None:
    @limits(engine, 40)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        check_last_version(engine, data)

    check()


def check_last_version(engine: PostgresServer | None, data: st.DataObject) -> None:
    first = usage_row(id="a", status="open", duration_ms=0.0)
    history = [
        replace(first, output_tokens=10 * step, cost_nanos=step, duration_ms=1000.0 * step)
        for step in range(data.draw(st.integers(1, 6)))
    ]
    if data.draw(st.booleans()):
        history.append(replace(history[-1], status="completed", ended_at=NOON + 9))
    arriving = data.draw(
        st.lists(st.sampled_from(history), max_size=8).flatmap(
            lambda again: st.permutations([*history, *again])
        )
    )
    size = data.draw(st.integers(1, len(arriving)))

    async def run() -> None:
        with any_place(engine) as place:
            async with place.ledger() as ledger:
                for start in range(0, len(arriving), size):
                    await ledger.write(arriving[start : start + size])
                    if data.draw(st.booleans()):
                        await ledger.close_stale(-1)
                await ledger.write([history[-1]])
                (row,) = await ledger.rows(RowFilter(), limit=10)
                assert replace(row, status="-", ended_at=None, error=None) == replace(
                    history[-1], status="-", ended_at=None
                )
                if history[-1].status == "completed":
                    assert row == history[-1]
                assert (await ledger.check_totals()).mismatches == []

    asyncio.run(run())
