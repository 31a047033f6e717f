"""Makes, changes and deletes projects at run time, and says who did: the one place for all fronts.

Everything is decided on what the ledger has at that moment, and written only if it still is so; two
changes at once come one after the other, and each keeps what the other has changed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypedDict

from ..answers import dollars
from ..errors import (
    InvalidQueryError,
    LedgerError,
    NotManagedError,
    ProjectExistsError,
    QueryProblem,
    SecretKeyError,
    UnknownProjectError,
)
from ..ledger.projects import ChangeAction, Front, ManagedRow, ManagedRows, ProjectChange
from ..projects import Project
from ..times import to_iso
from .catalogue import ProjectCatalogue
from .fields import names_of, read_fields, row_fields, stored_names
from .vault import Options, Vault

if TYPE_CHECKING:
    from ..ledger import Ledger

__all__ = ["ChangeEntry", "DeletionAnswer", "ProjectAdmin", "RotationAnswer"]

_TRIES: Final = 100
"""How often a change is decided anew because somebody else's came first."""

_MOST_CHANGES: Final = 1_000
_LONGEST_WHO: Final = 200


class DeletionAnswer(TypedDict):
    """What goes when a project is deleted, and what stays.

    ``provider_keys`` has the names of the options that go, by provider. ``requests`` and ``cost``
    are those of all time, and stay in the ledger. ``live_requests`` run now; they go on under the
    project's last definition.
    """

    project_id: str
    name: str
    daily_budget: float | None
    budget_action: str
    provider_keys: dict[str, list[str]]
    requests: int
    unpriced_requests: int
    cost: float | None
    live_requests: int


class ChangeEntry(TypedDict):
    """One line of the audit log; providers by the names of their options, without any value."""

    id: int
    at: str
    front: Front
    who: str | None
    action: ChangeAction
    project_id: str
    fields: list[str]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class RotationAnswer(TypedDict):
    """Which projects' keys were sealed anew, were so already, or could not be opened: why."""

    resealed: list[str]
    current: list[str]
    unreadable: dict[str, str]


class ProjectAdmin:
    """Changes projects at run time.

    Args:
        catalogue: Knows the configuration file's projects; is refreshed after each change.
        ledger: Keeps the projects; open, for writing.
        env: Environment variables, ``VOICEGW_SECRET_KEY`` among them.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        catalogue: ProjectCatalogue,
        ledger: Ledger,
        *,
        env: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalogue = catalogue
        self._ledger = ledger
        self._vault = Vault(env)
        self._clock = clock

    async def create(
        self, fields: Mapping[str, object], *, front: Front, who: str | None = None
    ) -> Project:
        """Make a project.

        Args:
            fields: ``project_id``, and any of `fields.FIELDS` as in voicegw.yaml; None is the same
                as leaving a field out. A ``daily_budget`` may be a number or a decimal text.
            front: From where.
            who: By whom, if that is known.

        Raises:
            InvalidQueryError: Fields are wrong: all of them.
            ProjectExistsError: There is one with this id.
            SecretKeyError: It has provider keys, and they cannot be sealed.
            LedgerError: The ledger cannot be written.
        """
        values = read_fields(fields, new=True, fallback=self._catalogue.config.fallback)
        project_id = str(fields["project_id"])
        if self._catalogue.config.defines(project_id):
            raise ProjectExistsError(project_id, self._place(project_id))
        now = to_iso(self._clock())
        new = ManagedRow(project_id, project_id, "", None, "warn", "[]", now, now)
        new = self._changed(new, values, now)

        def decide(found: ManagedRows) -> tuple[ManagedRow | None, ProjectChange]:
            if project_id in found.rows:
                raise ProjectExistsError(project_id)
            return new, self._change("created", None, new, sorted(_given(values)), front, who)

        await self._write(decide)
        return self._catalogue.config.project(project_id)

    async def update(
        self,
        project_id: str,
        changes: Mapping[str, object],
        *,
        front: Front,
        who: str | None = None,
    ) -> Project:
        """Change a project; fields that are not named stay as they are.

        Args:
            project_id: Which.
            changes: Fields as in `create`; None takes a field back to what there is without it. A
                field is replaced as a whole, but of ``providers`` only the named ones: each with
                all of its options, or None to take it away.
            front: From where.
            who: By whom, if that is known.

        Raises:
            UnknownProjectError: There is no such project.
            NotManagedError: It stands in voicegw.yaml.
            InvalidQueryError: Fields are wrong: all of them.
            SecretKeyError: Provider keys are to change, and cannot be sealed, or the others of the
                project not opened.
            LedgerError: The ledger cannot be written.
        """
        self._check_not_in_file(project_id)
        values = read_fields(changes, new=False, fallback=self._catalogue.config.fallback)

        def decide(found: ManagedRows) -> tuple[ManagedRow | None, ProjectChange] | None:
            old = self._row(found, project_id)
            new = self._changed(old, values, old.updated_at)
            names = self._names_of_changes(old, new)
            if not names:
                return None
            new = replace(new, updated_at=to_iso(self._clock()))
            return new, self._change("changed", old, new, names, front, who)

        await self._write(decide)
        return self._catalogue.config.project(project_id)

    async def delete(
        self, project_id: str, *, front: Front, who: str | None = None
    ) -> DeletionAnswer:
        """Delete a project; what it has used stays in the ledger, and calls that run go on.

        Args:
            project_id: Which.
            front: From where.
            who: By whom, if that is known.

        Returns:
            What is gone.

        Raises:
            UnknownProjectError: There is no such project.
            NotManagedError: It stands in voicegw.yaml.
            LedgerError: The ledger cannot be written.
        """
        answer = await self.would_delete(project_id)

        def decide(found: ManagedRows) -> tuple[ManagedRow | None, ProjectChange]:
            old = self._row(found, project_id)
            return None, self._change("deleted", old, None, [], front, who)

        await self._write(decide)
        return answer

    async def would_delete(self, project_id: str) -> DeletionAnswer:
        """Say what `delete` would do, and do nothing.

        Raises:
            UnknownProjectError: There is no such project.
            NotManagedError: It stands in voicegw.yaml.
            LedgerError: The ledger cannot be read.
        """
        self._check_not_in_file(project_id)
        row = self._row(await self._ledger.managed_projects(), project_id)
        lines = await self._ledger.costs("0001-01-01", "9999-12-31", project_id)
        totals = next((line.totals for line in lines if line.grouping == "project"), None)
        cost = totals.cost_nanos if totals is not None else 0
        return {
            "project_id": project_id,
            "name": row.name,
            "daily_budget": None if row.daily_budget is None else float(row.daily_budget),
            "budget_action": row.budget_action,
            "provider_keys": stored_names(row),
            "requests": totals.requests if totals is not None else 0,
            "unpriced_requests": totals.unpriced_requests if totals is not None else 0,
            "cost": None if cost is None else dollars(cost),
            "live_requests": await self._ledger.open_requests(project_id),
        }

    async def changes(self, limit: int = 100, project: str | None = None) -> list[ChangeEntry]:
        """Return the audit log, newest first.

        Args:
            limit: How many changes at most, 1 to 1000.
            project: Only those of this project; it need not exist any more.

        Raises:
            InvalidQueryError: The limit is no such number.
            LedgerError: The ledger cannot be read.
        """
        if not isinstance(limit, int) or not 1 <= limit <= _MOST_CHANGES:
            expected = f"a whole number from 1 to {_MOST_CHANGES}"
            raise InvalidQueryError([QueryProblem("limit", str(limit)[:60], expected)])
        found = await self._ledger.project_changes(project, limit=limit)
        return [
            {
                "id": change.id,
                "at": change.at,
                "front": change.front,
                "who": change.who,
                "action": change.action,
                "project_id": change.project_id,
                "fields": json.loads(change.fields),
                "before": None if change.before is None else json.loads(change.before),
                "after": None if change.after is None else json.loads(change.after),
            }
            for change in found
        ]

    async def rotate_keys(self, *, front: Front, who: str | None = None) -> RotationAnswer:
        """Seal all provider keys with the first key of ``VOICEGW_SECRET_KEY``.

        Those that none of its keys opens are left as they are, and named.

        Raises:
            SecretKeyError: The variable is not set, or wrong.
            LedgerError: The ledger cannot be written.
        """
        self._vault.check()
        answer: RotationAnswer = {"resealed": [], "current": [], "unreadable": {}}
        for project_id in (await self._ledger.managed_projects()).rows:
            await self._write(self._resealing(project_id, answer, front, who))
        return answer

    def _resealing(
        self, project_id: str, answer: RotationAnswer, front: Front, who: str | None
    ) -> Callable[[ManagedRows], tuple[ManagedRow | None, ProjectChange] | None]:
        def decide(found: ManagedRows) -> tuple[ManagedRow | None, ProjectChange] | None:
            old = found.rows.get(project_id)
            if old is None or old.providers is None:
                return None
            if self._vault.is_current(old.providers):
                if project_id not in answer["resealed"]:
                    answer["current"].append(project_id)
                return None
            try:
                providers = self._vault.open(project_id, old.providers)
            except SecretKeyError as error:
                answer["unreadable"][project_id] = str(error)
                return None
            new = replace(old, providers=self._vault.seal(project_id, providers))
            if project_id not in answer["resealed"]:
                answer["resealed"].append(project_id)
            return new, self._change("changed", old, new, ["secret_key"], front, who)

        return decide

    async def _write(
        self, decide: Callable[[ManagedRows], tuple[ManagedRow | None, ProjectChange] | None]
    ) -> None:
        """Write what is decided on what there is, again if somebody came first."""
        for _ in range(_TRIES):
            found = await self._ledger.managed_projects()
            decided = decide(found)
            if decided is None:
                break
            row, change = decided
            if await self._ledger.write_project(row, change, version=found.version):
                break
        else:
            raise LedgerError(
                f"the project was not written: {_TRIES} times another change came first; try again"
            )
        await self._catalogue.refresh()

    def _changed(self, row: ManagedRow, values: Mapping[str, object], now: str) -> ManagedRow:
        """Return a row with other values."""
        fields: dict[str, Any] = {}
        for name, value in values.items():
            if name == "name":
                fields[name] = value or row.project_id
            elif name == "description":
                fields[name] = value or ""
            elif name == "budget_action":
                fields[name] = value or "warn"
            elif name == "tags":
                fields[name] = json.dumps(value or [], ensure_ascii=False)
            elif name in ("fallback", "pricing"):
                fields[name] = json.dumps(value, ensure_ascii=False) if value else None
            elif name == "daily_budget":
                fields[name] = value
        if "providers" in values:
            fields |= self._sealed(row, values["providers"])
        return replace(row, updated_at=now, **fields)

    def _sealed(self, row: ManagedRow, changes: Any) -> dict[str, str | None]:
        """Return the columns of a row's providers after some of them have changed."""
        names = stored_names(row)
        providers: Options = {}
        if changes is not None and names.keys() - changes.keys():
            assert row.providers is not None
            providers = self._vault.open(row.project_id, row.providers)
        elif changes is not None and row.providers is not None:
            # all of them are replaced: what cannot be opened is no loss
            try:
                providers = self._vault.open(row.project_id, row.providers)
            except SecretKeyError:
                providers = {}
        before = dict(providers)
        for provider, options in (changes or {}).items():
            if options is None:
                providers.pop(provider, None)
            else:
                providers[provider] = options
        if not providers:
            return {"providers": None, "provider_options": None}
        if providers == before and row.providers is not None:
            return {}
        return {
            "providers": self._vault.seal(row.project_id, providers),
            "provider_options": json.dumps(names_of(providers)),
        }

    def _names_of_changes(self, old: ManagedRow, new: ManagedRow) -> list[str]:
        before, after = row_fields(old), row_fields(new)
        names = [name for name, value in after.items() if value != before[name]]
        if old.providers == new.providers:
            return names
        options: list[Options] = []
        for row in (old, new):
            try:
                sealed = row.providers
                options.append({} if sealed is None else self._vault.open(row.project_id, sealed))
            except SecretKeyError:
                options.append({})
        gone = stored_names(old).keys() - stored_names(new).keys()
        changed = {name for name, its in options[1].items() if options[0].get(name) != its}
        return names + [f"providers.{name}" for name in sorted(gone | changed)]

    def _change(
        self,
        action: ChangeAction,
        old: ManagedRow | None,
        new: ManagedRow | None,
        names: list[str],
        front: Front,
        who: str | None,
    ) -> ProjectChange:
        row = new if new is not None else old
        assert row is not None
        return ProjectChange(
            at=to_iso(self._clock()),
            front=front,
            who=None if who is None else who[:_LONGEST_WHO].encode("utf-8", "replace").decode(),
            action=action,
            project_id=row.project_id,
            fields=json.dumps(names),
            before=_shown(old),
            after=_shown(new),
        )

    def _row(self, found: ManagedRows, project_id: str) -> ManagedRow:
        row = found.rows.get(project_id)
        if row is None:
            if project_id in self._catalogue.config.projects:
                project = self._catalogue.config.projects[project_id]
                if project.source == "yaml":
                    raise NotManagedError(project_id)
            known = self._catalogue.config.projects.keys() - {project_id} | found.rows.keys()
            raise UnknownProjectError(project_id, known)
        return row

    def _check_not_in_file(self, project_id: str) -> None:
        if self._catalogue.config.defines(project_id):
            raise NotManagedError(project_id, self._place(project_id))

    def _place(self, project_id: str) -> str:
        config = self._catalogue.config
        return f"{config.path} line {config.projects[project_id].line}"


def _given(values: Mapping[str, object]) -> list[str]:
    providers = values.get("providers")
    names = [name for name, value in values.items() if value is not None and name != "providers"]
    if isinstance(providers, Mapping):
        names += [f"providers.{provider}" for provider in providers]
    return names


def _shown(row: ManagedRow | None) -> str | None:
    """Return a project as the audit log keeps it: no key, no option's value."""
    if row is None:
        return None
    fields = row_fields(row)
    if isinstance(budget := fields["daily_budget"], Decimal):
        fields["daily_budget"] = float(budget)
    return json.dumps({**fields, "providers": stored_names(row)}, ensure_ascii=False)
