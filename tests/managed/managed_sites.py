"""A configuration file, its ledger, and what changes projects in it: a server's side of things."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.ledger import Ledger, make_ledger
from livekit_plugins_voicegateway.managed import ProjectAdmin, ProjectCatalogue

FILE = """
projects:
  prod: {daily_budget: 5, description: of the file}
providers:
  openai: {api_key: "${OPERATORS_KEY}"}
"""


class Clock:
    """Unix time that tests set."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.25

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    """What a server has open."""

    path: Path
    env: dict[str, str]
    clock: Clock
    ledger: Ledger
    catalogue: ProjectCatalogue
    admin: ProjectAdmin

    @property
    def database(self) -> Path:
        return self.path.with_name("voicegw.db")


def new_key() -> str:
    return Fernet.generate_key().decode()


@asynccontextmanager
async def open_site(
    folder: Path, text: str = FILE, *, env: dict[str, str] | None = None
) -> AsyncIterator[Site]:
    """Open what a server has open, on ``voicegw.yaml`` in ``folder``."""
    path = folder / "voicegw.yaml"
    path.write_text(f"database: {{url: 'sqlite:///{folder}/voicegw.db'}}\n{text}")
    env = {"VOICEGW_SECRET_KEY": new_key()} if env is None else env
    config = load_config(path, env=env)
    clock = Clock()
    async with make_ledger(config.database_url, clock=clock) as ledger:
        catalogue = ProjectCatalogue(config, ledger, env=env)
        await catalogue.refresh()
        admin = ProjectAdmin(catalogue, ledger, env=env, clock=clock)
        yield Site(path, env, clock, ledger, catalogue, admin)
