"""The worker whose jobs `faulting.kill` ends: ``python -m faulting.killed_worker OPTIONS``.

Each line on standard input is a room in which a job is to begin; each line on standard output says
what became of one. The end of the input, or SIGTERM, ends the worker as LiveKit's command line
does: jobs get ``shutdown_process_timeout`` seconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time
from typing import Any

from livekit.agents import AgentServer
from livekit.agents.ipc import supervised_proc
from livekit.agents.ipc.job_proc_executor import ProcJobExecutor

from faulting import killed_call
from faulting.killed_call import entrypoint, prewarm

MEMORY_INTERVAL = 0.5
"""Seconds between two looks at the memory of a process, in place of LiveKit's 5."""


def say(**event: Any) -> None:
    """Tell whoever started this worker."""
    print(json.dumps({**event, "at": time.time()}), flush=True)


async def main(options: dict[str, Any]) -> None:
    """Serve until the input ends.

    Args:
        options: Of the ``AgentServer``; and ``ping_timeout``, the seconds without an answer after
            which a process is killed, in place of LiveKit's 60.
    """
    loop = asyncio.get_running_loop()
    asked_to_end = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, asked_to_end.set)
    supervised_proc._MEMORY_MONITOR_INTERVAL = MEMORY_INTERVAL
    ping_timeout: float | None = options.pop("ping_timeout", None)
    server = AgentServer(
        host="127.0.0.1",
        port=0,
        load_fnc=lambda: 0.0,
        setup_fnc=prewarm,
        preload_modules=[killed_call.__name__],
        **options,
    )
    server.rtc_session()(entrypoint)
    started = asyncio.Event()
    server.once("worker_started", started.set)

    serving = asyncio.create_task(server.run(devmode=True, unregistered=True))
    while not hasattr(server, "_proc_pool"):  # noqa: ASYNC110  (it tells nobody)
        await asyncio.sleep(0)
    if ping_timeout is not None:
        server._proc_pool.on("process_created", lambda process: _impatient(process, ping_timeout))
    server._proc_pool.on("process_job_launched", _say_begun)
    server._proc_pool.on("process_closed", _say_ended)
    await started.wait()
    say(event="ready")
    orders = asyncio.create_task(_follow_orders(server))
    ended = asyncio.create_task(asked_to_end.wait())
    await asyncio.wait({orders, ended}, return_when=asyncio.FIRST_COMPLETED)
    await server.aclose()
    await serving
    say(event="ended")


async def _follow_orders(server: AgentServer) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    while line := (await lines.readline()).decode().strip():
        await server.simulate_job(line, fake_job=True)


def _impatient(process: ProcJobExecutor, timeout: float) -> None:
    process._opts.ping_interval, process._opts.ping_timeout = timeout / 3, timeout


def _say_begun(process: ProcJobExecutor) -> None:
    assert process.running_job is not None
    say(event="begun", room=process.running_job.job.room.name, pid=process.pid)


def _say_ended(process: ProcJobExecutor) -> None:
    if process.running_job is not None:
        say(event="ended job", room=process.running_job.job.room.name, status=process.exitcode)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    asyncio.run(main(json.loads(sys.argv[1])))
