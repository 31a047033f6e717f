"""How long an answer takes with ten thousand requests in the ledger, and with millions.

    python benchmarks/reports.py [--requests N ...] [--keep FOLDER] [--quick] [--json]

Fills a SQLite ledger with requests of 90 days (8 projects, 12 models, calls of 30 requests), starts
`voicegw serve` on it as a process of its own, and asks each endpoint and each page again and again.
Prints Markdown: medians, and what the slowest of twenty took. The last column is the ratio of the
medians with the most and the fewest requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from livekit_plugins_voicegateway.ledger import open_ledger
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.usage import Modality, Status, UsageRow
from livekit_plugins_voicegateway.times import to_iso

DAYS = 90
PROJECTS = ("prod", "staging", "dev", "support", "sales", "billing", "qa", "lab")
MODELS: tuple[tuple[Modality, str, str], ...] = (
    ("stt", "deepgram", "nova-3"),
    ("stt", "assemblyai", "universal-streaming"),
    ("stt", "openai", "gpt-4o-transcribe"),
    ("llm", "openai", "gpt-4.1-mini"),
    ("llm", "openai", "gpt-4.1"),
    ("llm", "anthropic", "claude-haiku-4-5"),
    ("llm", "groq", "llama-3.3-70b-versatile"),
    ("llm", "acme", "in-house"),
    ("tts", "cartesia", "sonic-3"),
    ("tts", "elevenlabs", "eleven_flash_v2_5"),
    ("tts", "openai", "gpt-4o-mini-tts"),
    ("tts", "rime", "mistv2"),
)
CALL = 30
BATCH = 5_000

QUESTIONS = (
    "/v1/costs",
    "/v1/costs?period=30d",
    "/v1/costs?period=all",
    "/v1/costs?period=30d&project=prod",
    "/v1/projects",
    "/v1/projects/prod",
    "/v1/logs",
    "/v1/logs?project=prod&limit=50",
    "/v1/logs?project=qa&modality=tts&model=rime/mistv2",
    "/v1/logs?status=failed",
    "/v1/logs?room={room}",
    "/v1/logs?cursor={cursor}",
    "/v1/calls",
    "/v1/calls/{room}",
    "/v1/prices",
    "/metrics",
)
PAGES = (
    "/",
    "/requests",
    "/requests?project=prod&status=failed",
    "/calls",
    "/calls/{room}",
    "/projects",
    "/projects/prod",
    "/prices",
)

_PROJECT = "  {name}: {{daily_budget: 500, tags: [{name}]}}\n"
CONFIG = 'default_project: prod\ndatabase: {url: "sqlite:///ledger.db"}\nprojects:\n' + "".join(
    _PROJECT.format(name=name) for name in PROJECTS
)


@dataclass(frozen=True)
class Answered:
    """How long one question takes.

    Attributes:
        requests: Rows in the ledger.
        question: Path and query.
        median_ms: Of all tries, from another process, over a connection that is open.
        p95_ms: 95th percentile.
        bytes: Of the answer, unpacked.
    """

    requests: int
    question: str
    median_ms: float
    p95_ms: float
    bytes: int


def rows(count: int, seed: int = 1) -> Iterator[UsageRow]:
    """Requests of the last `DAYS` days, oldest first, with a call's rows beside each other."""
    chance = random.Random(seed)
    now = time.time()
    step = DAYS * 86_400 / count
    room = project = ""
    models = MODELS[:3]
    for number in range(count):
        started_at = now - DAYS * 86_400 + number * step
        if number % CALL == 0:
            room = f"call-{number // CALL:07}"
            project = chance.choices(PROJECTS, (40, 20, 10, 10, 8, 6, 4, 2))[0]
            models = tuple(
                chance.choice([model for model in MODELS if model[0] == modality])
                for modality in ("stt", "llm", "tts")
            )
        modality, provider, model = models[number % 3]
        status: Status = chance.choices(
            ("completed", "cancelled", "failed", "rejected"), (90, 8, 1.5, 0.5)
        )[0]
        known = provider != "acme"
        yield UsageRow(
            id=uuid7(),
            request_id=uuid7(),
            started_at=started_at,
            ended_at=started_at + 2,
            day=to_iso(started_at)[:10],
            project=project,
            modality=modality,
            provider=provider,
            model=model,
            requested_model=f"{provider}/{model}",
            status=status,
            room=room,
            job_id=f"AJ_{room}",
            speech_id=f"speech_{number // 3}" if modality != "stt" else None,
            audio_seconds=12.5 if modality == "stt" else 3.25,
            input_tokens=900 if modality == "llm" else 0,
            output_tokens=60 if modality == "llm" else 0,
            characters=140 if modality == "tts" else 0,
            cost_nanos=chance.randrange(100_000, 900_000) if known else None,
            price="catalogue" if known else None,
            ttfb_ms=chance.uniform(80, 900),
            duration_ms=2000.0,
            error="APIStatusError 500" if status == "failed" else None,
        )


async def fill(path: Path, count: int) -> float:
    """Write ``count`` requests into the ledger; returns the seconds it took."""
    began = time.perf_counter()
    batch: list[UsageRow] = []
    async with await open_ledger(f"sqlite:///{path}") as ledger:
        for row in rows(count):
            batch.append(row)
            if len(batch) == BATCH:
                await ledger.write(batch)
                batch.clear()
        await ledger.write(batch)
    return time.perf_counter() - began


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run ``voicegw serve`` in a folder; gives its address."""
    command = Path(sys.executable).with_name("voicegw")
    env = {key: value for key, value in os.environ.items() if not key.startswith("VOICEGW_")}
    with subprocess.Popen(
        [command, "serve", "--port", "0"],
        cwd=folder,
        env={**env, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = []
        try:
            for line in process.stdout:
                said.append(line)
                address = next((word for word in line.split() if word.startswith("http://")), None)
                if address is not None:
                    yield address.rstrip("/.,")
                    return
            raise SystemExit(f"voicegw serve did not start:\n{''.join(said)}")
        finally:
            process.terminate()
            process.stdout.close()


def measure(address: str, requests: int, tries: int) -> list[Answered]:
    """Ask every question ``tries`` times, in turn."""
    found = []
    with httpx.Client(base_url=address, timeout=60) as client:
        page = {"limit": min(1_000, requests // 2)}
        newest = client.get("/v1/logs", params=page).raise_for_status().json()
        names = {"room": newest["logs"][0]["room"], "cursor": newest["next_cursor"]}
        asked = [question.format(**names) for question in (*QUESTIONS, *PAGES)]
        times: dict[str, list[float]] = {question: [] for question in asked}
        sizes: dict[str, int] = {}
        for question in asked * (tries + 1):
            began = time.perf_counter()
            answer = client.get(question)
            times[question].append((time.perf_counter() - began) * 1000)
            answer.raise_for_status()
            sizes[question] = len(answer.content)
        for text, question in zip((*QUESTIONS, *PAGES), asked, strict=True):
            # the first one warms up
            taken = sorted(times[question][1:])
            p95 = taken[min(len(taken) - 1, int(len(taken) * 0.95))]
            found.append(Answered(requests, text, statistics.median(taken), p95, sizes[question]))
    return found


def run(counts: list[int], tries: int, keep: Path | None) -> list[Answered]:
    """Measure with each number of requests."""
    found = []
    for count in counts:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) if keep is None else keep / str(count)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "voicegw.yaml").write_text(CONFIG, encoding="utf-8")
            if not (folder / "ledger.db").exists():
                seconds = asyncio.run(fill(folder / "ledger.db", count))
                print(
                    f"{count:,} requests written in {seconds:.0f} s "
                    f"({count / seconds:,.0f} a second)",
                    file=sys.stderr,
                )
            with serving(folder) as address:
                found += measure(address, count, tries)
    return found


def show(found: list[Answered]) -> None:
    """Print Markdown."""
    counts = sorted({entry.requests for entry in found})
    by_key = {(entry.question, entry.requests): entry for entry in found}
    heads = [f"{count:,} requests" for count in counts]
    print(f"| median (95th percentile), ms | {' | '.join(heads)} | ratio |")
    print(f"|---|{'---:|' * (len(counts) + 1)}")
    for question in dict.fromkeys(entry.question for entry in found):
        entries = [by_key[question, count] for count in counts]
        cells = [f"{entry.median_ms:.1f} ({entry.p95_ms:.1f})" for entry in entries]
        ratio = entries[-1].median_ms / entries[0].median_ms
        print(f"| `{question}` | {' | '.join(cells)} | {ratio:.2f} |")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--tries", type=int, default=40)
    parser.add_argument("--keep", type=Path, help="keep the ledgers here, and use those there")
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    counts, tries = ([300, 3_000], 2) if options.quick else (options.requests, options.tries)
    found = run(counts, tries, options.keep)
    if options.json:
        print(json.dumps([asdict(entry) for entry in found], indent=2))
    else:
        show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
