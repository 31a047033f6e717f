"""The router: any installed plugin from a model string, with the keys of the right project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.errors import ConfigError
from livekit_plugins_voicegateway.metering.usage import Modality
from livekit_plugins_voicegateway.router import ModelSpec, Router, parse_model


def router(tmp_path: Path, text: str, env: Mapping[str, str] | None = None) -> Router:
    path = tmp_path / "voicegw.yaml"
    path.write_text(text)
    environment = dict(env or {})
    return Router(load_config(path, env=environment), env=environment)


def build(
    router: Router, modality: Modality, model: str, project: str = "prod", **arguments: Any
) -> Any:
    extra = arguments.pop("extra", {})
    spec = ModelSpec(parse_model(modality, model), arguments, extra)
    return router.build(modality, spec, router.config.projects[project])


KEYS = """
projects:
  prod: {}
providers:
  anthropic: {api_key: k}
  assemblyai: {api_key: k}
  azure: {stt: {speech_key: k, speech_region: westeurope}, tts: {speech_key: k, speech_region: x}}
  cartesia: {api_key: k}
  deepgram: {api_key: k}
  elevenlabs: {api_key: k}
  google: {llm: {api_key: k}}
  groq: {api_key: k}
  inworld: {api_key: k}
  mistralai: {api_key: k}
  openai: {api_key: k}
  rime: {api_key: k}
  xai: {api_key: k}
  ollama: {base_url: "http://127.0.0.1:11434"}
  whisper: {short_window: true}
  kokoro: {speed: 1.1}
"""


@pytest.mark.parametrize(
    ("modality", "model", "kind"),
    [
        ("stt", "deepgram/nova-3", "livekit.plugins.deepgram.stt.STT"),
        ("stt", "deepgram/flux-general-en", "livekit.plugins.deepgram.stt_v2.STTv2"),
        ("stt", "cartesia/ink-whisper", "livekit.plugins.cartesia.stt.STT"),
        ("stt", "openai/gpt-4o-mini-transcribe", "livekit.plugins.openai.stt.STT"),
        ("stt", "assemblyai/universal-streaming", "livekit.plugins.assemblyai.stt.STT"),
        ("stt", "azure/default", "livekit.plugins.azure.stt.STT"),
        ("stt", "elevenlabs/scribe_v2_realtime", "livekit.plugins.elevenlabs.stt.STT"),
        ("stt", "groq/whisper-large-v3-turbo", "livekit.plugins.groq.services.STT"),
        ("stt", "inworld/inworld-stt-1", "livekit.plugins.inworld.stt.STT"),
        ("stt", "mistralai/voxtral-mini-latest", "livekit.plugins.mistralai.stt.STT"),
        ("stt", "local/whisper-base:en", "livekit_plugins_voicegateway.local.whisper.WhisperSTT"),
        ("tts", "local/kokoro:af_bella", "livekit_plugins_voicegateway.local.kokoro.KokoroTTS"),
        ("stt", "xai/default", "livekit.plugins.xai.stt.STT"),
        ("llm", "openai/gpt-4.1-mini", "livekit.plugins.openai.llm.LLM"),
        ("llm", "anthropic/claude-haiku-4-5", "livekit.plugins.anthropic.llm.LLM"),
        ("llm", "google/gemini-2.5-flash", "livekit.plugins.google.llm.LLM"),
        ("llm", "groq/llama-3.3-70b-versatile", "livekit.plugins.groq.services.LLM"),
        ("llm", "mistralai/mistral-medium-latest", "livekit.plugins.mistralai.llm.LLM"),
        ("llm", "xai/grok-4", "livekit.plugins.openai.llm.LLM"),
        ("llm", "ollama/qwen2.5:3b", "livekit.plugins.openai.llm.LLM"),
        ("tts", "cartesia/sonic-3", "livekit.plugins.cartesia.tts.TTS"),
        ("tts", "deepgram/aura-2-andromeda-en", "livekit.plugins.deepgram.tts.TTS"),
        ("tts", "openai/gpt-4o-mini-tts:ash", "livekit.plugins.openai.tts.TTS"),
        ("tts", "azure/default:en-US-JennyNeural", "livekit.plugins.azure.tts.TTS"),
        ("tts", "elevenlabs/eleven_flash_v2_5:abc", "livekit.plugins.elevenlabs.tts.TTS"),
        ("tts", "groq/playai-tts", "livekit.plugins.groq.tts.TTS"),
        ("tts", "inworld/inworld-tts-1:Ashley", "livekit.plugins.inworld.tts.TTS"),
        ("tts", "mistralai/voxtral-mini-tts", "livekit.plugins.mistralai.tts.TTS"),
        ("tts", "rime/mistv2:rainforest", "livekit.plugins.rime.tts.TTS"),
        ("tts", "xai/default:ara", "livekit.plugins.xai.tts.TTS"),
    ],
)
async def test_a_model_string_builds_the_plugin_that_serves_it(
    tmp_path: Path, modality: Modality, model: str, kind: str
) -> None:
    instance = build(router(tmp_path, KEYS), modality, model)
    assert f"{type(instance).__module__}.{type(instance).__name__}" == kind
    await instance.aclose()


async def test_options_of_local_models_stand_under_their_own_names(tmp_path: Path) -> None:
    instance = build(router(tmp_path, KEYS), "stt", "local/whisper-base")
    assert instance.capabilities.interim_results  # short_window: true
    await instance.aclose()


def test_an_option_that_a_local_model_does_not_take_is_named(tmp_path: Path) -> None:
    text = "projects: {prod: {}}\nproviders:\n  kokoro: {sped: 1.1}\n"
    with pytest.raises(ConfigError, match=r"line 3: providers\.kokoro\.sped.*'speed'"):
        build(router(tmp_path, text), "tts", "local/kokoro")
