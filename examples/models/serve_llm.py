"""Serve the small language model of .models/ as an OpenAI-compatible endpoint, as Ollama would.

    python examples/models/serve_llm.py --name smollm2:135m --port 11434

Prints one line, the address, when it is ready; runs until it is terminated, or until its standard
input is closed where it was given a pipe. It stands in for Ollama in the demo and the tests, for
hosts that have none: any model's name is answered by SmolLM2 135M, which follows a conversation and
stops by itself, and knows little. Needs the package xllamacpp and what setup_models.py sets up.
"""

from __future__ import annotations

import argparse
import os
import signal
import stat
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

MODEL = (
    Path(__file__).resolve().parents[2] / ".models" / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until terminated; returns 1 when the model or xllamacpp is not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="smollm2:135m", help="what the model is called")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--longest", type=int, default=24, help="tokens of an answer at most")
    parser.add_argument("--threads", type=int, default=1, help="one leaves a core for speech")
    chosen = parser.parse_args(arguments)
    if not MODEL.is_file():
        print(f"{MODEL} is missing: run examples/models/setup_models.py", file=sys.stderr)
        return 1
    try:
        import xllamacpp
    except ImportError:
        print("xllamacpp is missing: run `pip install xllamacpp==2026.10.11549`", file=sys.stderr)
        return 1
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(MODEL)
    parameters.n_ctx = 2048
    parameters.n_parallel = 1
    parameters.n_predict = chosen.longest
    parameters.cpuparams.n_threads = chosen.threads
    parameters.cpuparams_batch.n_threads = os.cpu_count() or 1  # nobody speaks while it reads
    parameters.hostnames = [chosen.host]
    parameters.port = chosen.port
    parameters.model_alias = {chosen.name}
    parameters.ui = False
    parameters.verbosity = 1
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    _wait_for_the_end()
    del server
    return 0


def _wait_for_the_end() -> None:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
        # Whoever started this may be killed; its end of the pipe closes all the same.
        threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    ended.wait()


if __name__ == "__main__":
    sys.exit(main())
