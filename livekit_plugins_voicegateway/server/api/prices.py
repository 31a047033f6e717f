"""Prices: those that are known, and what something would cost."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from ...answers import PriceAnswer, PricesAnswer
from ...errors import InvalidQueryError, QueryProblem
from ...metering.usage import Quantities
from .answering import LARGEST_QUANTITY, Asked, number, text
from .schemas import problems, schema

__all__ = ["router"]

router = APIRouter(tags=["Prices"])

_WHOLE: Final = re.compile(r"[0-9]{1,15}")
_DECIMAL: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")


@router.get(
    "/prices",
    summary="All prices that are known, and where each comes from",
    response_model=schema(PricesAnswer),
    responses=problems(404, 422),
)
async def prices(
    asked: Asked,
    project: Annotated[
        str | None, text(), Query(description="Of projects' own prices only those of this one.")
    ] = None,
) -> Response:
    """The configuration's own, and our catalogue with the day that each price was read.

    LLM list prices come from genai-prices, which knows thousands: ask `/v1/price`.
    """
    return await asked.answer(asked.reports.prices(project))


@router.get(
    "/price",
    summary="What a request would cost today",
    response_model=schema(PriceAnswer),
    responses=problems(404, 422),
)
async def price(
    asked: Asked,
    model: Annotated[
        str,
        text("openai/gpt-4.1-mini"),
        Query(
            description="`provider/model`, with `:language` for STT and `:voice` for TTS where it "
            "matters."
        ),
    ],
    audio_seconds: Annotated[
        str, number("number"), Query(description="Audio sent to an STT.")
    ] = "0",
    connection_seconds: Annotated[
        str, number("number"), Query(description="How long an STT's connection is open.")
    ] = "0",
    channels: Annotated[
        str, number("integer", least=1), Query(description="Audio channels.")
    ] = "1",
    language: Annotated[
        str | None,
        text("multi"),
        Query(description="What an STT is to hear; goes before the one in `model`."),
    ] = None,
    input_tokens: Annotated[
        str, number("integer"), Query(description="Tokens of the prompt, cached ones included.")
    ] = "0",
    cached_input_tokens: Annotated[
        str, number("integer"), Query(description="Of those, from a cache.")
    ] = "0",
    output_tokens: Annotated[
        str, number("integer"), Query(description="Tokens of the completion.")
    ] = "0",
    characters: Annotated[str, number("integer"), Query(description="Characters to speak.")] = "0",
    project: Annotated[
        str | None, text("prod"), Query(description="At the prices of this project.")
    ] = None,
) -> Response:
    """An unknown price is unknown (`null`), never 0."""
    given = {
        "audio_seconds": audio_seconds,
        "connection_seconds": connection_seconds,
        "channels": channels,
        "input_tokens": input_tokens,
        "cached_input_tokens": cached_input_tokens,
        "output_tokens": output_tokens,
        "characters": characters,
    }

    async def ask() -> PriceAnswer:
        return await asked.reports.price(model, _quantities(given), project, language)

    return await asked.answer(ask())


def _quantities(given: Mapping[str, str]) -> Quantities:
    """Read the quantities, or name all that are none."""
    values: dict[str, Any] = {}
    wrong = []
    for name, written in given.items():
        seconds = name.endswith("_seconds")
        value = (
            _seconds(written) if seconds else _count(written, least=1 if name == "channels" else 0)
        )
        if value is None:
            expected = "a number of seconds from 0" if seconds else "a whole number from 0"
            if name == "channels":
                expected = "a whole number from 1"
            wrong.append(QueryProblem(name, _shown(written), f"{expected} to {LARGEST_QUANTITY}"))
        values[name] = value
    if not wrong and values["cached_input_tokens"] > values["input_tokens"]:
        expected = "no more than the input_tokens, of which these are the cached ones"
        wrong.append(QueryProblem("cached_input_tokens", given["cached_input_tokens"], expected))
    if wrong:
        raise InvalidQueryError(wrong)
    return Quantities(**values)


def _seconds(text: str) -> float | None:
    value = float(text) if _DECIMAL.fullmatch(text) else math.inf
    return value if value <= LARGEST_QUANTITY else None


def _count(text: str, *, least: int) -> int | None:
    value = int(text) if _WHOLE.fullmatch(text) else -1
    return value if least <= value <= LARGEST_QUANTITY else None


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:57]!r}…"
