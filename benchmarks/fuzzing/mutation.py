"""Wrong input made of right input: pieces taken out, repeated, replaced by hostile ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any, Final

__all__ = ["mutated"]

_LEAVES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 2**63, -(2**63), 10**40, 0.1, 1e308, 5e-324, "", " "),
    *("x" * 300, "\ud800", "\x00", [], {}, [[]], {"": {}}),
)


def mutated(data: bytes, words: Sequence[str], random: Random) -> bytes:
    """Return something like ``data``: sometimes as a text, sometimes as JSON if it is.

    Args:
        data: What to begin with.
        words: Pieces to put in.
        random: Decides.
    """
    if random.random() < 0.6:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            pass
        else:
            for _ in range(random.randint(1, 3)):
                value = _changed(value, words, random)
            return json.dumps(value).encode()
    for _ in range(random.randint(1, 4)):
        data = _edited(data, words, random)
    return data


def _edited(data: bytes, words: Sequence[str], random: Random) -> bytes:
    start = random.randint(0, len(data))
    end = min(len(data), start + random.choice((0, 0, 1, 2, 5, 20)))
    way = random.randrange(6)
    if way < 3:
        piece = random.choice(words).encode("utf-8", "surrogatepass")
    elif way == 3:
        piece = data[start:end] * random.choice((2, 3, 50))
    elif way == 4:
        piece = b""
        end = max(end, min(len(data), start + 1))
    else:
        piece = bytes([random.randrange(256)])
        end = max(end, min(len(data), start + 1))
    return data[:start] + piece + data[end:]


def _changed(value: Any, words: Sequence[str], random: Random) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.8:
        key = random.choice([*value])
        if random.random() < 0.2:
            return {**value, _leaf_key(words, random): _leaf(words, random)}
        if random.random() < 0.15:
            return {name: part for name, part in value.items() if name != key}
        return {**value, key: _changed(value[key], words, random)}
    if isinstance(value, list) and value and random.random() < 0.7:
        index = random.randrange(len(value))
        return [*value[:index], _changed(value[index], words, random), *value[index + 1 :]]
    if isinstance(value, str) and random.random() < 0.5:
        text = _edited(value.encode("utf-8", "surrogatepass"), words, random)
        return text.decode("utf-8", "surrogateescape")
    if random.random() < 0.1:
        return [value] if random.random() < 0.5 else {_leaf_key(words, random): value}
    return _leaf(words, random)


def _leaf(words: Sequence[str], random: Random) -> Any:
    return random.choice(_LEAVES) if random.random() < 0.6 else _leaf_key(words, random)


def _leaf_key(words: Sequence[str], random: Random) -> str:
    return random.choice(words).strip('" ')
