"""The experiments with clients that hold the server up, at full length."""

from __future__ import annotations

import re

import pytest
from faulting.server_attacks import guess_tokens, read_nothing, send_nothing, send_slowly

from livekit_plugins_voicegateway.server.connections import MOST_CONNECTIONS

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def number(pattern: str, note: str) -> float:
    found = re.search(pattern, note)
    assert found is not None, note
    return float(found[1])


async def test_a_thousand_silent_connections_take_no_memory_and_keep_nobody_out() -> None:
    [finding] = await send_nothing(False)
    assert number(r"(\d+) open at most", finding.note) <= MOST_CONNECTIONS
    assert number(r"([+-][\d.]+) MB", finding.note) < 32


async def test_slow_requests_are_hung_up_on() -> None:
    [finding] = await send_slowly(False)
    assert number(r"([+-][\d.]+) MB", finding.note) < 32


async def test_answers_that_nobody_reads_are_given_up() -> None:
    [finding] = await read_nothing(False)
    assert number(r"([+-][\d.]+) MB", finding.note) < 64


async def test_the_right_token_is_answered_while_others_are_tried() -> None:
    [finding] = await guess_tokens(False)
    assert "20 times 401" in finding.note
    assert " 0 refused" in finding.note
