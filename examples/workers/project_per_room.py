"""A voice agent for several projects: the job's metadata says which one pays for the call.

python project_per_room.py dev
lk dispatch create --agent-name assistant --room room-7 --metadata '{"project": "staging"}'
"""

import json
import logging

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli

from voicegateway import UnknownProjectError, inference

logger = logging.getLogger("project-per-room")

server = AgentServer()


def choose_project(metadata: str) -> None:
    """Let the project that the metadata names pay for this call, else `default_project`."""
    if not metadata:
        return  # nobody said anything: as in `console`, or in a room without a dispatch rule
    try:
        inference.set_project(json.loads(metadata)["project"])
    except UnknownProjectError as error:
        logger.warning("%s This call is on %s.", error, inference.get_project())
    except (ValueError, TypeError, KeyError):
        # never refuse a caller because of a typing error in somebody's dispatch rule
        logger.warning(
            'the job\'s metadata is not like {"project": "staging"}, but %r. This call is on %s.',
            metadata,
            inference.get_project(),
        )


# a name, so that jobs are dispatched to this agent explicitly, which is how they get metadata
@server.rtc_session(agent_name="assistant")
async def entrypoint(ctx: JobContext) -> None:
    # before the models are made: each keeps the project that was chosen when it was made
    choose_project(ctx.job.metadata)

    session = AgentSession(
        stt=inference.STT("deepgram/nova-3"),
        llm=inference.LLM("openai/gpt-4.1-mini"),
        tts=inference.TTS("cartesia/sonic-3"),
    )
    agent = Agent(instructions="You are a friendly voice assistant. Answer in short sentences.")
    await session.start(agent=agent, room=ctx.room)
    await session.generate_reply(instructions="Greet the caller and offer your help.")


if __name__ == "__main__":
    cli.run_app(server)
