"""A configuration file with given content, read as the gateway reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from livekit_plugins_voicegateway.config import Config, load_config

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write ``content`` to a voicegw.yaml and load it with ``env`` as the whole environment."""

    def load(content: str | bytes, env: Mapping[str, str] | None = None) -> Config:
        path = tmp_path / "voicegw.yaml"
        data = dedent(content).encode() if isinstance(content, str) else content
        path.write_bytes(data)
        return load_config(path, env=env or {})

    return load
