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
from .reckoning import Comparison, compare, faults_of_call, turn_costs
from .script import INSTRUCTIONS, Conversation
from .show import Show, show_comparisons, show_costs
from .stage import Stage, set_stage

__all__ = ["Outcome", "perform", "show_outcome"]

TIME_LIMIT = 50.0
"""Seconds that the conversations may take; they are held at the same time."""


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


async def perform(directory: Path, conversations: Sequence[Conversation]) -> Outcome:
    """Hold conversations side by side, showing them, and reckon up.

    Args:
        directory: Where the demo's configuration and ledger go.
        conversations: Whose projects are in that configuration.

    Raises:
        TimeoutError: They took longer than `TIME_LIMIT`.
    """
    async with set_stage(directory) as stage:
        projects = stage.gateway.config.projects
        with Show(conversations, projects) as show:
            try:
                async with asyncio.timeout(TIME_LIMIT), asyncio.TaskGroup() as group:
                    tasks = [group.create_task(_hold(each, show)) for each in conversations]
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from failures
        await stage.settle()
    calls = tuple(zip(conversations, (task.result() for task in tasks), strict=True))
    rows = await _rows_of(stage)
    faults = _faults(stage, calls, rows)
    return Outcome(calls, projects, rows, tuple(compare(rows, stage.sandbox)), tuple(faults))


async def _hold(conversation: Conversation, show: Show) -> CallResult:
    """Hold one conversation, as the entrypoint of a job would."""
    inference.set_project(conversation.project)

    def show_event(event: CallEvent) -> None:
        show.event(conversation, event)

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
        if not any(row.project == conversation.project for row in rows):
            faults.append(f"the ledger has nothing of {conversation.project}")
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
    page.show()
