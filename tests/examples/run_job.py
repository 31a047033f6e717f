"""Run one job of an example worker in a process of its own, as a worker does, without a server.

    python run_job.py MODULE ROOM JOB_ID METADATA

Ends the worker when a line comes on standard input.
"""

import asyncio
import importlib
import sys

from livekit.agents import AgentServer
from livekit.agents.job import JobAcceptArguments, RunningJobInfo
from livekit.protocol import agent, models


async def main(server: AgentServer, room: str, job_id: str, metadata: str) -> None:
    started = asyncio.Event()
    server.once("worker_started", started.set)
    serving = asyncio.create_task(server.run(devmode=True, unregistered=True))
    await started.wait()
    # `simulate_job` would do, if it took metadata
    await server._proc_pool.launch_job(
        RunningJobInfo(
            worker_id=server.id,
            accept_arguments=JobAcceptArguments(identity="agent", name="", metadata=""),
            job=agent.Job(
                id=job_id,
                room=models.Room(sid="RM_1", name=room),
                type=agent.JobType.JT_ROOM,
                metadata=metadata,
            ),
            url="",
            token="",
            fake_job=True,
        )
    )
    await asyncio.to_thread(sys.stdin.readline)
    await server.aclose()
    await serving


if __name__ == "__main__":
    module, *job = sys.argv[1:]
    asyncio.run(main(importlib.import_module(module).server, *job))
