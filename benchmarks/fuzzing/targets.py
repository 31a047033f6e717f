"""All targets, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from . import commands, texts, wire
from .target import Target

__all__ = ["TARGETS"]

TARGETS: Final[Mapping[str, Target]] = {
    target.name: target for target in (*texts.TARGETS, *wire.TARGETS, *commands.TARGETS)
}
