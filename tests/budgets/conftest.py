"""Real local models for calls whose budget is spent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from one_ledger import Clock, OneLedger

from livekit_plugins_voicegateway.demo.local_models import LocalModels, find_local_models
from livekit_plugins_voicegateway.local.engines import close_engines

MODELS = Path(__file__).resolve().parents[2] / ".models"


@pytest.fixture
def local_models() -> Iterator[LocalModels]:
    """The local models of this checkout; the test is skipped, or fails, where there are none."""
    found = find_local_models(MODELS)
    if found.weights is None:
        reason = f"{'; '.join(found.left_out)}: run examples/models/setup_models.py"
        if os.environ.get("VOICEGW_REQUIRE_MODELS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    yield found
    close_engines()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger() -> OneLedger:
    return OneLedger()
