"""The sandbox as a whole: starting, stopping, its record, and in a process of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from livekit.agents import llm
from sandbox_speech import NO_RETRY, say
from support.machine import PATIENCE

from livekit.plugins import openai
from livekit_plugins_voicegateway.sandbox import Fault, Sandbox

PROCESS = [sys.executable, "-m", "livekit_plugins_voicegateway.sandbox"]


async def test_the_base_urls_are_those_of_the_providers(sandbox: Sandbox) -> None:
    assert sandbox.url.startswith("http://127.0.0.1:")
    assert sandbox.base_urls == {
        "deepgram": f"{sandbox.url}/deepgram/v1/listen",
        "openai": f"{sandbox.url}/openai/v1",
        "cartesia": f"{sandbox.url}/cartesia",
        "ollama": f"{sandbox.url}/ollama",
    }
    assert sandbox.openai.base_url == sandbox.base_urls["openai"]


async def test_the_record_is_served_as_json(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    context = llm.ChatContext()
    context.add_message(role="user", content="Hello.")
    async with (
        openai.LLM(base_url=sandbox.openai.base_url, api_key="k") as model,
        model.chat(chat_ctx=context, conn_options=NO_RETRY) as stream,
    ):
        [chunk async for chunk in stream]
    async with http.get(f"{sandbox.url}/record") as response:
        record = await response.json()

    assert record == json.loads(json.dumps(sandbox.record))
    assert record["openai"]["totals"]["requests"] == 1
    assert record["openai"]["requests"][0]["key"] == "k"
    assert record["cartesia"]["totals"]["characters"] == 0


async def test_closing_leaves_nothing_behind_while_clients_are_connected(
    http: aiohttp.ClientSession,
) -> None:
    before = asyncio.all_tasks()
    key = {"Authorization": "Bearer k", "X-API-Key": "k"}
    async with asyncio.timeout(PATIENCE), Sandbox() as sandbox:
        sandbox.openai.faults.append(Fault.stall(after=0))
        message = {"role": "user", "content": "Hello."}
        body = {"model": "m", "stream": True, "messages": [message]}
        url = f"{sandbox.openai.base_url}/chat/completions"
        waiting = await http.post(url, json=body, headers=key)
        listening = await http.ws_connect(sandbox.deepgram.base_url, headers=key)
        await listening.send_bytes(bytes(3200))
        speaking = await http.ws_connect(f"{sandbox.cartesia.base_url}/tts/websocket", headers=key)
        sandbox.cartesia.faults.append(Fault.stall(after=1))
        context = {
            "context_id": "a",
            "model_id": "sonic-3",
            "voice": {"id": "v"},
            "transcript": "Hello there.",
            "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 8000},
        }
        await speaking.send_json(context)
        await speaking.receive()
    with pytest.raises(aiohttp.ClientPayloadError):
        await waiting.read()
    assert asyncio.all_tasks() == before
    assert [
        provider.record.requests[0].ending
        for provider in (sandbox.openai, sandbox.deepgram, sandbox.cartesia)
    ] == ["shutdown"] * 3
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(sandbox.url)
    await listening.close()
    await speaking.close()


async def test_a_refused_connection_is_reset(sandbox: Sandbox) -> None:
    sandbox.openai.faults.append(Fault.refuse())
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.split(":")[-1]))
    writer.write(
        b"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    )
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_a_sandbox_runs_once_at_a_time_and_again_afterwards(
    http: aiohttp.ClientSession,
) -> None:
    sandbox = Sandbox()
    async with sandbox:
        with pytest.raises(RuntimeError, match="running already"):
            await sandbox.__aenter__()
    async with sandbox, http.get(f"{sandbox.url}/record") as response:
        assert response.status == 200


async def test_it_runs_in_a_process_of_its_own(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    clip = tmp_path / "hello.wav"
    clip.write_bytes(say("Hello there.").to_wav_bytes())
    clip.with_suffix(".txt").write_text("Hello there.", encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *PROCESS,
        *("--clip", str(clip), "--transcript", "Good bye.", "--reply", "At your service."),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        urls = json.loads(await process.stdout.readline())
        headers = {"Authorization": "Token k"}
        heard = []
        for text in ("Hello there.", "Something else."):
            wav = say(text).to_wav_bytes()
            async with http.post(urls["deepgram"], data=wav, headers=headers) as response:
                channels = (await response.json())["results"]["channels"]
                heard.append(channels[0]["alternatives"][0]["transcript"])
        assert heard == ["hello there", "good bye"]
        body = {"model": "qwen2.5:3b", "messages": [{"role": "user", "content": "Hello."}]}
        url = f"{urls['ollama']}/v1/chat/completions"
        async with http.post(url, json=body) as response:
            reply = await response.json()
        assert reply["choices"][0]["message"]["content"] == "At your service."
        async with http.get(urls["record"]) as response:
            record = await response.json()
        assert record["deepgram"]["totals"]["requests"] == 2
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_what_a_killed_client_had_used_is_in_the_record(sandbox: Sandbox) -> None:
    sandbox.openai.faults.append(Fault.stall(after=3))
    client = f"""
import http.client, json
body = {{"model": "m", "stream": True, "messages": [{{"role": "user", "content": "Hello."}}]}}
connection = http.client.HTTPConnection({sandbox.url.removeprefix("http://")!r})
headers = {{"Authorization": "Bearer k"}}
connection.request("POST", "/openai/v1/chat/completions", json.dumps(body), headers)
answer = connection.getresponse()
for token in range(4):  # the first chunk has none
    answer.readline(), answer.readline()
print("streaming", flush=True)
answer.read()
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", client, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"streaming\n"
    process.kill()
    await process.wait()
    await sandbox.settled()

    (request,) = sandbox.openai.record.requests
    assert (request.ending, request.output_tokens) == ("client", 3)
