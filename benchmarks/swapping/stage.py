"""A sandboxed cloud, real local models, and a project whose budget is spent and raised at will."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.demo.local_models import LocalModels
from livekit_plugins_voicegateway.demo.script import recordings
from livekit_plugins_voicegateway.gateway import Gateway, install
from livekit_plugins_voicegateway.local import KokoroTTS, WhisperSTT
from livekit_plugins_voicegateway.metering.usage import Modality

__all__ = ["Stage", "differences", "set_stage", "words"]

CONFIG = """
database: {{url: 'sqlite:///{folder}/voicegw.db'}}
default_project: prod
projects:
  prod:
    daily_budget: 1000
    budget_action: throttle
    fallback: {{stt: local/whisper-base, llm: "{llm}", tts: local/kokoro}}
providers: {providers}
"""


class Stage:
    """What every measurement needs.

    Attributes:
        gateway: The gateway of this process.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def spend(self) -> None:
        """Now the budget is spent."""
        self._set_budget(0)

    def pay(self) -> None:
        """Now there is money again."""
        self._set_budget(1000)

    async def ready(self) -> None:
        """Wait until the weights are loaded, as they are when a worker has prewarmed."""
        modalities: tuple[Modality, ...] = ("stt", "tts")
        for modality in modalities:
            made = self.gateway.fallback(modality, self.gateway.project("prod"))
            assert made is not None
            assert isinstance(made[1], WhisperSTT | KokoroTTS)
            await made[1].ready()

    def _set_budget(self, dollars: int) -> None:
        project = self.gateway.project("prod")
        self.gateway.budgets.changed(dataclasses.replace(project, daily_budget=Decimal(dollars)))


@asynccontextmanager
async def set_stage(models: LocalModels) -> AsyncIterator[Stage]:
    """Start the cloud and the small language model, and install a gateway that uses them."""
    with (
        tempfile.TemporaryDirectory() as folder,
        models.serve_llm() as language_model,
        _cloud(Path(folder)) as urls,
    ):
        providers: dict[str, Any] = {
            **models.options,
            "deepgram": {"api_key": "any", "stt": {"base_url": urls["deepgram"]}},
            "openai": {"api_key": "any", "llm": {"base_url": urls["openai"]}},
            "cartesia": {"api_key": "any", "tts": {"base_url": urls["cartesia"]}},
            "ollama": {"base_url": language_model or urls["ollama"]},
        }
        path = Path(folder, "voicegw.yaml")
        path.write_text(
            CONFIG.format(
                folder=folder,
                llm="ollama/smollm2:135m" if language_model else "ollama/qwen2.5:3b",
                providers=json.dumps(providers),
            )
        )
        gateway = Gateway(load_config(path, env={}), env={})
        previous = install(gateway)
        try:
            stage = Stage(gateway)
            await stage.ready()
            yield stage
        finally:
            install(previous)
            gateway.close()


@contextmanager
def _cloud(folder: Path) -> Iterator[dict[str, str]]:
    """The sandbox in a process of its own: its work is not the event loop's that is measured.

    Yields:
        The base URL of each provider.
    """
    command = [sys.executable, "-m", "livekit_plugins_voicegateway.sandbox", "--reply", "Yes."]
    for recording, said in recordings().items():
        clip = Path(shutil.copy(recording, folder))
        clip.with_suffix(".txt").write_text(said)
        command += ["--clip", str(clip)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def words(text: str) -> list[str]:
    """The words of a text for comparison: lower case, no punctuation, numerals spelled out."""
    spelled = re.sub(r"\bmr\b", "mister", re.sub(r"\b10\b", "ten", text.lower()))
    return re.findall(r"[a-z']+", spelled)


def differences(one: Sequence[str], other: Sequence[str]) -> int:
    """Words to be put in, taken out or changed to make one text the other."""
    row = list(range(len(other) + 1))
    for i, word in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, known in enumerate(other, 1):
            cost = before + (word != known)
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, cost)
    return row[-1]
