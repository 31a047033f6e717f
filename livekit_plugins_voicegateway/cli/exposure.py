"""What `voicegw check` says of budgets: the most that can be overspent, and what cannot take over.

The models of a project are those that the ledger has seen it use in the last seven days, the
dearest of each kind; where it has seen none, usual ones stand in.
"""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..config import Config
from ..errors import VoiceGatewayError
from ..metering.usage import Modality
from ..overspend import exposure, worst_overspend
from ..pricing.book import Price, PriceBook
from ..provider_options import MODALITIES

__all__ = ["Exposure", "budget_exposures", "missing_fallbacks"]

USUAL: Final[Mapping[Modality, tuple[str, str]]] = {
    "stt": ("deepgram", "nova-3"),
    "llm": ("openai", "gpt-4.1-mini"),
    "tts": ("cartesia", "sonic-3"),
}

LOOK_BACK: Final = datetime.timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Exposure:
    """The most that one project can overspend on a day.

    Attributes:
        project: Id of the project.
        nanos: Nano-dollars; None when a model's price is unknown.
        models: The models reckoned with.
        calls: Calls under way at once.
        answer_tokens: Tokens of the longest answer.
    """

    project: str
    nanos: int | None
    models: tuple[str, ...]
    calls: int
    answer_tokens: int


def budget_exposures(config: Config, *, calls: int, answer_tokens: int) -> list[Exposure]:
    """Reckon the worst overspend of each project with a budget that stops something.

    Args:
        config: The configuration.
        calls: Calls under way at once, of each project.
        answer_tokens: Tokens of the longest answer.
    """
    projects = [
        project
        for project in config.projects.values()
        if project.daily_budget is not None and project.budget_action != "warn"
    ]
    if not projects or not config.cost_tracking.enabled:
        return []
    seen = asyncio.run(_models_in_use(config))
    book = PriceBook(config.pricing, {project.id: project.pricing for project in projects})
    today = datetime.date.fromisoformat(config.days.day_of(time.time()))
    exposures = []
    for project in projects:
        prices: dict[Modality, Price] = {}
        models = []
        known = True
        for modality in MODALITIES:
            candidates = seen.get((project.id, modality)) or [USUAL[modality]]
            dearest: tuple[int, str, Price] | None = None
            for provider, model in candidates:
                price = book.find(modality, provider, model, project=project.id, day=today)
                cost = None if price is None else price.cost(exposure(answer_tokens)[modality])
                if price is None or cost is None:
                    known = False
                elif dearest is None or cost > dearest[0]:
                    dearest = (cost, f"{provider}/{model}", price)
            if dearest is not None:
                prices[modality] = dearest[2]
                models.append(dearest[1])
        nanos = worst_overspend(prices, calls=calls, answer_tokens=answer_tokens)
        if project.daily_budget == 0:
            known, nanos = True, 0  # nothing is ever admitted
        exposures.append(
            Exposure(project.id, nanos if known else None, tuple(models), calls, answer_tokens)
        )
    return exposures


def missing_fallbacks(config: Config) -> list[str]:
    """Say which local models could not take over from a project that throttles, and why."""
    from ..local import missing_weights
    from ..router import option_block, parse_model

    found: dict[str, str] = {}
    for project in config.projects.values():
        if project.daily_budget is None or project.budget_action != "throttle":
            continue
        for modality in MODALITIES:
            text = project.fallback.model(modality)
            if text is None or not text.startswith("local/"):
                continue
            route = parse_model(modality, text)
            options = config.provider_options(project.id, option_block(route))
            try:
                resolved = options.resolve(modality, config.env) if options is not None else {}
                missing = missing_weights(route.model, resolved)
            except VoiceGatewayError as error:
                found[text] = f"{text} cannot take over: {error}"
            else:
                if missing:
                    found[text] = (
                        f"{text} cannot take over: {missing[0]}. "
                        f"Run `voicegw download-files {text}`"
                    )
    return list(found.values())


async def _models_in_use(config: Config) -> dict[tuple[str, str], list[tuple[str, str]]]:
    from ..ledger import make_ledger

    today = datetime.date.fromisoformat(config.days.day_of(time.time()))
    first = (today - LOOK_BACK).isoformat()
    models: dict[tuple[str, str], list[tuple[str, str]]] = {}
    try:
        async with make_ledger(config.database_url, read_only=True) as ledger:
            for project in config.projects:
                lines = await ledger.costs(first, today.isoformat(), project)
                for line in lines:
                    if line.provider and line.model and line.modality:
                        models.setdefault((project, line.modality), []).append(
                            (line.provider, line.model)
                        )
    except VoiceGatewayError:
        return {}  # `check` says by itself that the ledger cannot be read
    return models


def describe(found: Exposure) -> str:
    """One line for a person."""
    from ..money import dollars

    if found.nanos is None:
        return "unknown: the price of a model in use is unknown"
    return (
        f"{dollars(found.nanos)} with {found.calls} calls at once "
        f"({', '.join(found.models)}; answers of at most {found.answer_tokens} tokens)"
    )
