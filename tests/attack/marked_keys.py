"""Marked keys: put wherever a key can come from, and looked for wherever one could come out."""

from __future__ import annotations

import base64
import gc
import pickle
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from rich.pretty import pretty_repr

MARK = "sk-MARK"

KEYS = {
    "file": f"{MARK}-in-the-file",
    "variable": f"{MARK}-of-a-variable",
    "default": f"{MARK}-of-a-default",
    "half": f"{MARK}-half",
    "environment": f"{MARK}-of-the-environment",
    "argument": f"{MARK}-of-an-argument",
    "managed": f"{MARK}-sealed",
    "token": f"{MARK}-of-the-server",
    "database": f"{MARK}-of-the-database",
    "webhook": f"{MARK}-of-the-webhook-address",
}

SECRET_KEY = base64.urlsafe_b64encode(b"sk-MARK-that-seals-all-the-keys!").decode()
"""``VOICEGW_SECRET_KEY``, which has the form of a Fernet key."""

WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"sk-MARK-that-signs-all-messages!").decode()

EVERYTHING = (MARK, SECRET_KEY, WEBHOOK_SECRET, WEBHOOK_SECRET.removeprefix("whsec_"))


def marks(text: str | bytes) -> list[str]:
    """The marked keys in a text, also in base64 and as hexadecimal digits."""
    found = text.decode("latin-1") if isinstance(text, bytes) else text
    spelled = [*EVERYTHING, MARK.encode().hex(), repr(MARK.encode())[2:-1]]
    for shift in range(3):
        # what is in base64 looks different at each of three places
        encoded = base64.b64encode(b"\0" * shift + MARK.encode() + b"\0" * 3).decode()
        first, last = -(-shift * 8 // 6), (shift + len(MARK)) * 8 // 6
        spelled.append(encoded[first:last])
    return [mark for mark in spelled if mark in found]


def found(outputs: Mapping[str, str | bytes]) -> dict[str, str]:
    """Each output that has a key in it, with what stands around it."""
    leaks: dict[str, str] = {}
    for name, output in outputs.items():
        for mark in marks(output)[:1]:
            text = output.decode("latin-1") if isinstance(output, bytes) else output
            at = text.find(mark)
            leaks[name] = text[max(0, at - 160) : at + 60]
    return leaks


def files(folder: Path, *, but: Iterable[str] = ("voicegw.yaml",)) -> dict[str, bytes]:
    """Every file below a folder, but those that hold keys because somebody wrote them there."""
    return {
        f"file {path.relative_to(folder)}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in but
    }


def ours(roots: Iterable[Any]) -> Iterator[Any]:
    """All objects of VoiceGateway's own classes that can be reached from ``roots``."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type) or callable(thing):
            continue
        seen.add(id(thing))
        of_us = type(thing).__module__.startswith("livekit_plugins_voicegateway")
        if of_us:
            yield thing
        if of_us or isinstance(thing, dict | list | tuple | set | frozenset):
            waiting.extend(gc.get_referents(thing))


def shown(things: Iterable[Any]) -> dict[str, str]:
    """What each object says of itself, by whatever it is asked."""
    said: dict[str, str] = {}
    for number, thing in enumerate(things):
        name = f"{type(thing).__name__} {number}"
        said[f"repr {name}"] = repr(thing)
        said[f"str {name}"] = str(thing)
        said[f"format {name}"] = f"{thing}" if type(thing).__format__ is object.__format__ else ""
        said[f"rich {name}"] = _pretty(thing)
        said[f"vars {name}"] = _pretty(vars(thing)) if hasattr(thing, "__dict__") else ""
        try:
            pickled = pickle.dumps(thing)
        except Exception as error:
            said[f"pickle {name}"] = f"{error!r}"
        else:
            said[f"pickle {name}"] = pickled.decode("latin-1")
    return said


def _pretty(thing: Any) -> str:
    while True:
        try:
            return pretty_repr(thing, max_depth=6)
        except RuntimeError as error:
            # another thread of the gateway works with what is being shown
            if "changed size" not in str(error):
                raise


def crash(error: BaseException) -> dict[str, str]:
    """What crash reports make of an exception: with the variables of our own frames."""
    said = {"traceback": "".join(traceback.format_exception(error))}
    for number, one in enumerate(_chain(error)):
        said[f"error {number}"] = f"{one} {one!r} {one.args!r} {vars(one)!r}"
        trace = one.__traceback__
        while trace is not None:
            frame = trace.tb_frame
            if "livekit_plugins_voicegateway" in frame.f_code.co_filename:
                said |= _variables(frame, number)
            trace = trace.tb_next
    return said


def _variables(frame: FrameType, number: int) -> dict[str, str]:
    where = f"{number} {Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
    said: dict[str, str] = {}
    for name, value in frame.f_locals.items():
        try:
            said[f"variable {name} {where}"] = f"{value!r} {pretty_repr(value, max_depth=4)}"
        except Exception as error:
            # an object that was never made cannot show itself
            said[f"variable {name} {where}"] = repr(error)
    return said


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
