"""The form that makes and changes a project: what was typed, and what is wrong with it.

Provider keys go in and never come out: a form that is shown again has them empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from starlette.datastructures import FormData

from ...errors import QueryProblem
from ...managed.fields import is_provider_name
from ...projects import Project

__all__ = ["KEY_ROWS", "ProjectForm"]

KEY_ROWS: Final = 3
"""Provider keys that can be given at once."""

_SHOWN: Final = frozenset(
    {"project_id", "name", "description", "daily_budget", "budget_action", "tags", "providers"}
)


@dataclass(frozen=True, slots=True)
class ProjectForm:
    """What the form shows.

    Attributes:
        project_id: As typed, or as it is.
        exists: Whether it changes a project; then the id stays.
        name: As typed.
        description: As typed.
        daily_budget: As typed; empty for no limit.
        budget_action: ``warn``, ``throttle`` or ``block``.
        tags: As typed, with commas between them.
        providers: Providers that the project has keys of its own for.
        dropped: Those of them that are to be taken away.
        keys: Provider and key as typed; keys are never shown.
        problems: What is wrong, by field; those of no field under the empty text.
    """

    project_id: str = ""
    exists: bool = False
    name: str = ""
    description: str = ""
    daily_budget: str = ""
    budget_action: str = "warn"
    tags: str = ""
    providers: tuple[str, ...] = ()
    dropped: frozenset[str] = frozenset()
    keys: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    problems: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> ProjectForm:
        """Return a form to make a project with."""
        return cls()

    @classmethod
    def of(cls, project: Project) -> ProjectForm:
        """Return a form to change a project with."""
        return cls(
            project_id=project.id,
            exists=True,
            name="" if project.name == project.id else project.name,
            description=project.description,
            daily_budget="" if project.daily_budget is None else _amount(project.daily_budget),
            budget_action=project.budget_action,
            tags=", ".join(project.tags),
            providers=tuple(sorted(project.providers)),
        )

    @classmethod
    def read(cls, form: FormData, project_id: str | None = None) -> ProjectForm:
        """Read what a browser has sent.

        Args:
            form: The fields.
            project_id: The project that is to be changed; None to make one.
        """

        def text(name: str) -> str:
            value = form.get(name, "")
            return value.strip() if isinstance(value, str) else ""

        def texts(name: str) -> list[str]:
            return [value for value in form.getlist(name) if isinstance(value, str)]

        return cls(
            project_id=text("project_id") if project_id is None else project_id,
            exists=project_id is not None,
            name=text("name"),
            description=text("description").replace("\r\n", "\n"),
            daily_budget=text("daily_budget"),
            budget_action=text("budget_action") or "warn",
            tags=text("tags"),
            providers=tuple(texts("has_provider")),
            dropped=frozenset(texts("drop_provider")),
            keys=tuple(
                (text(f"provider_{row}"), text(f"key_{row}"))
                for row in range(KEY_ROWS)
                if text(f"provider_{row}") or text(f"key_{row}")
            ),
        )

    @property
    def rows(self) -> list[tuple[int, str]]:
        """The rows for keys: their number and the provider that was typed."""
        # what is none may be a key in the wrong place
        typed = [provider if is_provider_name(provider) else "" for provider, _ in self.keys]
        return list(enumerate([*typed, *[""] * (KEY_ROWS - len(typed))]))

    @property
    def is_faulty(self) -> bool:
        """Whether there is anything wrong."""
        return bool(self.problems)

    def fields(self, *, new: bool) -> dict[str, object]:
        """Return the fields as `ProjectAdmin` takes them.

        Args:
            new: Whether they make a project.
        """
        fields: dict[str, object] = {
            "name": self.name or None,
            "description": self.description or None,
            "daily_budget": self.daily_budget or None,
            "budget_action": self.budget_action,
            "tags": [tag for part in self.tags.split(",") if (tag := part.strip())],
        }
        if new:
            fields["project_id"] = self.project_id or None
        providers: dict[str, object] = {} if new else dict.fromkeys(sorted(self.dropped))
        # a row without a provider or without a key is an error that the fields' reader explains
        providers |= {provider: {"api_key": key} for provider, key in self.keys}
        if providers:
            fields["providers"] = providers
        return fields

    def with_problems(self, problems: Iterable[QueryProblem]) -> ProjectForm:
        """Return the form as it is shown again, with what is wrong."""
        by_field: dict[str, list[str]] = {}
        for problem in problems:
            path = problem.field
            name = path.partition(".")[0].partition("[")[0]
            shown = name if name in _SHOWN else ""
            where = "" if shown == path else f"{path}: "
            text = f"found {problem.found}; expected {problem.expected}."
            by_field.setdefault(shown, []).append(where + text if where else _sentence(text))
        return replace(self, problems=by_field)

    def with_refusal(self, reason: str) -> ProjectForm:
        """Return the form as it is shown again, with why it was not taken."""
        return replace(self, problems={"": [_sentence(reason)]})


def _amount(budget: Decimal) -> str:
    """Write dollars with cents, and whatever is smaller if there is."""
    shown = f"{budget:f}"
    return shown if budget != round(budget, 2) else f"{budget:.2f}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
