"""A voice agent whose models all run on your own machines: no provider's key, and nothing to pay.

python local_only.py console
"""

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, JobProcess, cli

from voicegateway import inference


def prewarm(process: JobProcess) -> None:
    # starts to load the weights of whisper and Kokoro when a job's process starts, so that a caller
    # does not wait for them. Which ones is in voicegw.yaml: what `development` falls back to.
    # Ollama is a program of its own, and loads its model at the first request.
    inference.prewarm()


server = AgentServer(setup_fnc=prewarm)


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    inference.set_project("development")  # before the models are made

    session = AgentSession(
        stt=inference.STT("local/whisper-base"),
        llm=inference.LLM("ollama/qwen2.5:3b"),
        tts=inference.TTS("local/kokoro"),
        # LiveKit's default detectors of turns and interruptions may ask LiveKit's cloud
        turn_handling={"turn_detection": "vad", "interruption": {"mode": "vad"}},
    )
    agent = Agent(instructions="You are a friendly voice assistant. Answer in short sentences.")
    await session.start(agent=agent, room=ctx.room)
    await session.generate_reply(instructions="Greet the caller and offer your help.")


if __name__ == "__main__":
    cli.run_app(server)
