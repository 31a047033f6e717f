"""What faults cost: what is lost, what is counted twice, and what a call notices.

    python benchmarks/faults.py [--quick] [--json] [--only NAME …] [--list]

Each experiment makes a fault on purpose, while real plugins hold real streams with the sandbox,
and compares the ledger with what the sandbox would bill. Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from faulting.experiment import Experiment, Finding


def all_experiments() -> list[Experiment]:
    """The experiments of every module of `faulting`, in the order of their modules' names."""
    folder = Path(__file__).parent / "faulting"
    found: list[Experiment] = []
    for module in sorted(module.name for module in iter_modules([str(folder)])):
        experiments = getattr(import_module(f"faulting.{module}"), "experiments", None)
        found += experiments() if experiments is not None else []
    return found


def table(findings: list[Finding]) -> str:
    """Findings as a Markdown table."""
    lines = [
        "| fault | tries | lost | counted twice | slowest frame or chunk | |",
        "|---|---:|---|---|---:|---|",
    ]
    for finding in findings:
        added = "–" if finding.added_ms is None else f"{finding.added_ms:+.1f} ms"
        lines.append(
            f"| {finding.fault} | {finding.tries} | {finding.lost} | {finding.twice} | {added} "
            f"| {finding.note} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer tries")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these experiments")
    parser.add_argument("--list", action="store_true", help="print the names of all experiments")
    arguments = parser.parse_args()
    experiments = all_experiments()
    if arguments.list:
        print("\n".join(experiment.name for experiment in experiments))
        return
    wanted = arguments.only or [experiment.name for experiment in experiments]
    unknown = set(wanted) - {experiment.name for experiment in experiments}
    if unknown:
        parser.error(f"no such experiment: {', '.join(sorted(unknown))}; --list names them")
    logging.disable(logging.WARNING)  # faults are logged, and they are meant here

    findings: list[Finding] = []
    for experiment in experiments:
        if experiment.name in wanted:
            print(f"{experiment.name} …", file=sys.stderr, flush=True)
            findings += asyncio.run(experiment.run(arguments.quick))
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print(table(findings))


if __name__ == "__main__":
    main()
