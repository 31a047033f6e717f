"""Requests and calls: pages, cursors, filters and receipts."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, strategies as st
from support.usage_rows import DAY, NOON, usage_row

from livekit_plugins_voicegateway.cursors import read_cursor, write_cursor
from livekit_plugins_voicegateway.errors import (
    InvalidQueryError,
    UnknownCallError,
    UnknownProjectError,
)
from livekit_plugins_voicegateway.ledger.base import Ledger, Position
from livekit_plugins_voicegateway.reports import Reports

STT = {
    "modality": "stt",
    "provider": "deepgram",
    "model": "nova-3",
    "input_tokens": 0,
    "cached_input_tokens": 0,
    "output_tokens": 0,
}
TTS = {
    "modality": "tts",
    "provider": "cartesia",
    "model": "sonic-3",
    "input_tokens": 0,
    "cached_input_tokens": 0,
    "output_tokens": 0,
}


async def test_a_request_is_shown_with_its_columns_and_its_cost_in_dollars(
    reports: Reports, ledger: Ledger
) -> None:
    row = usage_row(room="room-1", job_id="AJ_1", speech_id="speech_1", error="cut off")
    await ledger.write([row])
    assert await reports.logs() == {
        "logs": [
            {
                "id": row.id,
                "request_id": row.request_id,
                "started_at": "2027-01-15T12:00:00.000Z",
                "ended_at": "2027-01-15T12:00:01.500Z",
                "day": DAY,
                "project": "prod",
                "modality": "llm",
                "provider": "openai",
                "model": "gpt-4.1-mini",
                "requested_model": "openai/gpt-4.1-mini",
                "status": "completed",
                "estimated": False,
                "room": "room-1",
                "job_id": "AJ_1",
                "speech_id": "speech_1",
                "audio_seconds": 0.0,
                "connection_seconds": 0.0,
                "input_tokens": 246,
                "cached_input_tokens": 40,
                "output_tokens": 49,
                "characters": 0,
                "cost": 0.0001768,
                "price": "catalogue openai/gpt-4.1-mini",
                "ttfb_ms": 310.5,
                "duration_ms": 1500.0,
                "error": "cut off",
            }
        ],
        "next_cursor": None,
    }


async def test_an_open_request_of_unknown_price_says_so(reports: Reports, ledger: Ledger) -> None:
    await ledger.write([usage_row(status="open", cost_nanos=None, price=None)])
    (entry,) = (await reports.logs())["logs"]
    assert (entry["status"], entry["ended_at"], entry["cost"]) == ("open", None, None)


async def test_pages_of_requests_follow_each_other(reports: Reports, ledger: Ledger) -> None:
    rows = [usage_row(started_at=NOON + i // 3) for i in range(20)]
    await ledger.write(rows)
    seen: list[str] = []
    cursor = None
    sizes = []
    while True:
        page = await reports.logs(limit=6, cursor=cursor)
        sizes.append(len(page["logs"]))
        seen += [entry["id"] for entry in page["logs"]]
        await ledger.write([usage_row(started_at=NOON + 1000)])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sizes == [6, 6, 6, 2]
    assert seen == [
        row.id for row in sorted(rows, key=lambda row: (row.started_at, row.id), reverse=True)
    ]


async def test_a_page_that_is_just_full_is_the_last(reports: Reports, ledger: Ledger) -> None:
    await ledger.write([usage_row() for _ in range(4)])
    assert (await reports.logs(limit=4))["next_cursor"] is None


@pytest.mark.parametrize(
    ("asked", "matches"),
    [
        ({"project": "dev"}, "dev"),
        ({"modality": "stt"}, "stt"),
        ({"model": "nova-3"}, "stt"),
        ({"model": "deepgram/nova-3"}, "stt"),
        ({"model": "meta/llama-4"}, "nothing"),
        ({"model": "groq/meta/llama-4"}, "groq"),
        ({"status": "failed"}, "failed"),
        ({"room": "room-7"}, "room"),
        ({"room": "room-7", "status": "failed"}, "nothing"),
    ],
)
async def test_requests_are_filtered(
    reports: Reports, ledger: Ledger, asked: dict[str, Any], matches: str
) -> None:
    rows = {
        "dev": usage_row(project="dev"),
        "stt": usage_row(**STT),
        "groq": usage_row(provider="groq", model="meta/llama-4"),
        "failed": usage_row(status="failed"),
        "room": usage_row(room="room-7"),
    }
    await ledger.write(list(rows.values()))
    expected = [rows[matches].id] if matches in rows else []
    assert [entry["id"] for entry in (await reports.logs(**asked))["logs"]] == expected


async def test_every_wrong_value_is_named_at_once(reports: Reports) -> None:
    with pytest.raises(InvalidQueryError) as refused:
        await reports.logs(
            project="nobody", limit=0, cursor="x", modality="vision", model="openai/", status="done"
        )
    assert {problem.field: problem.found for problem in refused.value.problems} == {
        "limit": "0",
        "cursor": "'x'",
        "modality": "'vision'",
        "model": "'openai/'",
        "status": "'done'",
    }
    assert "modality: found 'vision'; expected stt, llm, tts" in str(refused.value)


@pytest.mark.parametrize("limit", [0, -1, 1001, True, 1.5, "50", None])
async def test_a_limit_that_cannot_be_is_refused(reports: Reports, limit: Any) -> None:
    for ask in (reports.logs, reports.calls):
        with pytest.raises(InvalidQueryError, match=r"limit: .* a whole number from 1 to 1000"):
            await ask(limit=limit)


async def test_a_project_that_never_was_has_no_lists(reports: Reports, ledger: Ledger) -> None:
    for ask in (reports.logs, reports.calls):
        with pytest.raises(UnknownProjectError):
            await ask(project="nobody")
    await ledger.write([usage_row(project="former", room="room")])
    assert len((await reports.logs(project="former"))["logs"]) == 1
    assert len((await reports.calls(project="former"))["calls"]) == 1


POSITION = Position("2027-01-15T12:00:00.000Z", "01946a2e-0000-7000-8000-00000000000a")


@given(st.text(), st.text())
def test_a_cursor_is_read_as_it_was_written(time: str, key: str) -> None:
    cursor = write_cursor("logs", Position(time, key))
    if len(cursor) <= 4096:
        assert read_cursor("logs", cursor) == Position(time, key)
    assert cursor.replace("-", "").replace("_", "").isalnum()


def test_any_change_of_a_cursor_is_noticed() -> None:
    cursor = write_cursor("logs", POSITION)
    for i, character in enumerate(cursor):
        for other in ("A", "B", "-", "=", " ", "é"):
            if other != character:
                assert read_cursor("logs", cursor[:i] + other + cursor[i + 1 :]) is None
        assert read_cursor("logs", cursor[:i]) is None
    assert read_cursor("logs", cursor + "A") is None
    assert read_cursor("logs", cursor + "=") is None


def test_a_cursor_of_another_list_is_refused() -> None:
    assert read_cursor("calls", write_cursor("logs", POSITION)) is None


@pytest.mark.parametrize("payload", ["5", "null", '["logs", 1, 2]', '["logs"]', "[" * 900, "{}"])
def test_a_cursor_made_by_hand_is_refused(payload: str) -> None:
    from livekit_plugins_voicegateway.cursors import _check

    raw = payload.encode()
    cursor = base64.urlsafe_b64encode(_check(raw) + raw).decode().rstrip("=")
    assert read_cursor("logs", cursor) is None


@given(st.text(max_size=200))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    assert read_cursor("logs", text) is None


async def write_call(ledger: Ledger, room: str = "room-1", **changes: Any) -> None:
    """A call of two turns, the second one interrupted while it was spoken."""
    await ledger.write(
        [
            usage_row(
                **STT,
                room=room,
                audio_seconds=30.0,
                cost_nanos=2_000,
                ttfb_ms=None,
                ended_at=NOON + 30,
                **changes,
            ),
            usage_row(
                started_at=NOON + 5,
                ended_at=NOON + 6,
                room=room,
                speech_id="speech_1",
                cost_nanos=300,
                ttfb_ms=300.0,
                **changes,
            ),
            usage_row(
                **TTS,
                started_at=NOON + 6,
                ended_at=NOON + 9,
                room=room,
                speech_id="speech_1",
                characters=120,
                cost_nanos=5_400,
                ttfb_ms=90.0,
                **changes,
            ),
            usage_row(
                started_at=NOON + 15,
                ended_at=NOON + 16,
                room=room,
                speech_id="speech_2",
                cost_nanos=None,
                price=None,
                ttfb_ms=500.0,
                estimated=True,
                **changes,
            ),
            usage_row(
                **TTS,
                started_at=NOON + 16,
                ended_at=NOON + 18,
                room=room,
                speech_id="speech_2",
                characters=80,
                cost_nanos=3_600,
                ttfb_ms=110.0,
                status="cancelled",
                estimated=True,
                **changes,
            ),
        ]
    )


async def test_a_call_has_a_receipt(reports: Reports, ledger: Ledger) -> None:
    await write_call(ledger)
    none = {"input_tokens": 0, "cached_input_tokens": 0, "output_tokens": 0, "characters": 0}
    llm = {
        "cost": 3e-07,
        "requests": 2,
        "unpriced_requests": 1,
        "estimated_cost": 0.0,
        "audio_seconds": 0.0,
        "input_tokens": 492,
        "cached_input_tokens": 80,
        "output_tokens": 98,
        "characters": 0,
    }
    tts = {
        **none,
        "cost": 9e-06,
        "requests": 2,
        "unpriced_requests": 0,
        "estimated_cost": 3.6e-06,
        "audio_seconds": 0.0,
        "characters": 200,
    }
    stt = {
        **none,
        "cost": 2e-06,
        "requests": 1,
        "unpriced_requests": 0,
        "estimated_cost": 0.0,
        "audio_seconds": 30.0,
    }
    assert await reports.call("room-1") == {
        "room": "room-1",
        "projects": ["prod"],
        "started_at": "2027-01-15T12:00:00.000Z",
        "ended_at": "2027-01-15T12:00:30.000Z",
        "cost": 1.13e-05,
        "requests": 5,
        "unpriced_requests": 1,
        "estimated_cost": 3.6e-06,
        "audio_seconds": 30.0,
        "input_tokens": 492,
        "cached_input_tokens": 80,
        "output_tokens": 98,
        "characters": 200,
        "by_modality": [
            {"modality": "tts", **tts},
            {"modality": "stt", **stt},
            {"modality": "llm", **llm},
        ],
        "by_model": [
            {"modality": "tts", "provider": "cartesia", "model": "sonic-3", **tts},
            {"modality": "stt", "provider": "deepgram", "model": "nova-3", **stt},
            {"modality": "llm", "provider": "openai", "model": "gpt-4.1-mini", **llm},
        ],
        "latency": [
            {"modality": "llm", "requests": 2, "median_ttfb_ms": 400.0, "max_ttfb_ms": 500.0},
            {"modality": "tts", "requests": 2, "median_ttfb_ms": 100.0, "max_ttfb_ms": 110.0},
        ],
        "turns": [
            {
                "speech_id": "speech_1",
                "started_at": "2027-01-15T12:00:05.000Z",
                "ended_at": "2027-01-15T12:00:09.000Z",
                "requests": 2,
                "cancelled": 0,
                "cost": 5.7e-06,
                "unpriced_requests": 0,
                "input_tokens": 246,
                "output_tokens": 49,
                "characters": 120,
                "llm_ttfb_ms": 300.0,
                "tts_ttfb_ms": 90.0,
            },
            {
                "speech_id": "speech_2",
                "started_at": "2027-01-15T12:00:15.000Z",
                "ended_at": "2027-01-15T12:00:18.000Z",
                "requests": 2,
                "cancelled": 1,
                "cost": 3.6e-06,
                "unpriced_requests": 1,
                "input_tokens": 246,
                "output_tokens": 49,
                "characters": 80,
                "llm_ttfb_ms": 500.0,
                "tts_ttfb_ms": 110.0,
            },
        ],
    }


@pytest.mark.parametrize(
    ("waits", "median"), [([7.0], 7.0), ([9.0, 1.0, 5.0], 5.0), ([1.0, 2.0, 4.0, 100.0], 3.0)]
)
async def test_the_median_is_the_middle_of_the_waits(
    reports: Reports, ledger: Ledger, waits: list[float], median: float
) -> None:
    await ledger.write([usage_row(room="room", ttfb_ms=wait) for wait in waits])
    (latency,) = (await reports.call("room"))["latency"]
    assert latency["median_ttfb_ms"] == median
    assert latency["max_ttfb_ms"] == max(waits)


async def test_a_call_that_goes_on_has_no_end(reports: Reports, ledger: Ledger) -> None:
    await write_call(ledger)
    await ledger.write([usage_row(room="room-1", status="open", speech_id="speech_2")])
    call = await reports.call("room-1")
    assert call["ended_at"] is None
    going_on = {turn["speech_id"]: turn["ended_at"] is None for turn in call["turns"]}
    assert going_on == {"speech_1": False, "speech_2": True}


async def test_a_call_that_nobody_recorded_is_refused(reports: Reports) -> None:
    with pytest.raises(UnknownCallError, match="no request was recorded in room 'nowhere'"):
        await reports.call("nowhere")


async def test_calls_come_in_the_order_of_their_beginning(reports: Reports, ledger: Ledger) -> None:
    for n in (2, 0, 3, 1):
        await ledger.write(
            [
                usage_row(room=f"room-{n}", started_at=NOON + n, cost_nanos=n),
                usage_row(room=f"room-{n}", started_at=NOON + 100 - n, cost_nanos=n),
                usage_row(started_at=NOON + n),
            ]
        )
    first = await reports.calls(limit=3)
    assert [call["room"] for call in first["calls"]] == ["room-3", "room-2", "room-1"]
    assert [call["cost"] for call in first["calls"]] == [6e-09, 4e-09, 2e-09]
    await ledger.write([usage_row(room="later", started_at=NOON + 500)])
    second = await reports.calls(limit=3, cursor=first["next_cursor"])
    assert [call["room"] for call in second["calls"]] == ["room-0"]
    assert second["next_cursor"] is None


async def test_a_call_begins_with_its_earliest_request_although_it_comes_late(
    reports: Reports, ledger: Ledger
) -> None:
    await ledger.write([usage_row(room="a", started_at=NOON + 5)])
    await ledger.write([usage_row(room="b", started_at=NOON + 3)])
    await ledger.write([usage_row(room="a", started_at=NOON + 1)])
    assert [call["room"] for call in (await reports.calls())["calls"]] == ["b", "a"]


async def test_calls_that_begin_together_are_on_one_page_each(
    reports: Reports, ledger: Ledger
) -> None:
    await ledger.write([usage_row(room=f"room-{n}") for n in range(5)])
    seen, cursor = [], None
    for _ in range(3):
        page = await reports.calls(limit=2, cursor=cursor)
        seen += [call["room"] for call in page["calls"]]
        cursor = page["next_cursor"]
    assert seen == ["room-4", "room-3", "room-2", "room-1", "room-0"]


async def test_a_call_of_two_projects_is_one_call(reports: Reports, ledger: Ledger) -> None:
    await ledger.write(
        [
            usage_row(room="shared", cost_nanos=1),
            usage_row(room="shared", project="dev", started_at=NOON + 5, cost_nanos=2),
            usage_row(room="other", started_at=NOON + 3),
        ]
    )
    calls = (await reports.calls())["calls"]
    assert [(call["room"], call["projects"], call["requests"]) for call in calls] == [
        ("other", ["prod"], 1),
        ("shared", ["dev", "prod"], 2),
    ]
    (only,) = (await reports.calls(project="dev"))["calls"]
    assert (only["projects"], only["cost"]) == (["dev"], 2e-09)
    assert (await reports.call("shared"))["cost"] == 3e-09


async def test_a_cursor_in_a_page_is_opaque_but_plain(reports: Reports, ledger: Ledger) -> None:
    await ledger.write([usage_row(room="r1"), usage_row(room="r2", started_at=NOON + 1)])
    cursor = (await reports.calls(limit=1))["next_cursor"]
    assert cursor is not None
    assert json.loads(json.dumps(cursor)) == cursor
    with pytest.raises(InvalidQueryError, match="the next_cursor of a page of this list"):
        await reports.logs(cursor=cursor)
