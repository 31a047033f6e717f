"""Lets a coverage-guided fuzzer (Atheris) look for what breaks a promise of a target.

    python benchmarks/fuzzing/fuzzer.py TARGET --runs N --report FILE

It sees which lines of ours an input reaches, and goes on with those that reach new ones. What it
finds is written into the report; the process ends with another status than 0 for a broken promise,
a hang or too much memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))


# by name: it has no wheels for some machines, where types are checked all the same
atheris: Any = import_module("atheris")

_LONGEST: Final = 25
"""Seconds that one input may take, on a machine that does much else."""

_MOST_MEMORY: Final = 2_048
"""Megabytes that the process may have."""

_LARGEST: Final = 4_096
"""Bytes of an input; what is larger has tests of its own."""


def main() -> None:
    """Try as many inputs as the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, required=True, metavar="N")
    parser.add_argument("--report", type=Path, required=True, metavar="FILE")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    arguments = parser.parse_args()
    with atheris.instrument_imports(include=["livekit_plugins_voicegateway"]):
        from fuzzing.mutation import mutated
        from fuzzing.targets import TARGETS

    target = TARGETS[arguments.target]
    examples = target.examples()
    outcomes: Counter[str] = Counter()
    slowest: tuple[float, bytes] = (0.0, b"")
    began = time.monotonic()

    def report(**broken: str) -> None:
        said = {
            "target": target.name,
            "surface": target.surface,
            "inputs": sum(outcomes.values()),
            **outcomes,
            "seconds": round(time.monotonic() - began, 1),
            "slowest_ms": round(slowest[0] * 1000, 1),
            "slowest": repr(slowest[1][:200]),
            **broken,
        }
        arguments.report.write_text(json.dumps(said))

    stack = ExitStack()
    with atheris.instrument_imports(include=["livekit_plugins_voicegateway"]):
        check = stack.enter_context(target.prepare())

    def one(data: bytes) -> None:
        nonlocal slowest
        # of the processor, of all threads: others may be using this machine
        start = time.process_time()
        try:
            outcome = check(data)
        except BaseException as error:
            report(broken=f"{type(error).__name__}: {error}"[:4000], input=repr(data))
            raise
        slowest = max(slowest, (time.process_time() - start, data))
        outcomes[outcome] += 1
        if sum(outcomes.values()) in (arguments.runs, arguments.runs - 1):
            report()

    def change(data: bytes, size: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            changed: Any = atheris.Mutate(data, size)
        else:
            changed = mutated(data or random.choice(examples), target.words, random)
        return bytes(changed[:size])

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    for number, example in enumerate(examples):
        (folder / f"{number:04}").write_bytes(example[:_LARGEST])
    atheris.Setup(
        [
            sys.argv[0],
            f"-runs={arguments.runs}",
            f"-timeout={_LONGEST}",
            f"-rss_limit_mb={_MOST_MEMORY}",
            f"-max_len={_LARGEST}",
            f"-seed={arguments.seed}",
            f"-artifact_prefix={arguments.report}.",
            "-print_final_stats=1",
            str(folder),
        ],
        one,
        custom_mutator=change,
    )
    atheris.Fuzz()  # ends the process


if __name__ == "__main__":
    main()
