"""A voice agent whose calls are all paid for by one project: `default_project` in voicegw.yaml.

python single_project.py console
"""

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli

from voicegateway import inference  # was: from livekit.agents import inference

server = AgentServer()


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
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
