"""``voicegw download-files``: fetch the weights of local models, never in the middle of a call."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import config_option
from .terminal import complain, emit

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["download_files", "local_models"]


@click.command("download-files")
@click.argument("models", nargs=-1, metavar="MODEL")
@config_option
def download_files(models: tuple[str, ...], config: Path | None) -> None:
    """Fetch the weights of local models.

    MODEL is a model string such as local/whisper-base or local/kokoro. Without one, all local
    models are fetched that the configuration's projects fall back to.
    """
    from ..config import load_config
    from ..errors import VoiceGatewayError
    from ..local import download

    wanted = list(models) or local_models(load_config(config))
    if not wanted:
        emit("No project falls back to a local model: nothing to fetch.\n")
        return
    failed = False
    for model in wanted:
        name = model.removeprefix("local/").partition(":")[0]
        try:
            folder = download(name, report=lambda line: emit(f"{line}\n"))
        except VoiceGatewayError as error:
            complain(str(error))
            failed = True
        else:
            emit(f"{model} is in {folder}\n")
    if failed:
        sys.exit(1)


def local_models(config: Config) -> list[str]:
    """The local models that the projects of a configuration fall back to."""
    from ..provider_options import MODALITIES

    models = [
        project.fallback.model(modality)
        for project in config.projects.values()
        if project.daily_budget is not None and project.budget_action == "throttle"
        for modality in MODALITIES
    ]
    return list(dict.fromkeys(m for m in models if m is not None and m.startswith("local/")))
