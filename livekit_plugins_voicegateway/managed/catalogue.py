"""The configuration with the projects made at run time in it, as the ledger has them now.

The server and every running worker ask `ProjectCatalogue.refresh` about once a second; while
nothing changes that is one small query.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..config import Config
from ..projects import Project
from .vault import Vault

if TYPE_CHECKING:
    from ..ledger import Ledger
    from ..ledger.projects import ManagedRow

__all__ = ["ProjectCatalogue"]


class ProjectCatalogue:
    """Knows all projects: those of voicegw.yaml, and those made at run time.

    Args:
        config: The configuration as the file has it.
        ledger: Keeps the projects made at run time; open whenever `refresh` is called.
        env: Environment variables, ``VOICEGW_SECRET_KEY`` among them.
    """

    def __init__(
        self, config: Config, ledger: Ledger, *, env: Mapping[str, str] = os.environ
    ) -> None:
        self._file = config
        self._config = config
        self._ledger = ledger
        self._vault = Vault(env)
        self._version: int | None = None
        self._rows: dict[str, ManagedRow] = {}
        self._read: dict[str, tuple[Project | None, list[str]]] = {}
        self._notes: tuple[str, ...] = ()

    @property
    def config(self) -> Config:
        """The configuration with all projects, as of the last `refresh`.

        A project that has not changed is the same object as before.
        """
        return self._config

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know, as of the last `refresh`: projects whose provider keys cannot
        be opened here, that are not fit to be used, or that the file has too."""
        return self._notes

    async def refresh(self) -> bool:
        """Look whether a project was made, changed or deleted, and take it in.

        Returns:
            Whether anything is to be taken in since the last time.

        Raises:
            LedgerError: The ledger cannot be read; all stays as it was.
        """
        if await self._ledger.projects_version() == self._version:
            return False
        found = await self._ledger.managed_projects()
        if found.rows:
            # the reader of voicegw.yaml: a process without a file and without such projects has
            # no use for it
            from .fields import project_of
        read = {
            project_id: self._read[project_id]
            if self._rows.get(project_id) == row
            else project_of(row, self._vault, self._file.fallback)
            for project_id, row in found.rows.items()
        }
        notes = tuple(note for _, its_notes in read.values() for note in its_notes)
        notes += tuple(
            self._shadowed(project_id) for project_id in read if self._in_file(project_id)
        )
        projects = [project for project, _ in read.values() if project is not None]
        self._rows, self._read, self._notes = found.rows, read, notes
        self._config = self._file.with_projects(projects)
        self._version = found.version
        return True

    def _in_file(self, project_id: str) -> bool:
        return self._file.defines(project_id)

    def _shadowed(self, project_id: str) -> str:
        line = self._file.projects[project_id].line
        return (
            f"project {project_id!r} was made at run time, and is defined in {self._file.path} "
            f"line {line}, too: the file's definition holds"
        )
