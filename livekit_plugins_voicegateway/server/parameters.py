"""Parameters of a query that a route does not have, or that are given twice."""

from __future__ import annotations

from typing import Final

from fastapi import Request

from ..errors import QueryProblem, did_you_mean

__all__ = ["wrong_parameters"]

_MOST_LOOKED_UP: Final = 20
"""Unknown parameters for which a known one is suggested."""


def wrong_parameters(request: Request) -> list[QueryProblem]:
    """Name the parameters that a route does not have, and those that are given twice."""
    given = request.query_params.multi_items()
    if not given:
        return []
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    names = [name for name, _ in given]
    problems: list[QueryProblem] = []
    for name in dict.fromkeys(names):
        if name not in known:
            # an address has room for tens of thousands of them
            near = did_you_mean(name, known).rstrip(".") if len(problems) < _MOST_LOOKED_UP else ""
            expected = f"one of the parameters {', '.join(known)}" if known else "no parameter"
            problems.append(QueryProblem(name[:60], "an unknown parameter", f"{expected}{near}"))
        elif names.count(name) > 1:
            problems.append(QueryProblem(name, f"{names.count(name)} values", "one"))
    return problems
