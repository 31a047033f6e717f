from __future__ import annotations

from support.postgres import postgres_server

__all__ = ["postgres_server"]
