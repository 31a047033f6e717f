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
        InvalidQueryError as InvalidQueryError,
        LedgerError as LedgerError,
        MissingCredentialsError as MissingCredentialsError,
        NoProjectChosenError as NoProjectChosenError,
        NotManagedError as NotManagedError,
        OutboxError as OutboxError,
        ProjectExistsError as ProjectExistsError,
        ProviderNotInstalledError as ProviderNotInstalledError,
        RowsRefusedError as RowsRefusedError,
        SecretKeyError as SecretKeyError,
        UnknownCallError as UnknownCallError,
        UnknownModelError as UnknownModelError,
        UnknownProjectError as UnknownProjectError,
        UnpricedModelError as UnpricedModelError,
        UnsetVariableError as UnsetVariableError,
        VoiceGatewayError as VoiceGatewayError,
        WeightsDownloadError as WeightsDownloadError,
        WeightsMissingError as WeightsMissingError,
    )
    from .signals import (
        BudgetExceededError as BudgetExceededError,
        BudgetThrottleSignal as BudgetThrottleSignal,
    )

_HOME = {
    "BudgetExceededError": ".signals",
    "BudgetThrottleSignal": ".signals",
    "ConfigError": ".errors",
    "InvalidQueryError": ".errors",
    "LedgerError": ".errors",
    "MissingCredentialsError": ".errors",
    "NoProjectChosenError": ".errors",
    "NotManagedError": ".errors",
    "OutboxError": ".errors",
    "ProjectExistsError": ".errors",
    "ProviderNotInstalledError": ".errors",
    "RowsRefusedError": ".errors",
    "SecretKeyError": ".errors",
    "UnknownCallError": ".errors",
    "UnknownModelError": ".errors",
    "UnknownProjectError": ".errors",
    "UnpricedModelError": ".errors",
    "UnsetVariableError": ".errors",
    "VoiceGatewayError": ".errors",
    "WeightsDownloadError": ".errors",
    "WeightsMissingError": ".errors",
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
