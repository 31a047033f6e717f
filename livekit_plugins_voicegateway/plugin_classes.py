"""The classes of the installed LiveKit plugins, and of our own local models.

Found by name and read by signature: any plugin that is installed serves, whether or not
`providers` knows it. Imports a plugin when it is first asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from .errors import did_you_mean
from .metering.usage import Modality
from .providers import CLASS_NAMES, LOCAL_OPTIONS, MODEL_CLASSES, OPENAI_CONSTRUCTORS

__all__ = [
    "accepted_by",
    "argument_meant",
    "constructors",
    "import_plugin",
    "installed",
    "installed_plugins",
    "parameters",
]


def installed(provider: str) -> bool:
    """Whether ``livekit.plugins.<provider>`` can be imported."""
    if not provider.isidentifier():
        return False
    return importlib.util.find_spec(f"livekit.plugins.{provider}") is not None


def installed_plugins() -> frozenset[str]:
    """Names of all plugins that can be imported, without our own."""
    namespace = importlib.import_module("livekit.plugins")
    names = {module.name for module in pkgutil.iter_modules(namespace.__path__)}
    return frozenset(names - {"voicegateway"})


def constructors(
    modality: Modality, provider: str, model: str | None = None
) -> Iterator[Callable[..., Any]]:
    """The constructors of a provider's classes; for one model, the one that serves it."""
    if provider in LOCAL_OPTIONS:
        yield from _local_constructors(modality, provider, model)
        return
    plugin = import_plugin(provider)
    special = MODEL_CLASSES.get((provider, modality), ())
    if plugin is not None:
        for prefix, name in special:
            if (model is None or model.startswith(prefix)) and hasattr(plugin, name):
                yield getattr(plugin, name)
        if hasattr(plugin, CLASS_NAMES[modality]):
            yield getattr(plugin, CLASS_NAMES[modality])
            return
    if modality == "llm" and provider in OPENAI_CONSTRUCTORS:
        openai = import_plugin("openai")
        if openai is not None:
            yield getattr(openai.LLM, OPENAI_CONSTRUCTORS[provider])


def parameters(construct: Callable[..., Any]) -> frozenset[str]:
    """Names of the arguments that a function takes."""
    return frozenset(
        name
        for name, parameter in inspect.signature(construct).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and not name.startswith("_")
    )


def accepted_by(constructs: Iterable[Callable[..., Any]]) -> frozenset[str]:
    """Names of the arguments that one or another of some functions takes."""
    return frozenset().union(*map(parameters, constructs))


def argument_meant(name: str, constructs: Sequence[Callable[..., Any]]) -> str:
    """What to write for an option that none of some classes takes; they have up to fifty."""
    near = did_you_mean(name, accepted_by(constructs)).rstrip(".")
    names = sorted({name_of(construct) for construct in constructs})
    shown = "" if near else f"; `python -m pydoc {names[0]}` describes them"
    return f"an argument of {' or '.join(names)}{near or shown}"


def name_of(construct: Callable[..., Any]) -> str:
    """The name by which a user imports a class and Python's help finds it."""
    package, _, _ = construct.__module__.rpartition(".")
    outermost, _, _ = construct.__qualname__.partition(".")
    public = hasattr(sys.modules.get(package), outermost)
    return f"{package if public else construct.__module__}.{construct.__qualname__}"


def import_plugin(provider: str) -> Any:
    """Import ``livekit.plugins.<provider>``; None when it is not installed."""
    if not installed(provider):
        return None
    with _registration_from_any_thread():
        return importlib.import_module(f"livekit.plugins.{provider}")


def _local_constructors(
    modality: Modality, provider: str, model: str | None
) -> Iterator[Callable[..., Any]]:
    """Our own classes for models that run on this machine."""
    from . import local

    if modality == "stt" and provider != "kokoro":
        if model is None or model.startswith("whisper-"):
            yield local.WhisperSTT
    elif modality == "tts" and provider != "whisper" and (model is None or model == "kokoro"):
        yield local.KokoroTTS


_registering = threading.Lock()


@contextlib.contextmanager
def _registration_from_any_thread() -> Iterator[None]:
    """Let a plugin that is imported now register itself, also in a job that is a thread.

    A plugin registers when it is imported, and ``Plugin.register_plugin`` refuses that anywhere but
    on the main thread (``plugin.py``). LiveKit's console, and a worker on Windows, run jobs in
    threads, and ours is the first to import the plugin there.
    """
    if threading.current_thread() is threading.main_thread():
        yield
        return
    from livekit.agents import Plugin

    def register(cls: type[Plugin], plugin: Plugin) -> None:
        cls.registered_plugins.append(plugin)
        cls.emitter.emit("plugin_registered", plugin)

    with _registering:
        checked = Plugin.__dict__["register_plugin"]
        Plugin.register_plugin = classmethod(register)  # type: ignore[assignment, method-assign]
        try:
            yield
        finally:
            Plugin.register_plugin = checked  # type: ignore[method-assign]
