"""Faults: the queue of them, and what half a message is."""

from __future__ import annotations

import contextlib

import aiohttp
import pytest

from livekit_plugins_voicegateway.sandbox import Fault, Faults, Sandbox


def test_faults_are_taken_in_order_and_as_often_as_was_said() -> None:
    faults = Faults()
    faults.append(Fault.status(500), times=2)
    faults.append(Fault.refuse())
    assert len(faults.waiting) == 3
    taken = [faults.take() for _ in range(4)]
    assert [str(fault) for fault in taken] == ["status 500", "status 500", "refuse", "None"]


def test_a_fault_for_ever_comes_after_the_counted_ones_until_it_is_cleared() -> None:
    faults = Faults()
    faults.append(Fault.refuse(), times=None)
    faults.append(Fault.cut(2))
    assert [str(faults.take()) for _ in range(3)] == ["cut after 2", "refuse", "refuse"]
    faults.clear()
    assert faults.take() is None


def test_opening_a_connection_takes_only_what_comes_before_an_answer() -> None:
    faults = Faults()
    for fault in (Fault.cut(0), Fault.stall(after=0), Fault.garbage(), Fault.error()):
        faults.append(fault)
        assert faults.take(connecting=True) is None
        assert faults.take() is fault
    for fault in (Fault.refuse(), Fault.status(503), Fault.stall()):
        faults.append(fault)
        assert faults.take(connecting=True) is fault


@pytest.mark.parametrize("code", [200, 399, 600])
def test_a_status_that_is_no_error_is_an_error(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        Fault.status(code)


async def test_half_an_event_and_half_a_frame_come_before_the_connection_is_dropped() -> None:
    async with Sandbox() as sandbox, aiohttp.ClientSession() as client:
        sandbox.openai.replies = ["Good day to you."]
        for provider in (sandbox.openai, sandbox.deepgram):
            provider.faults.append(Fault.half())
        asked = {"model": "gpt-4.1-mini", "messages": [{"role": "user"}], "stream": True}
        headers = {"Authorization": "Bearer any"}
        url = f"{sandbox.openai.base_url}/chat/completions"
        async with client.post(url, json=asked, headers=headers) as answer:
            received = b""
            with contextlib.suppress(aiohttp.ClientPayloadError):
                async for piece in answer.content.iter_any():
                    received += piece
        assert received.startswith(b'data: {"id":')
        assert not received.endswith(b"\n")

        async with client.ws_connect(sandbox.deepgram.base_url, headers=headers) as socket:
            message = await socket.receive()
        assert (message.type, socket.close_code) == (aiohttp.WSMsgType.CLOSED, 1006)
        assert [r.ending for r in sandbox.openai.record.requests] == ["fault"]
        assert [r.ending for r in sandbox.deepgram.record.requests] == ["fault"]
