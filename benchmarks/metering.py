"""Recorded against billed: what the ledger has, what the provider received, what LiveKit reports.

Each case runs through the gateway with the real plugin, against a sandboxed provider that keeps a
record of its own. ``python benchmarks/metering.py`` prints a table; ``--json`` prints the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sqlite3
import sys
import tempfile
import wave
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from livekit.agents import APIConnectOptions, llm, utils

from livekit import rtc
from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.sandbox import Fault, Sandbox

SPEECH = Path(__file__).parents[1] / "livekit_plugins_voicegateway" / "demo" / "speech"
CLIP = "austen-0870.wav"  # 7.1 seconds
OPTIONS = APIConnectOptions(max_retry=2, retry_interval=0.02, timeout=5.0)
REPLY = (
    "Mr. John Dashwood had promised his father to do every thing in his power for them. He was not "
    "an ill-disposed young man, unless to be rather cold hearted and rather selfish is to be "
    "ill-disposed; but he was, in general, well respected, for he conducted himself with propriety "
    "in the discharge of his ordinary duties."
)


@dataclass(frozen=True)
class Result:
    """One case.

    Attributes:
        case: What happened.
        unit: ``seconds``, ``tokens in``, ``tokens out`` or ``characters``.
        billed: The provider's own record.
        recorded: The ledger.
        livekit: LiveKit's own metrics events.
        estimated: Whether the ledger says that it estimated.
    """

    case: str
    unit: str
    billed: float
    recorded: float
    livekit: float
    estimated: bool

    @property
    def difference(self) -> float:
        """Recorded less billed, as a share of what was billed."""
        return (self.recorded - self.billed) / self.billed if self.billed else self.recorded


def audio(seconds: float) -> list[rtc.AudioFrame]:
    """The first seconds of recorded speech, repeated as needed, in frames of 10 ms."""
    with wave.open(str(SPEECH / CLIP)) as file:
        rate = file.getframerate()
        pcm = file.readframes(file.getnframes())
    size = rate // 100 * 2
    wanted = int(seconds * 100)
    pcm *= wanted * size // len(pcm) + 1
    return [
        rtc.AudioFrame(pcm[i * size : (i + 1) * size], rate, 1, size // 2) for i in range(wanted)
    ]


async def hear(stt: inference.STT, seconds: float, *, end: bool = True, pace: float = 0.0) -> None:
    """Push audio; with ``end=False`` hang up without ``end_input``, as a session does."""
    stream = stt.stream(conn_options=OPTIONS)

    async def read() -> None:
        async for _ in stream:
            pass

    reading = asyncio.create_task(read())
    for index, frame in enumerate(audio(seconds)):
        stream.push_frame(frame)
        if index % 10 == 0:
            await asyncio.sleep(pace)
    if end:
        stream.end_input()
    else:
        await asyncio.sleep(0.2)
        await stream.aclose()
    with suppress(Exception):
        await reading
    await stream.aclose()


async def reconnecting(stt: inference.STT) -> None:
    """Four seconds, a change of keyterms, four seconds more."""
    stream = stt.stream(conn_options=OPTIONS)

    async def read() -> None:
        async for _ in stream:
            pass

    reading = asyncio.create_task(read())
    for half in range(2):
        for frame in audio(4.0):
            stream.push_frame(frame)
        await asyncio.sleep(0.5)
        if not half:
            stt._update_session_keyterms(["Dashwood"])
    stream.end_input()
    await reading
    await stream.aclose()


async def recognize(stt: inference.STT) -> None:
    with suppress(Exception):
        await stt.recognize(audio(1.05), conn_options=OPTIONS)


async def ask(
    model: inference.LLM, *, stop_after: int | None = None, at_once: bool = False, times: int = 1
) -> None:
    """Ask for completions; hang up after some chunks, or before the first."""
    for _ in range(times):
        chat_ctx = llm.ChatContext.empty()
        chat_ctx.add_message(role="system", content="You talk about Jane Austen's novels.")
        chat_ctx.add_message(role="user", content="What had Mr. John Dashwood promised?")
        with suppress(Exception):
            async with model.chat(chat_ctx=chat_ctx, conn_options=OPTIONS) as stream:
                if at_once:
                    await asyncio.sleep(0.1)
                    continue
                chunks = 0
                async for _chunk in stream:
                    chunks += 1
                    if chunks == stop_after:
                        break


async def say(tts: inference.TTS, *, whole: bool = False, stop_after: float | None = None) -> None:
    """Speak the reply; hang up after some seconds of audio."""
    with suppress(Exception):
        heard = 0.0
        if whole:
            chunked = tts.synthesize(REPLY, conn_options=OPTIONS)
            async with chunked:
                async for event in chunked:
                    heard += event.frame.duration
                    if stop_after is not None and heard >= stop_after:
                        break
            return
        async with tts.stream(conn_options=OPTIONS) as stream:
            for word in REPLY.split(" "):
                stream.push_text(word + " ")
            stream.end_input()
            async for event in stream:
                heard += event.frame.duration
                if stop_after is not None and heard >= stop_after:
                    break


Modality = Literal["stt", "llm", "tts"]
Act = Callable[[Any], Awaitable[None]]

Case = tuple[Modality, str, Act, list[Fault]]

CASES: list[Case] = [
    ("stt", "stream of 7 s, ended", lambda m: hear(m, 7), []),
    ("stt", "stream of 7 s, hung up", lambda m: hear(m, 7, end=False), []),
    ("stt", "first connection refused", lambda m: hear(m, 7), [Fault.refuse()]),
    ("stt", "socket dropped after 3 s of 8", lambda m: hear(m, 8, pace=0.02), [Fault.cut(3)]),
    ("stt", "reconnect for new keyterms", reconnecting, []),
    ("stt", "never connected", lambda m: hear(m, 3), [Fault.refuse()] * 9),
    ("stt", "recognize()", recognize, []),
    ("stt", "recognize(), 2 failures, then well", recognize, [Fault.garbage()] * 2),
    ("stt", "recognize(), 3 failures", recognize, [Fault.garbage()] * 3),
    ("llm", "interrupted, the first request ever", lambda m: ask(m, stop_after=40), []),
    ("llm", "3 completions", lambda m: ask(m, times=3), []),
    ("llm", "interrupted after 20 tokens", lambda m: ask(m, stop_after=20), []),
    ("llm", "closed before the first token", lambda m: ask(m, at_once=True), []),
    ("llm", "500, 500, then well", ask, [Fault.status(500)] * 2),
    ("llm", "refused, then well", ask, [Fault.refuse()]),
    ("llm", "cut before the first token, then well", ask, [Fault.cut(0)]),
    ("llm", "cut after 25 tokens, for ever", ask, [Fault.cut(25)] * 3),
    ("tts", "streamed", say, []),
    ("tts", "whole", lambda m: say(m, whole=True), []),
    ("tts", "streamed, interrupted", lambda m: say(m, stop_after=0.5), []),
    ("tts", "whole, interrupted", lambda m: say(m, whole=True, stop_after=0.5), []),
    ("tts", "error, then well", say, [Fault.error(done=False)]),
    ("tts", "error in the middle", say, [Fault.error(after=20, done=False)]),
    ("tts", "refused, then well", say, [Fault.refuse()]),
]

UNITS = {
    "stt": {"seconds": "audio_seconds"},
    "llm": {"tokens in": "input_tokens", "tokens out": "output_tokens"},
    "tts": {"characters": "characters"},
}
LIVEKIT = {
    "audio_seconds": "audio_duration",
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "characters": "characters_count",
}


async def run_case(
    modality: Modality, case: str, act: Act, faults: list[Fault], folder: Path
) -> list[Result]:
    """Run one case on a sandbox, a gateway and a ledger of its own."""
    async with Sandbox() as sandbox:
        sandbox.openai.replies = [REPLY]
        sandbox.openai.tokens_per_second = 150.0
        sandbox.openai.time_to_first_token = 0.3
        sandbox.cartesia.pace = 8.0
        sandbox.deepgram.add_clip(SPEECH / CLIP, "And Mr. John Dashwood had then leisure")
        gateway = make_gateway(sandbox, folder)
        previous = install(gateway)
        metrics: list[Any] = []
        model: Any
        provider: Any
        if modality == "stt":
            model, provider = inference.STT("deepgram/nova-3", project="prod"), sandbox.deepgram
        elif modality == "llm":
            model, provider = inference.LLM("openai/gpt-4.1-mini", project="prod"), sandbox.openai
        else:
            model, provider = inference.TTS("cartesia/sonic-3", project="prod"), sandbox.cartesia
        install(previous)  # the model keeps its own
        model.on("metrics_collected", metrics.append)
        for fault in faults:
            provider.faults.append(fault)
        await act(model)
        await model.aclose()
        await sandbox.settled()
        assert await gateway.flush(10)
        rows = read_usage(gateway)
        gateway.close()
        totals, failed = provider.record.totals, provider.record.failed
    results = []
    for unit, column in UNITS[modality].items():
        billed = getattr(totals, column)
        if modality == "llm":
            billed -= getattr(failed, column)
        results.append(
            Result(
                case,
                unit,
                round(billed, 3),
                round(sum(row[column] for row in rows), 3),
                round(sum(getattr(event, LIVEKIT[column], 0) for event in metrics), 3),
                any(row["estimated"] for row in rows),
            )
        )
    return results


def make_gateway(sandbox: Sandbox, folder: Path) -> Gateway:
    """A gateway whose providers are the sandbox and whose ledger lies in ``folder``."""
    urls = sandbox.base_urls
    path = folder / "voicegw.yaml"
    path.write_text(
        f"database: {{url: 'sqlite:///{folder}/voicegw.db'}}\n"
        "projects: {prod: {}}\n"
        "providers:\n"
        f"  deepgram: {{api_key: sandbox, stt: {{base_url: '{urls['deepgram']}'}}}}\n"
        f"  openai: {{api_key: sandbox, llm: {{base_url: '{urls['openai']}'}}}}\n"
        f"  cartesia: {{api_key: sandbox, tts: {{base_url: '{urls['cartesia']}'}}}}\n"
    )
    return Gateway(load_config(path, env={}), env={})


def read_usage(gateway: Gateway) -> list[sqlite3.Row]:
    file = gateway.config.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        return list(connection.execute("SELECT * FROM usage ORDER BY id"))


async def run_all() -> list[Result]:
    """Run every case: completions one after the other, since estimates learn from those before
    them, and all others at the same time."""

    async def run_in_turn(*cases: Case) -> list[Result]:
        results = []
        for case in cases:
            with tempfile.TemporaryDirectory() as folder:
                results += await run_case(*case, Path(folder))
        return results

    completions = [case for case in CASES if case[0] == "llm"]
    others = [case for case in CASES if case[0] != "llm"]
    async with utils.http_context.open():
        lanes = await asyncio.gather(
            run_in_turn(*completions), *(run_in_turn(case) for case in others)
        )
    order = [case[1] for case in CASES]
    return sorted(chain.from_iterable(lanes), key=lambda result: order.index(result.case))


def print_table(results: list[Result]) -> None:
    """Print Markdown, ready for docs/metering.md."""
    print("| case | unit | provider's record | ledger | difference | LiveKit's metrics |")
    print("|---|---|---:|---:|---:|---:|")
    for result in results:
        mark = " (estimated)" if result.estimated else ""
        print(
            f"| {result.case} | {result.unit} | {result.billed:g} | {result.recorded:g}{mark} "
            f"| {result.difference:+.1%} | {result.livekit:g} |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    results = asyncio.run(run_all())
    if arguments.json:
        json.dump([asdict(result) for result in results], sys.stdout, indent=1)
        print()
    else:
        print_table(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
