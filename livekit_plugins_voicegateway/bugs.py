"""Our own bugs: none of them reaches a call.

Whatever meters a request, asks a budget for it or traces it is guarded where the call meets it: an
exception is logged, with its traceback and what to do about it, and the call goes on as if there
were no gateway. The request's row says that its metering failed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from .concealing import conceal
from .log import logger

__all__ = ["FAULT", "fault_of", "never_raises", "report_bug"]

P = ParamSpec("P")
R = TypeVar("R")
D = TypeVar("D")

FAULT = "metering failed"
"""How the error of a row begins whose numbers may be too low because of a bug of ours."""

_reported: set[tuple[str, type[BaseException], int]] = set()


def report_bug(doing: str, error: BaseException) -> None:
    """Log a bug: once for each exception at each place, for it may come with each frame of audio.

    Args:
        doing: What could not be done: ``begin to meter a completion``.
        error: What was raised.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    kind = (doing, type(error), trace.tb_lineno if trace is not None else 0)
    if kind in _reported:
        return
    _reported.add(kind)
    conceal(error)
    logger.error(
        "VoiceGateway could not %s; the call goes on. Please report this with the traceback.",
        doing,
        exc_info=error,
    )


def fault_of(error: BaseException) -> str:
    """What a row says of a bug: the exception's type, for its text may quote anything."""
    return f"{FAULT}: {type(error).__name__}"


def never_raises(doing: str, otherwise: D) -> Callable[[Callable[P, R]], Callable[P, R | D]]:
    """Let a function return ``otherwise`` where it would raise, and report that.

    Args:
        doing: What it does; see `report_bug`.
        otherwise: What it returns then.
    """

    def guard(function: Callable[P, R]) -> Callable[P, R | D]:
        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R | D:
            try:
                return function(*args, **kwargs)
            except Exception as e:
                report_bug(doing, e)
                return otherwise

        return guarded

    return guard
