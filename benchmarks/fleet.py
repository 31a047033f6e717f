"""A thousand workers of several hosts on one budget and one PostgreSQL.

    python benchmarks/fleet.py [--workers N] [--hosts N] [--seconds S] [--rounds N]
                               [--quick] [--json]

It starts a PostgreSQL of its own, durable as PostgreSQL is by itself, and spends a budget until
nothing more is spent. Meanwhile it raises the budget and a price some times, with notifications
and without, and kills two of the hosts when half of the budget is spent.

Real are: PostgreSQL and every statement; each worker's budget, its leases and its admission; the
outbox and the courier of each host, so that usage reaches PostgreSQL as it does; and the watchers.
Simulated are: a host, which is one process; a worker, which is three coroutines in it and not a
process, so that its threads and its event loop are shared with the others of the host; providers,
whose answers are lengths of time; and the recorder, of which a host has one. Workers of a host
lease on a few connections in turn, where real ones have one each, and eight watchers stand for all
of its workers. What a worker waits is therefore more than PostgreSQL needs: two processors play the
hosts and PostgreSQL at once.

Prints Markdown: medians of the rounds, and the worst of them where it says so.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from many_hosts.experiment import Notice, Outcome, spend_a_budget
from many_hosts.plan import Plan
from many_hosts.rush import Rush, rush
from postgres_server import PostgresServer

from livekit_plugins_voicegateway import signals  # noqa: F401  what a refusal is made of: 2 s

QUICK = Plan(40, 2, 4.0, killed=1, wait=0.0, quiet=2.0, changes=1, connections=2, watchers=2)


def measure(plan: Plan, rounds: int, rush_seconds: float) -> tuple[list[Rush], list[Outcome]]:
    """Run it all, the rounds one after the other."""
    server = PostgresServer(durable=True)
    rushes = [
        rush(plan, server.fresh_database(), rush_seconds, projects=projects)
        for projects in (1, plan.hosts)
    ]
    outcomes = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            outcomes.append(spend_a_budget(plan, server, Path(folder)))
    server.remove()
    return rushes, outcomes


def rush_table(found: list[Rush]) -> str:
    """Leases as fast as it goes, as Markdown."""
    lines = [
        "| workers with leases | budgets | connections | leases per second | median | p99 |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        lines.append(
            f"| {one.workers:,} | {one.projects} | {one.connections} | {one.per_second:,.0f} "
            f"| {one.median_ms:.1f} ms | {one.p99_ms:.1f} ms |"
        )
    return "\n".join(lines)


LINES: list[tuple[str, Callable[[Outcome], float], str, Callable[[list[float]], float] | None]] = [
    ("requests", lambda one: one.requests, ",.0f", None),
    ("seconds until nothing more was spent", lambda one: one.seconds, ".0f", None),
    ("operations on leases per second", lambda one: one.operations_per_second, ",.0f", None),
    ("such an operation, median (ms)", lambda one: one.operation_ms, ".1f", max),
    ("such an operation, 99th percentile (ms)", lambda one: one.operation_p99_ms, ".1f", max),
    ("refused as the ledger took longer than 50 ms", lambda one: one.unanswered, ",.0f", max),
    ("overspend ($)", lambda one: one.overspend, ".4f", max),
    ("the bound that `voicegw check` prints ($)", lambda one: one.bound, ".4f", None),
    (
        "budget used at the first refusal (%)",
        lambda one: 100 * one.used_at_first_refusal,
        ".1f",
        min,
    ),
    (
        "leased and not spent at the first refusal ($)",
        lambda one: one.leased_at_first_refusal,
        ".4f",
        max,
    ),
    ("never spent although requests were refused ($)", lambda one: one.left_at_end, ".4f", max),
    ("leased by the killed when they were killed ($)", lambda one: one.held_by_killed, ".4f", max),
]
"""What is printed: what it is, where it is found, its form, and which round is the worst."""


def outcome_table(found: list[Outcome]) -> str:
    """What became of the budget, as Markdown."""
    one = found[0]
    killed = f", {one.killed} killed when half of it was spent" if one.killed else ""
    lines = [
        f"| {one.workers:,} workers on {one.hosts} hosts{killed}; ${one.budget:.2f} "
        "| median | worst |",
        "|---|---:|---:|",
    ]
    for what, of, form, worst in LINES:
        lines.append(_line(what, [of(one) for one in found], form, worst))
    later = [one.held_by_killed_later for one in found if one.held_by_killed_later is not None]
    if later:
        lines.append(_line("still kept for them 40 s later ($)", later, ".4f", max))
    return "\n".join(lines)


def _line(
    what: str, found: list[float], form: str, worst: Callable[[list[float]], float] | None
) -> str:
    shown = format(worst(found), form) if worst is not None else ""
    return f"| {what} | {statistics.median(found):{form}} | {shown} |"


def notice_table(found: list[Outcome]) -> str:
    """How soon changes are noticed, as Markdown."""
    lines = [
        "| change of | how it is noticed | watchers and changes | missed | median | longest |",
        "|---|---|---:|---:|---:|---:|",
    ]
    notices: dict[tuple[str, bool], list[Notice]] = {}
    for outcome in found:
        for notice in outcome.notices:
            notices.setdefault((notice.what, notice.notified), []).append(notice)
    for (what, notified), rounds in notices.items():
        how = "PostgreSQL says so" if notified else "by looking, notifications cut"
        lines.append(
            f"| {what} | {how} | {sum(one.noticed for one in rounds):,} "
            f"| {sum(one.missed for one in rounds)} "
            f"| {statistics.median(one.median_s for one in rounds):.3f} s "
            f"| {max(one.longest_s for one in rounds):.3f} s |"
        )
    return "\n".join(lines)


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=Plan().workers)
    parser.add_argument("--hosts", type=int, default=Plan().hosts)
    parser.add_argument(
        "--seconds", type=float, default=Plan().seconds, help="that the budget lasts, about"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few workers, one short round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    before = os.getloadavg()[0]
    killed = min(Plan().killed, options.hosts // 2)
    plan = Plan(
        workers=options.workers, hosts=options.hosts, seconds=options.seconds, killed=killed
    )
    rounds, rush_seconds = options.rounds, 10.0
    if options.quick:
        plan, rounds, rush_seconds = QUICK, 1, 0.3
    rushes, outcomes = measure(plan, rounds, rush_seconds)
    if options.json:
        found = {
            "rush": [asdict(one) for one in rushes],
            "rounds": [asdict(one) for one in outcomes],
        }
        print(json.dumps(found, indent=1))
        return 0
    print("\n\n".join((rush_table(rushes), outcome_table(outcomes), notice_table(outcomes))))
    print(f"\n{os.cpu_count()} processors, load {before:.1f} before and", end=" ")
    print(f"{os.getloadavg()[0]:.1f} after")
    return 0


if __name__ == "__main__":
    sys.exit(main())
