"""Real local models for calls whose budget is spent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from one_ledger import Clock, OneLedger
from support.machine import MODELS, without_models

from livekit_plugins_voicegateway.demo.local_models import LocalModels, find_local_models
from livekit_plugins_voicegateway.local.engines import close_engines


@pytest.fixture
def local_models() -> Iterator[LocalModels]:
    """The local models of this checkout; the test is skipped, or fails, where there are none."""
    found = find_local_models(MODELS)
    if found.weights is None:
        without_models(found.left_out)
    yield found
    close_engines()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger() -> OneLedger:
    return OneLedger()
