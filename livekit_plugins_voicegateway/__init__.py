"""VoiceGateway: projects, budgets and a ledger for the STT, LLM and TTS of LiveKit agents.

The public names are loaded when they are first asked for (PEP 562), so that the command line,
which needs no livekit-agents, does not pay for importing it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from . import inference as inference
    from .errors import (
        ConfigError as ConfigError,
    )
    from .errors import (
        LedgerError as LedgerError,
    )
    from .errors import (
        MissingCredentialsError as MissingCredentialsError,
    )
    from .errors import (
        ProviderNotInstalledError as ProviderNotInstalledError,
    )
    from .errors import (
        UnknownModelError as UnknownModelError,
    )
    from .errors import (
        UnknownProjectError as UnknownProjectError,
    )
    from .errors import (
        UnsetVariableError as UnsetVariableError,
    )
    from .errors import (
        VoiceGatewayError as VoiceGatewayError,
    )

_HOME = {
    "ConfigError": ".errors",
    "LedgerError": ".errors",
    "MissingCredentialsError": ".errors",
    "ProviderNotInstalledError": ".errors",
    "UnknownModelError": ".errors",
    "UnknownProjectError": ".errors",
    "UnsetVariableError": ".errors",
    "VoiceGatewayError": ".errors",
}

__all__ = ["__version__", "inference", *_HOME]


def __getattr__(name: str) -> Any:
    if name == "inference":
        return importlib.import_module(".inference", __name__)
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
