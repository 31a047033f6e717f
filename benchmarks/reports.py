"""How long an answer takes with ten thousand requests in the ledger, and with ten million.

    python benchmarks/reports.py [--engine sqlite|postgres …] [--requests N …] [--keep FOLDER]
                                 [--quick] [--json]

Fills ledgers with requests of 90 days (8 projects, 12 models, calls of 30 requests; see
`seeding`), in SQLite and in a PostgreSQL of its own, starts `voicegw serve` on each as a process of
its own, and asks each endpoint and each page again and again. Prints Markdown: medians, and what
the slowest of twenty took. The last column is the ratio of the medians with the most and the fewest
requests. Ten million requests take about 8 GB in SQLite, and 10 GB in PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import httpx
import seeding.postgres
import seeding.sqlite
from postgres_server import PostgresServer, run_sql
from seeding.pattern import PROJECTS, Span

Engine = Literal["sqlite", "postgres"]

BYTES_OF_A_REQUEST = {"sqlite": 900, "postgres": 1200}
"""On the disk, with indexes, and while it is filled."""

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

_PROJECT = "  {name}: {{{{daily_budget: 500, tags: [{name}]}}}}\n"
CONFIG = 'default_project: prod\ndatabase: {{url: "{url}"}}\nprojects:\n' + "".join(
    _PROJECT.format(name=name) for name in PROJECTS
)


@dataclass(frozen=True)
class Answered:
    """How long one question takes.

    Attributes:
        engine: What keeps the ledger.
        requests: Rows in the ledger.
        question: Path and query.
        median_ms: Of all tries, from another process, over a connection that is open.
        p95_ms: 95th percentile.
        bytes: Of the answer, unpacked.
    """

    engine: Engine
    requests: int
    question: str
    median_ms: float
    p95_ms: float
    bytes: int


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


def measure(engine: Engine, address: str, requests: int, tries: int) -> list[Answered]:
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
            median = statistics.median(taken)
            found.append(Answered(engine, requests, text, median, p95, sizes[question]))
    return found


@contextmanager
def filled(engine: Engine, count: int, keep: Path | None) -> Iterator[Path]:
    """Give a folder with a configuration, whose ledger has ``count`` requests in it."""
    server = PostgresServer(durable=True) if engine == "postgres" else None
    with tempfile.TemporaryDirectory() as temporary:
        kept = keep is not None and server is None
        folder = keep / str(count) if keep is not None and kept else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "ledger.db"
        url = f"sqlite:///{file}" if server is None else server.new_database()
        (folder / "voicegw.yaml").write_text(CONFIG.format(url=url), encoding="utf-8")
        try:
            if server is not None or not file.exists():
                _fill(engine, count, url, folder)
            yield folder
        finally:
            if server is not None:
                server.remove()


def _fill(engine: Engine, count: int, url: str, folder: Path) -> None:
    needed = count * BYTES_OF_A_REQUEST[engine]
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SystemExit(
            f"{count:,} requests in {engine} need {needed / 1e9:.0f} GB, and {folder} has "
            f"{free / 1e9:.0f} GB left; say --requests with fewer, or set TMPDIR"
        )
    began = time.perf_counter()
    span = Span.until(time.time(), count)
    if engine == "sqlite":
        file = folder / "ledger.db"
        asyncio.run(seeding.sqlite.fill(file, span))
        size = file.stat().st_size
    else:
        asyncio.run(seeding.postgres.fill(url, span))
        ((size,),) = run_sql(url, "SELECT pg_database_size(current_database())")
    print(
        f"{engine}: {count:,} requests in {time.perf_counter() - began:.0f} s, "
        f"{size / count:,.0f} bytes each",
        file=sys.stderr,
    )


def run(engine: Engine, counts: list[int], tries: int, keep: Path | None) -> list[Answered]:
    """Measure with each number of requests."""
    found = []
    for count in counts:
        with filled(engine, count, keep) as folder, serving(folder) as address:
            found += measure(engine, address, count, tries)
    return found


def show(found: list[Answered]) -> None:
    """Print Markdown: a table for each engine."""
    for engine in dict.fromkeys(entry.engine for entry in found):
        print(_table([entry for entry in found if entry.engine == engine]))


def _table(found: list[Answered]) -> str:
    counts = sorted({entry.requests for entry in found})
    by_key = {(entry.question, entry.requests): entry for entry in found}
    heads = [f"{count:,} requests" for count in counts]
    lines = [
        f"| {found[0].engine}: median (95th percentile), ms | {' | '.join(heads)} | ratio |",
        f"|---|{'---:|' * (len(counts) + 1)}",
    ]
    for question in dict.fromkeys(entry.question for entry in found):
        entries = [by_key[question, count] for count in counts]
        cells = [f"{entry.median_ms:.1f} ({entry.p95_ms:.1f})" for entry in entries]
        ratio = entries[-1].median_ms / entries[0].median_ms
        lines.append(f"| `{question}` | {' | '.join(cells)} | {ratio:.2f} |")
    return "\n".join((*lines, ""))


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engine", nargs="+", choices=get_args(Engine), default=get_args(Engine))
    parser.add_argument("--requests", type=int, nargs="+", default=[10_000, 10_000_000])
    parser.add_argument("--tries", type=int, default=40)
    parser.add_argument(
        "--keep", type=Path, help="keep the SQLite ledgers here, and use those there"
    )
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    counts, tries = ([300, 3_000], 1) if options.quick else (options.requests, options.tries)
    before = os.getloadavg()[0]
    found = []
    for engine in options.engine:
        found += run(engine, counts, tries, options.keep)
    if options.json:
        print(json.dumps([asdict(entry) for entry in found], indent=2))
    else:
        show(found)
        print(f"Load of the machine: {before:.1f} before, {os.getloadavg()[0]:.1f} after.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
