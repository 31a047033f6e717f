from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.usage_rows import NOON

from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger


class Clock:
    """Unix time that tests set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "voicegw.db"


@pytest.fixture
async def ledger(path: Path, clock: Clock) -> AsyncIterator[SqliteLedger]:
    async with SqliteLedger(path, clock=clock) as ledger:
        yield ledger
