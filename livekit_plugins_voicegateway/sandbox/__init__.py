"""Deepgram, OpenAI, Cartesia and Ollama on loopback, for tests and for the demo.

The real LiveKit plugins talk to them over the real protocols; no key, no account and no internet
is needed. Each keeps a record of what it received and sent, in the units in which the real one
bills, and can be told to fail. What is heard and said is scripted::

    async with Sandbox() as sandbox:
        sandbox.deepgram.transcripts = ["What is the weather in Paris?"]
        sandbox.openai.replies = {"weather": "It is sunny."}
        stt = deepgram.STT(base_url=sandbox.deepgram.base_url, api_key="any")
        ...
        assert sandbox.openai.record.totals.requests == 1

From a shell: ``python -m livekit_plugins_voicegateway.sandbox``.
"""

from .faults import Fault, FaultKind, Faults
from .record import CompletionRecord, Record, SpeechRecord, Totals, TranscriptionRecord
from .replies import ChatRequest, Reply, Script, ToolCall
from .server import Sandbox
from .tokens import text_tokens

__all__ = [
    "Sandbox",
    "Fault",
    "FaultKind",
    "Faults",
    "Reply",
    "ToolCall",
    "ChatRequest",
    "Script",
    "Record",
    "Totals",
    "TranscriptionRecord",
    "CompletionRecord",
    "SpeechRecord",
    "text_tokens",
]
