"""The machine that tests run on: what it may lack, and how slow it may be.

A test that needs what is not there is skipped, or fails where it must run: CI sets
``VOICEGW_REQUIRE_MODELS=1`` and ``VOICEGW_REQUIRE_BROWSER=1``, so that nothing is left out there
without anybody noticing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NoReturn

import pytest

__all__ = ["MODELS", "PATIENCE", "without_browser", "without_models"]

MODELS: Final = Path(__file__).resolve().parents[2] / ".models"
"""Where the weights of local models are, if they are."""

PATIENCE: Final = 60.0
"""Seconds that a test waits for what must come. It comes in milliseconds, mostly; a machine that is
slow and busy may take a thousand times as long, and nothing is wrong with it."""


def without_models(missing: Iterable[str]) -> NoReturn:
    """Go no further with a test whose local models are not there.

    Args:
        missing: What is not there, a line each.
    """
    _go_no_further(f"{'; '.join(missing)}: run `make models`", "VOICEGW_REQUIRE_MODELS")


def without_browser() -> NoReturn:
    """Go no further with a test that needs a browser."""
    reason = "there is no Chromium on this machine: apt-get install chromium"
    _go_no_further(reason, "VOICEGW_REQUIRE_BROWSER")


def _go_no_further(reason: str, required_by: str) -> NoReturn:
    if os.environ.get(required_by) == "1":
        pytest.fail(reason)
    pytest.skip(reason)
