"""Parameters of a query that a route does not have, or that are given twice."""

from __future__ import annotations

from fastapi import Request

from ..errors import QueryProblem, did_you_mean

__all__ = ["wrong_parameters"]


def wrong_parameters(request: Request) -> list[QueryProblem]:
    """Name the parameters that a route does not have, and those that are given twice."""
    given = request.query_params.multi_items()
    if not given:
        return []
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    names = [name for name, _ in given]
    problems = []
    for name in dict.fromkeys(names):
        if name not in known:
            near = did_you_mean(name, known).rstrip(".")
            expected = f"one of the parameters {', '.join(known)}" if known else "no parameter"
            problems.append(QueryProblem(name[:60], "an unknown parameter", f"{expected}{near}"))
        elif names.count(name) > 1:
            problems.append(QueryProblem(name, f"{names.count(name)} values", "one"))
    return problems
