"""Runs the sandbox in a process of its own: ``python -m livekit_plugins_voicegateway.sandbox``.

Prints one line of JSON with the base URLs and that of the record, and serves until SIGTERM or
SIGINT. Tests that kill workers use it: its record outlives them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path

from .server import Sandbox


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m livekit_plugins_voicegateway.sandbox",
        description="Deepgram, OpenAI, Cartesia and Ollama on loopback.",
    )
    parser.add_argument("--port", type=int, default=0, help="default: chosen by the system")
    parser.add_argument(
        "--transcript", action="append", default=[], help="what to hear next; may be repeated"
    )
    parser.add_argument(
        "--clip",
        action="append",
        default=[],
        type=Path,
        help="a WAV file to recognise, with its text beside it in a .txt; may be repeated",
    )
    parser.add_argument(
        "--reply", action="append", default=[], help="what the models say in turn; may be repeated"
    )
    asyncio.run(_serve(parser.parse_args()))


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Sandbox(port=options.port) as sandbox:
        sandbox.deepgram.transcripts = options.transcript
        for clip in options.clip:
            sandbox.deepgram.add_clip(clip, clip.with_suffix(".txt").read_text("utf-8"))
        if options.reply:
            sandbox.openai.replies = sandbox.ollama.replies = options.reply
        urls = {**sandbox.base_urls, "record": f"{sandbox.url}/record"}
        print(json.dumps(urls), flush=True)
        await stop.wait()


if __name__ == "__main__":
    main()
