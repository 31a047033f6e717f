"""Fetching the weights of local models from their usual homes, for ``download-files``.

Never called in a call. Whisper comes from Hugging Face into Hugging Face's cache, by its own
library; Kokoro from the releases of kokoro-onnx into VoiceGateway's folder in the user's cache.
What arrives is checked against the publisher's sha256 before it takes its name.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..errors import WeightsDownloadError
from .weights import (
    KOKORO_MODELS,
    KOKORO_VOICES,
    WHISPER_FILES,
    WHISPER_HOMES,
    find_whisper,
    kokoro_cache,
    require_library,
    whisper_size,
)

__all__ = ["KOKORO_HOME", "download"]

KOKORO_HOME: Final = (
    "https://github.com/thewh1teagle/kokoro-onnx/releases/download/model-files-v1.0"
)

_KOKORO_FILES: Final = {
    KOKORO_MODELS[0]: "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
    KOKORO_VOICES: "bca610b8308e8d99f32e6fe4197e7ec01679264efed0cac9140fe9c29f1fbf7d",
}
"""The files fetched, and the sha256 of the release ``model-files-v1.0``."""

_CHUNK: Final = 1 << 20
_TIMEOUT: Final = 30.0
_SHA256_DIGITS: Final = 64


def download(
    model: str, *, report: Callable[[str], None] = print, kokoro_home: str = KOKORO_HOME
) -> Path:
    """Fetch what a local model needs, unless it is there already.

    Blocks for as long as it takes; some sizes of whisper have 3 GB.

    Args:
        model: ``whisper-<size>`` or ``kokoro``: the model string without ``local/`` and suffix.
        report: Is told, in one line each, what is fetched and how far it is. Hugging Face draws
            progress bars of its own on stderr besides.
        kokoro_home: Where Kokoro's files are, for hosts that keep a copy of their own. Hugging
            Face's library reads ``HF_ENDPOINT`` for the same purpose.

    Returns:
        The folder with the files.

    Raises:
        UnknownModelError: There is no such local model.
        ProviderNotInstalledError: The extra ``local`` is not installed.
        WeightsDownloadError: It could not be fetched, or came damaged. Nothing half-fetched is
            left under the file's name.
    """
    if model == "kokoro":
        require_library("kokoro_onnx")
        return _download_kokoro(kokoro_home, report)
    size = whisper_size(model)
    require_library("faster_whisper")
    return _download_whisper(size, report)


def _download_whisper(size: str, report: Callable[[str], None]) -> Path:
    from huggingface_hub import constants, snapshot_download

    repository = WHISPER_HOMES[size]
    home = f"{constants.ENDPOINT}/{repository}"
    report(f"local/whisper-{size}: {home} -> {constants.HF_HUB_CACHE}")
    try:
        folder = Path(snapshot_download(repository, allow_patterns=list(WHISPER_FILES)))
    # The library raises errors of its HTTP client, of the hub and of the file system alike.
    except Exception as error:
        raise _failure(f"local/whisper-{size}", home, error) from error
    _verify_blobs(folder, f"local/whisper-{size}", home)
    find_whisper(size)
    report(f"local/whisper-{size}: complete in {folder}")
    return folder


def _verify_blobs(folder: Path, model: str, home: str) -> None:
    """Compare large files with their sha256, by which Hugging Face's cache names them."""
    for link in folder.iterdir():
        blob = link.resolve()
        if len(blob.name) == _SHA256_DIGITS and _sha256(blob) != blob.name:
            blob.unlink()
            link.unlink(missing_ok=True)
            raise WeightsDownloadError(
                f"{model}: {link.name} from {home} came damaged (its sha256 is not {blob.name}) "
                "and was removed. Try again."
            )


def _download_kokoro(home: str, report: Callable[[str], None]) -> Path:
    folder = kokoro_cache()
    folder.mkdir(parents=True, exist_ok=True)
    for name, digest in _KOKORO_FILES.items():
        target = folder / name
        if target.is_file() and _sha256(target) == digest:
            report(f"local/kokoro: {target} is there")
            continue
        _fetch(f"{home}/{name}", target, digest, report)
    report(f"local/kokoro: complete in {folder}")
    return folder


def _fetch(url: str, target: Path, digest: str, report: Callable[[str], None]) -> None:
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    running = hashlib.sha256()
    try:
        # The address is a constant of this module or the caller's own argument.
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT) as answer,  # noqa: S310
            part.open("wb") as file,
        ):
            total = int(answer.headers.get("Content-Length") or 0)
            report(f"local/kokoro: {url} -> {target.parent}")
            received = reported = 0
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                running.update(chunk)
                received += len(chunk)
                if total and (tenths := 10 * received // total) > reported:
                    reported = tenths
                    report(f"local/kokoro: {target.name} {10 * tenths} % of {total / 1e6:.0f} MB")
        if running.hexdigest() != digest:
            raise WeightsDownloadError(
                f"local/kokoro: {url} came damaged: its sha256 is {running.hexdigest()}, "
                f"not {digest}. Try again."
            )
        part.replace(target)
    except (OSError, urllib.error.URLError) as error:
        raise _failure("local/kokoro", url, error) from error
    finally:
        part.unlink(missing_ok=True)


def _failure(model: str, home: str, error: Exception) -> WeightsDownloadError:
    provider = "kokoro" if model == "local/kokoro" else "whisper"
    lines = [type(error).__name__, *(line for line in str(error).splitlines() if line)]
    reason = ": ".join(lines[:2])
    return WeightsDownloadError(
        f"{model} could not be fetched from {home}: {reason}. Where this machine has no way there, "
        f"copy the files from one that has and name their folder as `providers.{provider}.weights` "
        "in voicegw.yaml."
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
