"""Bugs of our own, put into one function after the other.

`functions` finds what there is by looking at modules, so that what is added later is found too;
`injected` lets one of them raise as long as a ``with`` block lasts, wherever it is called from and
whoever holds a reference to it: its code is exchanged.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, Literal

__all__ = ["Injection", "Target", "calls", "functions", "injected"]

When = Literal["before", "after"]


@dataclass(frozen=True)
class Target:
    """A function of ours.

    Attributes:
        name: With module and class.
        function: The innermost one: what is decorated, not what decorates it.
    """

    name: str
    function: FunctionType


@dataclass
class Injection:
    """A bug while it is there.

    Attributes:
        error: The kind of exception: one of its own, which no handler can expect.
        strikes: How often it was raised.
    """

    error: type[RuntimeError]
    strikes: int = field(default=0)


def functions(*modules: ModuleType) -> list[Target]:
    """All functions, methods and properties that are defined in some modules."""
    found: dict[int, Target] = {}
    for module in modules:
        for name, member in vars(module).items():
            if inspect.isclass(member) and member.__module__ == module.__name__:
                for inner, value in vars(member).items():
                    _add(found, f"{_short(module)}.{name}.{inner}", value, module)
            else:
                _add(found, f"{_short(module)}.{name}", member, module)
    return sorted(found.values(), key=lambda target: target.name)


def _add(found: dict[int, Target], name: str, member: Any, module: ModuleType) -> None:
    if isinstance(member, (staticmethod, classmethod)):
        member = member.__func__
    elif isinstance(member, property):
        if member.fset is not None:
            _add(found, f"{name}.setter", member.fset, module)
        member = member.fget
    elif isinstance(member, cached_property):
        member = member.func
    member = inspect.unwrap(member) if callable(member) else member
    if not isinstance(member, FunctionType) or member.__module__ != module.__name__:
        return
    if member.__code__.co_filename != module.__file__:
        return  # made by a dataclass or a NamedTuple: there is nothing of ours in it
    if getattr(member, "__isabstractmethod__", False):
        return
    found.setdefault(id(member), Target(name, member))


def _short(module: ModuleType) -> str:
    return module.__name__.removeprefix("livekit_plugins_voicegateway.")


@contextmanager
def calls() -> Iterator[set[CodeType]]:
    """Collect the code that is called, on this thread and on those that begin meanwhile."""
    seen: set[CodeType] = set()

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            seen.add(frame.f_code)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield seen
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@contextmanager
def injected(target: Target, when: When) -> Iterator[Injection]:
    """Let a function raise, each time that it is called.

    Args:
        target: The function.
        when: ``before`` it has done anything, or ``after`` all that it does: the caller lacks what
            it returns, and its effects are there.
    """
    function = target.function
    # an exception type of its own for each, so that "said once" is said of each of them
    injection = Injection(type("InjectedError", (RuntimeError,), {}))
    original = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    original.__kwdefaults__ = function.__kwdefaults__

    def strike() -> None:
        injection.strikes += 1
        raise injection.error("injected")

    async def raise_later(*args: Any, **kwargs: Any) -> None:
        if when == "after":
            await original(*args, **kwargs)
        strike()

    def raise_now(*args: Any, **kwargs: Any) -> None:
        if when == "after":
            original(*args, **kwargs)
        strike()

    is_coroutine = inspect.iscoroutinefunction(function)
    name = f"__injection_{id(function)}__"
    template = _template(name, is_coroutine=is_coroutine)
    code, defaults = function.__code__, (function.__defaults__, function.__kwdefaults__)
    function.__globals__[name] = raise_later if is_coroutine else raise_now
    # arguments are handed on as they come: the original fills in what is left out
    function.__defaults__ = function.__kwdefaults__ = None
    function.__code__ = template.replace(co_freevars=code.co_freevars, co_name=code.co_name)
    try:
        yield injection
    finally:
        function.__code__ = code
        function.__defaults__, function.__kwdefaults__ = defaults


def _template(name: str, *, is_coroutine: bool) -> CodeType:
    scope: dict[str, Any] = {}
    keyword, wait = ("async ", "await ") if is_coroutine else ("", "")
    source = f"{keyword}def template(*args, **kwargs):\n    return {wait}{name}(*args, **kwargs)\n"
    exec(source, scope)
    made: Callable[..., Any] = scope["template"]
    return made.__code__
