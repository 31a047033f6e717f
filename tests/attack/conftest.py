"""What attacks are tried on: a server in this process, with a ledger in which some calls stand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fuzzing.stage import Server, site

from livekit_plugins_voicegateway.config import Config


@pytest.fixture(scope="module")
def config() -> Iterator[Config]:
    with site() as config:
        yield config


@pytest.fixture(scope="module")
def open_app(config: Config) -> Iterator[Server]:
    """A server without a token."""
    with Server(config, token=False) as server:
        yield server


@pytest.fixture(scope="module")
def token_app(config: Config) -> Iterator[Server]:
    """A server with a token."""
    with Server(config, token=True) as server:
        yield server
