"""Projects made at run time: kept in the ledger, beside those of voicegw.yaml.

`ProjectCatalogue` gives the configuration with both; the server and every worker have one.
`ProjectAdmin` makes, changes and deletes them for HTTP, dashboard, MCP and command line.
"""

from __future__ import annotations

from ..ledger.projects import Front
from .admin import ChangeEntry, DeletionAnswer, ProjectAdmin, RotationAnswer
from .catalogue import ProjectCatalogue

__all__ = [
    "ChangeEntry",
    "DeletionAnswer",
    "Front",
    "ProjectAdmin",
    "ProjectCatalogue",
    "RotationAnswer",
]
