"""``voicegw price`` and ``voicegw prices``: what something would cost, and why."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .asking import ask_prices
from .options import config_option, json_option
from .terminal import emit_json

if TYPE_CHECKING:
    from ..answers import PriceEntry, QuantitiesEntry

__all__ = ["price", "prices"]


_COUNT = click.IntRange(min=0)
_SECONDS = click.FloatRange(min=0)


def _finite(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter("it has to be a finite number of seconds")
    return value


@click.command()
@click.argument("model")
@click.option(
    "--audio-seconds",
    type=_SECONDS,
    default=0.0,
    metavar="N",
    callback=_finite,
    help="Audio sent to an STT.",
)
@click.option(
    "--connection-seconds",
    type=_SECONDS,
    default=0.0,
    metavar="N",
    callback=_finite,
    help="How long an STT's connection is open.",
)
@click.option(
    "--channels", type=click.IntRange(min=1), default=1, metavar="N", help="Audio channels."
)
@click.option(
    "--language", metavar="L", help="What an STT is to hear; goes before the one in MODEL."
)
@click.option(
    "--input-tokens",
    type=_COUNT,
    default=0,
    metavar="N",
    help="Tokens of the prompt, cached ones included.",
)
@click.option(
    "--cached-input-tokens", type=_COUNT, default=0, metavar="N", help="Of those, from a cache."
)
@click.option(
    "--output-tokens", type=_COUNT, default=0, metavar="N", help="Tokens of the completion."
)
@click.option("--characters", type=_COUNT, default=0, metavar="N", help="Characters to speak.")
@click.option("--project", metavar="ID", help="At the prices of this project.")
@config_option
@json_option
def price(
    model: str,
    audio_seconds: float,
    connection_seconds: float,
    channels: int,
    language: str | None,
    input_tokens: int,
    cached_input_tokens: int,
    output_tokens: int,
    characters: int,
    project: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Say what a request would cost today. An unknown price is unknown, never 0.

    MODEL is provider/model, with :language for STT and :voice for TTS where it matters.
    """
    from ..errors import UnknownModelError
    from ..metering.usage import Quantities

    if cached_input_tokens > input_tokens:
        raise click.BadParameter(
            "of the --input-tokens these are the cached ones, so there cannot be more of them",
            param_hint="'--cached-input-tokens'",
        )
    quantities = Quantities(
        audio_seconds=audio_seconds,
        connection_seconds=connection_seconds,
        channels=channels,
        input_tokens=input_tokens,
        cached_input_tokens=cached_input_tokens,
        output_tokens=output_tokens,
        characters=characters,
    )
    try:
        answer = ask_prices(
            config, lambda reports: reports.price(model, quantities, project, language)
        )
    except UnknownModelError as error:
        raise click.BadParameter(str(error), param_hint="'MODEL'") from None
    if as_json:
        emit_json(answer)
        return

    from .formats import exact_dollars
    from .tables import Cell, Page

    cost = answer["cost"]
    page = Page()
    page.line(Cell(answer["model"], "bold"), f"  {answer['modality']}")
    page.facts(
        [
            ("Cost", Cell(exact_dollars(cost), "bold" if cost is not None else "bold yellow")),
            ("Price", answer["price"] or "nobody knows one; put it under `pricing:`"),
            ("For", _asked(answer["quantities"])),
        ]
    )
    if answer["price"] is not None and cost is None:
        page.line()
        page.line(f"This is a price by {answer['basis']}: it has no rate for what is used here.")
    page.show()


@click.command()
@click.option("--project", metavar="ID", help="Of projects' own prices only those of this one.")
@config_option
@json_option
def prices(project: str | None, config: Path | None, as_json: bool) -> None:
    """List all known prices, and where each comes from.

    Your own stand first, then our catalogue with the day that each price was read. LLM list prices
    come from genai-prices, which knows thousands: ask `voicegw price MODEL`.
    """
    answer = ask_prices(config, lambda reports: reports.prices(project))
    if as_json:
        emit_json(answer)
        return

    from .tables import Cell, Column, Page

    page = Page()
    page.table(
        [
            Column("Model", "name"),
            Column("For", "word"),
            Column("Dollars"),
            Column("Source", "word", rank=1),
            Column("Holds", "word", rank=2),
            Column("Note", "word", rank=3, style="dim"),
            Column("Page", "word", rank=4, style="dim"),
        ],
        [
            [
                entry["model"],
                f"{entry['modality'] or ''} {entry['option'].removeprefix('add-on ')}".strip(),
                f"{'+' if entry['option'].startswith('add-on') else ''}{entry['rate']}",
                Cell(_source(entry), "" if entry["source"] == "catalogue" else "cyan"),
                _holds(entry),
                entry["note"],
                entry["url"] or "",
            ]
            for entry in answer["prices"]
        ],
    )
    page.line()
    page.line(Cell("LLM list prices come from genai-prices: `voicegw price MODEL`.", "dim"))
    page.show()


def _asked(quantities: QuantitiesEntry) -> str:
    """Say for what a price was asked."""
    from .formats import span, used

    parts = [used(quantities)]
    if connection := quantities["connection_seconds"]:
        parts.append(f"{span(connection)} connected")
    if (channels := quantities["channels"]) > 1:
        parts.append(f"{channels} channels")
    return ", ".join(filter(None, parts)) or "nothing: say how much; --help has the units"


def _source(entry: PriceEntry) -> str:
    if entry["project"]:
        return f"project {entry['project']}"
    return " ".join(filter(None, (entry["source"], entry["as_of"])))


def _holds(entry: PriceEntry) -> str:
    first, last = entry["valid_from"], entry["valid_until"]
    if first and last:
        return f"{first} to {last}"
    return f"from {first}" if first else f"until {last}" if last else ""
