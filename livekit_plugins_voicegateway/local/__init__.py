"""Models that run on this machine: ``local/whisper-*`` and ``local/kokoro``.

`WhisperSTT` and `KokoroTTS` are LiveKit plugins like any other: the router builds them, the meter
wraps them. Importing this package loads no model and no library of a model. faster-whisper and
kokoro-onnx (the extra ``local``) are imported on an engine's own thread, when weights are loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .downloads import download as download
    from .kokoro import KokoroTTS as KokoroTTS
    from .weights import missing_weights as missing_weights
    from .whisper import WhisperSTT as WhisperSTT

_HOME = {
    "KokoroTTS": ".kokoro",
    "WhisperSTT": ".whisper",
    "download": ".downloads",
    "missing_weights": ".weights",
}

__all__ = ["KokoroTTS", "WhisperSTT", "download", "missing_weights"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
