"""Projects made at run time: kept in the ledger, beside those of voicegw.yaml.

`ProjectCatalogue` gives the configuration with both; the server and every worker have one.
`ProjectAdmin` makes, changes and deletes them for HTTP, dashboard, MCP and command line; it is
loaded when it is first asked for, as workers never do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..ledger.projects import Front
from .catalogue import ProjectCatalogue

if TYPE_CHECKING:
    from .admin import ChangeEntry, DeletionAnswer, ProjectAdmin, RotationAnswer

__all__ = [
    "ChangeEntry",
    "DeletionAnswer",
    "Front",
    "ProjectAdmin",
    "ProjectCatalogue",
    "RotationAnswer",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(".admin", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
