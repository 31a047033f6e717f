"""A worker of `faulting.postgres_away`: calls that begin and end, until its stdin is closed."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from crowd.calls import Crowd, through_gateway

from .steady_calls import Pulse

__all__ = ["Round"]


@dataclass(frozen=True, slots=True)
class Round:
    """Calls that began together, and have ended.

    Attributes:
        began: Unix time in seconds.
        ended: Unix time in seconds.
        turns: Completions and syntheses that came to their end, in pairs.
        errors: What turns ended with otherwise, and how often.
        longest_ms: Longest turn of the event loop.
    """

    began: float
    ended: float
    turns: int
    errors: dict[str, int]
    longest_ms: float


def _listen(told_to_end: threading.Event) -> None:
    sys.stdin.read()
    told_to_end.set()


async def _work(config: Path, calls: int, seconds: float, every: float) -> None:
    told_to_end = threading.Event()
    threading.Thread(target=_listen, args=(told_to_end,), daemon=True).start()
    async with through_gateway(config) as models:
        while not told_to_end.is_set():
            began = time.time()
            async with Pulse() as pulse:
                report = await Crowd(models, seconds=seconds, every=every).hold(calls)
            held = Round(began, time.time(), report.turns, report.errors, pulse.longest_ms)
            print(json.dumps(asdict(held)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--every", type=float, required=True)
    asyncio.run(_work(**vars(parser.parse_args())))
