"""What holds keys, and shows none: in a traceback with its variables, a pickle, or an error's text.

Tools that show tracebacks show the variables of each frame, and read dicts and data classes through
and through. So the environment and the arguments of plugins are handed around in mappings that are
neither. And a provider that refuses a key may quote it in its answer, which then stands in the
text of an exception: `conceal` takes it out before anybody has logged, traced or told it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Final, NoReturn, TypeVar

__all__ = ["Arguments", "Environment", "HoldsKeys", "conceal", "environment", "note_keys"]

V = TypeVar("V")

_SHORTEST: Final = 6
"""Characters of a key that is looked for in texts: shorter ones would be found in any word."""

_HIDDEN: Final = "[key]"

_DEEPEST: Final = 8
"""How deep an error's parts are looked through."""

# every key that a plugin of this process was made with, the longest first
_keys: tuple[str, ...] = ()


class HoldsKeys:
    """Base of values that hold keys: they can be copied, being constant, and not pickled."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds keys, and is not pickled")

    def __copy__(self: V) -> V:
        return self

    def __deepcopy__(self: V, memo: object) -> V:
        return self


class Environment(HoldsKeys, Mapping[str, str]):
    """Environment variables, whose values are not shown.

    Args:
        variables: Names and values; read anew each time.
    """

    __slots__ = ("_variables",)

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> str:
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __repr__(self) -> str:
        return f"<Environment of {len(self)} variables>"


class Arguments(HoldsKeys, MutableMapping[str, Any]):
    """Arguments of a plugin's constructor, whose values are not shown."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Arguments {', '.join(self._values) or 'none'}>"


def environment(variables: Mapping[str, str]) -> Environment:
    """Return environment variables as a mapping that does not show them."""
    return variables if isinstance(variables, Environment) else Environment(variables)


def note_keys(keys: Iterable[object]) -> None:
    """Remember keys that plugins are made with, for `conceal`."""
    global _keys
    new = {key for key in keys if isinstance(key, str) and len(key) >= _SHORTEST}
    if not new.issubset(_keys):
        # another one, and not more in the same: other threads may be looking through it
        _keys = tuple(sorted({*_keys, *new}, key=len, reverse=True))


def conceal(error: BaseException) -> None:
    """Take every key out of what an error, and all that it came from, says of itself.

    An error without one is left as it is. Never raises.

    Args:
        error: What was raised.
    """
    if not _keys:
        return
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        waiting += [found.__cause__, found.__context__]
        if isinstance(found, BaseExceptionGroup):
            waiting += found.exceptions
        try:
            _conceal_in(found)
        except Exception:  # noqa: S112  # of a class that cannot be changed
            continue


def _conceal_in(error: BaseException) -> None:
    shown = _without_keys(error.args, 0)
    if shown is not error.args:
        error.args = shown
    notes: dict[str, object] = getattr(error, "__dict__", {})
    for name, value in list(notes.items()):
        shown = _without_keys(value, 0)
        if shown is not value:
            setattr(error, name, shown)


def _without_keys(value: Any, depth: int) -> Any:
    """The same value, or one like it without keys."""
    if isinstance(value, str):
        text: str = value
        for key in _keys:
            if key in text:
                text = text.replace(key, _HIDDEN)
        return value if text is value else text
    if depth >= _DEEPEST:
        return value
    if isinstance(value, bytes):
        clear = _without_keys(value.decode("latin-1"), depth)
        return value if clear == value.decode("latin-1") else clear.encode("latin-1")
    if type(value).__module__.startswith("yarl"):
        clear = _without_keys(str(value), depth)
        return value if clear == str(value) else type(value)(clear)
    if isinstance(value, Mapping):
        from multidict import CIMultiDict, CIMultiDictProxy

        parts = {name: _without_keys(part, depth + 1) for name, part in value.items()}
        if all(parts[name] is value[name] for name in parts):
            return value
        # headers stay headers
        return CIMultiDictProxy(CIMultiDict(parts)) if hasattr(value, "getall") else parts
    if isinstance(value, tuple) and hasattr(value, "_replace"):
        # aiohttp's RequestInfo, with the headers as they were sent
        fields: Any = value
        changed = {
            name: shown
            for name in fields._fields
            if (shown := _without_keys(getattr(fields, name), depth + 1))
            is not getattr(fields, name)
        }
        return fields._replace(**changed) if changed else value
    if isinstance(value, list | tuple):
        items = [_without_keys(item, depth + 1) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return items if isinstance(value, list) else tuple(items)
    return value
