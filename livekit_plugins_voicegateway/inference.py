"""The drop-in: ``from voicegateway import inference`` instead of LiveKit's own.

``STT``, ``LLM`` and ``TTS`` take what ``livekit.agents.inference`` takes, and belong to a project.
Any other name of ``livekit.agents.inference`` (``VAD``, ``TurnDetector``, …) is LiveKit's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from livekit.agents import inference as _livekit_inference

from . import (
    plugin as _plugin,  # noqa: F401  (registers with livekit-agents)
    projects as _projects,
)
from .gateway import current_gateway
from .llm import LLM
from .stt import STT
from .tts import TTS

__all__ = [
    "LLM",
    "STT",
    "TTS",
    "check_budget",
    "get_project",
    "prewarm",
    "set_project",
    "use_project",
]


def set_project(project: str) -> None:
    """Choose the project for this async context and the tasks it starts from now on.

    Args:
        project: Id of a project.

    Raises:
        UnknownProjectError: There is no such project; names the known ones.
    """
    _projects.set_project(project, current_gateway().known_projects(project))


def get_project() -> str:
    """The id of the project that a request made now would belong to.

    Raises:
        UnknownProjectError: ``VOICEGW_PROJECT`` or ``default_project`` names none.
    """
    project: str = current_gateway().active_project(_projects.get_project()).id
    return project


@contextmanager
def use_project(project: str) -> Iterator[None]:
    """Choose a project for a ``with`` block; the previous choice comes back afterwards.

    Raises:
        UnknownProjectError: There is no such project; names the known ones.
    """
    with _projects.use_project(project, current_gateway().known_projects(project)):
        yield


def check_budget(project: str | None = None) -> None:
    """Raise what a request would raise now because of a spent budget, without making one.

    For an application that wants to choose by itself: play a message, use a cheaper model.

    Args:
        project: Id of a project; the active one when it is left out.

    Raises:
        BudgetExceededError: The budget is spent and the action is ``block``.
        BudgetThrottleSignal: The budget is spent and the action is ``throttle``.
        UnknownProjectError: There is no such project.
    """
    gateway = current_gateway()
    paid_by = gateway.active_project(project)
    if gateway.config.cost_tracking.enabled:
        gateway.admission.check(paid_by)


def prewarm(*models: str) -> None:
    """Get ready for a call: for a worker's ``setup_fnc``.

    Imports the plugins of the providers in voicegw.yaml, and loads the local models that take
    over when a budget is spent, in the background, so that the swap does not wait for weights.

    Args:
        *models: Local models to load as well, for a worker that uses them directly:
            ``"local/whisper-base"``, ``"local/kokoro"``.

    Raises:
        UnknownModelError: One of ``models`` is no local model.
    """
    current_gateway().prewarm(*models)


def __getattr__(name: str) -> Any:
    return getattr(_livekit_inference, name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_livekit_inference.__all__})
