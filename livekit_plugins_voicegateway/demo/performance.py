"""The demo's performance: all conversations side by side in one process, then the reckoning."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from livekit.agents import Agent

from .. import inference
from ..cli.tables import Page
from ..ledger import make_ledger
from ..ledger.base import RowFilter
from ..metering.usage import UsageRow
from ..projects import Project
from .call import CallEvent, CallResult, hold_call
from .local_models import LocalModels
from .reckoning import Comparison, compare, faults_of_call, faults_of_spending, turn_costs
from .script import INSTRUCTIONS, Conversation
from .show import Show, show_comparisons, show_costs, show_spending
from .stage import Stage, set_stage

__all__ = ["Outcome", "perform", "show_outcome"]

SECONDS_LEFT = 2.5
"""Seconds of listening that are left in a budget that is to be spent while the caller speaks."""

TIME_LIMIT = 240.0
"""Seconds that the conversations may take; they are held at the same time, and take less than one
minute unless the machine is busy."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the demo.

    Attributes:
        calls: Each conversation, and the call that was held.
        projects: The projects that paid, by id.
        rows: All rows of the ledger.
        comparisons: Recorded against billed.
        faults: What did not go as it should; empty when all did.
    """

    calls: tuple[tuple[Conversation, CallResult], ...]
    projects: Mapping[str, Project]
    rows: tuple[UsageRow, ...]
    comparisons: tuple[Comparison, ...]
    faults: tuple[str, ...]


async def perform(
    directory: Path, conversations: Sequence[Conversation], local: LocalModels
) -> Outcome:
    """Hold conversations side by side, showing them, and reckon up.

    Args:
        directory: Where the demo's configuration and ledger go.
        conversations: Whose projects are in that configuration.
        local: The local models there are.

    Raises:
        TimeoutError: They took longer than `TIME_LIMIT`.
    """
    async with set_stage(directory, local) as stage:
        projects = stage.gateway.config.projects
        with Show(conversations, projects) as show:
            results = await _hold_all(conversations, show, stage)
        await stage.settle()
    calls = tuple(zip(conversations, results, strict=True))
    rows = await _rows_of(stage)
    faults = _faults(stage, calls, rows)
    return Outcome(calls, projects, rows, tuple(compare(rows, stage.sandbox)), tuple(faults))


async def _hold_all(
    conversations: Sequence[Conversation], show: Show, stage: Stage
) -> list[CallResult]:
    try:
        async with asyncio.timeout(TIME_LIMIT), asyncio.TaskGroup() as group:
            tasks = [group.create_task(_hold(each, show, stage)) for each in conversations]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]


async def _hold(conversation: Conversation, show: Show, stage: Stage) -> CallResult:
    """Hold one conversation, as the entrypoint of a job would."""
    inference.set_project(conversation.project)
    turns = 0
    spending: list[asyncio.Task[None]] = []

    async def spend() -> None:
        budget = await stage.spend(conversation.project, SECONDS_LEFT)
        show.note(conversation, f"the budget of today is set to ${budget:.5f}, and soon spent")

    def show_event(event: CallEvent) -> None:
        nonlocal turns
        show.event(conversation, event)
        if event.name == "turn_began":
            turns += 1
            if turns == conversation.spent_in:
                spending.append(asyncio.create_task(spend()))

    return await hold_call(
        stt=inference.STT(conversation.stt),
        llm=inference.LLM(conversation.llm),
        tts=inference.TTS(conversation.tts),
        turns=conversation.turns,
        agent=Agent(instructions=INSTRUCTIONS),
        greeting=conversation.greeting,
        room=conversation.room,
        job_id=conversation.job_id,
        on_event=show_event,
    )


async def _rows_of(stage: Stage) -> tuple[UsageRow, ...]:
    url = stage.gateway.config.database_url
    async with make_ledger(url, read_only=True) as ledger:
        return tuple(await ledger.rows(RowFilter(), limit=10_000))


def _faults(
    stage: Stage,
    calls: Sequence[tuple[Conversation, CallResult]],
    rows: Sequence[UsageRow],
) -> list[str]:
    faults = []
    for conversation, call in calls:
        faults += faults_of_call(conversation, call)
        own = [row for row in rows if row.project == conversation.project]
        if not own:
            faults.append(f"the ledger has nothing of {conversation.project}")
        faults += faults_of_spending(conversation, own)
        faults += [
            f"{conversation.project} recorded {each.recorded:g} {each.quantity} of "
            f"{each.provider}, and was billed {each.billed:g}; promised: {each.promise}"
            for each in compare(rows, stage.sandbox, conversation.project)
            if not each.kept
        ]
    return faults


def show_outcome(outcome: Outcome) -> None:
    """Print what each turn cost, and recorded against billed."""
    page = Page()
    for conversation, call in outcome.calls:
        rows = [row for row in outcome.rows if row.room == conversation.room]
        show_costs(page, outcome.projects[conversation.project], turn_costs(call, rows))
    show_comparisons(page, outcome.comparisons)
    for conversation, _ in outcome.calls:
        if conversation.spent_in is not None:
            rows = [row for row in outcome.rows if row.room == conversation.room]
            show_spending(page, outcome.projects[conversation.project], rows)
    page.show()
