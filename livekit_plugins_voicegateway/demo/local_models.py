"""The demo's local models: what of them is on this machine, and what has to be left out.

Real weights come from a folder that ``make demo`` sets up. Whatever is missing, the demo does
without, and says so.
"""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import VoiceGatewayError
from ..local.weights import missing_weights

__all__ = ["LLM", "STT", "TTS", "LocalModels", "find_local_models"]

STT = "local/whisper-base"
LLM = "ollama/smollm2:135m"
TTS = "local/kokoro"

_SERVER = Path("examples", "models", "serve_llm.py")
_SERVER_START = 30.0


@dataclass(frozen=True, slots=True)
class LocalModels:
    """The local models that the demo can use.

    Attributes:
        weights: Folder with the weights of whisper and Kokoro; None when they are left out.
        llm_server: Script that serves the small language model; None when the sandbox's Ollama
            answers in its place.
        left_out: What is left out and why, a line each.
    """

    weights: Path | None
    llm_server: Path | None
    left_out: tuple[str, ...]

    @property
    def options(self) -> dict[str, dict[str, object]]:
        """The options of whisper and Kokoro for voicegw.yaml."""
        assert self.weights is not None
        folder = str(self.weights.absolute())
        return {"whisper": {"weights": folder, "short_window": True}, "kokoro": {"weights": folder}}

    @contextlib.contextmanager
    def serve_llm(self) -> Iterator[str | None]:
        """Serve the small language model while the block runs; gives its address, or None."""
        if self.llm_server is None:
            yield None
            return
        command = [sys.executable, str(self.llm_server), "--name", LLM.partition("/")[2]]
        with subprocess.Popen(  # noqa: S603 (our own script)
            command,
            stdin=subprocess.PIPE,  # it ends when the pipe is closed, however we end
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                yield process.stdout.readline().strip() or None
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=5)


def find_local_models(folder: Path) -> LocalModels:
    """Look for local models.

    Args:
        folder: Where weights are, ``.models`` in a checkout.
    """
    reasons = []
    for model in (STT, TTS):
        name = model.partition("/")[2]
        try:
            missing = missing_weights(name, {"weights": str(folder)})
        except VoiceGatewayError as error:
            reasons.append(f"{model}: {error}")
        else:
            if missing:
                reasons.append(f"{model}: {missing[0]}")
    if reasons:
        return LocalModels(None, None, tuple(reasons))
    server = folder.absolute().parent / _SERVER
    if not server.is_file() or not (folder / "smollm2").is_dir():
        why = f"{LLM}: no weights of it in {folder}; the sandbox's Ollama answers in its place"
        return LocalModels(folder, None, (why,))
    if importlib.util.find_spec("xllamacpp") is None:
        why = f"{LLM}: xllamacpp is not installed; the sandbox's Ollama answers in its place"
        return LocalModels(folder, None, (why,))
    return LocalModels(folder, server, ())
