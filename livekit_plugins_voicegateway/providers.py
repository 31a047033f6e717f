"""What the router must know of each LiveKit plugin and cannot read off a constructor's signature.

Tables only: other names for the same argument, which class serves which model, the environment
variables of keys, and which providers are reached through the OpenAI plugin's constructors.
"""

from __future__ import annotations

from collections.abc import Mapping

from .metering.usage import Modality

__all__ = [
    "ARGUMENT_NAMES",
    "CLASS_NAMES",
    "EXTRA_NAMES",
    "KEY_ARGUMENTS",
    "KEY_VARIABLES",
    "KNOWN_PLUGINS",
    "LOCAL_OPTIONS",
    "MODEL_CLASSES",
    "OPENAI_CONSTRUCTORS",
    "PACKAGE_NAMES",
    "PREFERRED_ARGUMENTS",
]

CLASS_NAMES: Mapping[Modality, str] = {"stt": "STT", "llm": "LLM", "tts": "TTS"}
"""The class that serves a modality in any LiveKit plugin."""

ARGUMENT_NAMES: Mapping[str, tuple[str, ...]] = {
    "model": ("model", "model_name", "model_id"),
    "voice": ("voice", "voice_id", "voice_name", "speaker", "reference_id"),
    "language": ("language", "language_code", "languages", "lang"),
    "base_url": ("base_url", "api_url", "endpoint_url", "speech_endpoint"),
    "api_key": ("api_key", "speech_key", "api_token", "token"),
    "sample_rate": ("sample_rate",),
    "encoding": ("encoding", "audio_encoding", "audio_format"),
    "http_session": ("http_session",),
    "vad": ("vad",),
    "prompt_cache_breakpoints": ("prompt_cache_breakpoints",),
}
"""What ``livekit.agents.inference`` calls an argument, and what plugins do, usual ones first."""

PREFERRED_ARGUMENTS: Mapping[tuple[str, Modality, str], str] = {
    ("google", "stt", "language"): "languages",
    ("deepgram", "stt", "language:flux"): "language_hint",
}
"""Where the first match of ARGUMENT_NAMES would be the wrong one."""

EXTRA_NAMES: Mapping[tuple[str, Modality], Mapping[str, str]] = {
    ("deepgram", "stt"): {
        "endpointing": "endpointing_ms",
        "diarize": "enable_diarization",
        "tag": "tags",
    },
    ("cartesia", "tts"): {"add_timestamps": "word_timestamps"},
    ("xai", "stt"): {"diarize": "enable_diarization"},
    ("elevenlabs", "tts"): {"apply_text_normalization": "apply_text_normalization"},
}
"""Keys of ``extra_kwargs`` as LiveKit Inference spells them, and as the plugin does."""

MODEL_CLASSES: Mapping[tuple[str, Modality], tuple[tuple[str, str], ...]] = {
    ("deepgram", "stt"): (("flux-", "STTv2"),),
    ("deepgram", "tts"): (("flux-", "TTSv2"),),
}
"""Prefixes of model names that another class of the plugin serves."""

OPENAI_CONSTRUCTORS: Mapping[str, str] = {
    "azure": "with_azure",
    "cerebras": "with_cerebras",
    "cometapi": "with_cometapi",
    "deepseek": "with_deepseek",
    "fireworks": "with_fireworks",
    "letta": "with_letta",
    "nebius": "with_nebius",
    "octo": "with_octo",
    "ollama": "with_ollama",
    "openrouter": "with_openrouter",
    "ovhcloud": "with_ovhcloud",
    "perplexity": "with_perplexity",
    "sambanova": "with_sambanova",
    "telnyx": "with_telnyx",
    "together": "with_together",
    "xai": "with_x_ai",
}
"""Providers of an LLM that livekit-plugins-openai reaches by a constructor of its own. Used where
the provider has no plugin with an ``LLM`` class."""

KEY_ARGUMENTS = frozenset(
    {
        "api_key",
        "speech_key",
        "api_token",
        "token",
        "credentials",
        "credentials_info",
        "credentials_file",
        "speech_auth_token",
        "azure_ad_token",
        "client",
    }
)
"""Arguments that say who pays; a project that gives one of them has named its key."""

KEY_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "assemblyai": ("ASSEMBLYAI_API_KEY",),
    "aws": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"),
    "azure": ("AZURE_SPEECH_KEY", "AZURE_OPENAI_API_KEY"),
    "baseten": ("BASETEN_API_KEY",),
    "cartesia": ("CARTESIA_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "cometapi": ("COMETAPI_API_KEY",),
    "deepgram": ("DEEPGRAM_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "elevenlabs": ("ELEVEN_API_KEY",),
    "fireworks": ("FIREWORKS_API_KEY",),
    "fishaudio": ("FISH_API_KEY",),
    "gladia": ("GLADIA_API_KEY",),
    "google": ("GOOGLE_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS"),
    "groq": ("GROQ_API_KEY",),
    "hume": ("HUME_API_KEY",),
    "inworld": ("INWORLD_API_KEY",),
    "lmnt": ("LMNT_API_KEY",),
    "minimax": ("MINIMAX_API_KEY",),
    "mistralai": ("MISTRAL_API_KEY",),
    "nebius": ("NEBIUS_API_KEY",),
    "neuphonic": ("NEUPHONIC_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "perplexity": ("PERPLEXITY_API_KEY",),
    "resemble": ("RESEMBLE_API_KEY",),
    "rime": ("RIME_API_KEY",),
    "sambanova": ("SAMBANOVA_API_KEY",),
    "sarvam": ("SARVAM_API_KEY",),
    "soniox": ("SONIOX_API_KEY",),
    "speechmatics": ("SPEECHMATICS_API_KEY",),
    "spitch": ("SPITCH_API_KEY",),
    "telnyx": ("TELNYX_API_KEY",),
    "together": ("TOGETHER_API_KEY",),
    "xai": ("XAI_API_KEY",),
}
"""Environment variables in which a plugin looks for its own key; any of them will do."""

PACKAGE_NAMES: Mapping[str, str] = {"mistral": "mistralai", "x-ai": "xai", "eleven": "elevenlabs"}
"""Names that people write for a provider, and the plugin's own."""

KNOWN_PLUGINS: Mapping[str, tuple[Modality, ...]] = {
    "anthropic": ("llm",),
    "assemblyai": ("stt", "tts"),
    "asyncai": ("tts",),
    "aws": ("stt", "llm", "tts"),
    "azure": ("stt", "llm", "tts"),
    "baseten": ("stt", "llm", "tts"),
    "cambai": ("tts",),
    "cartesia": ("stt", "tts"),
    "clova": ("stt",),
    "deepgram": ("stt", "tts"),
    "elevenlabs": ("stt", "tts"),
    "fal": ("stt",),
    "fireworksai": ("stt",),
    "fishaudio": ("tts",),
    "gladia": ("stt",),
    "gnani": ("stt",),
    "google": ("stt", "llm", "tts"),
    "gradium": ("stt", "tts"),
    "groq": ("stt", "llm", "tts"),
    "hume": ("tts",),
    "inworld": ("stt", "tts"),
    "langchain": ("llm",),
    "lmnt": ("tts",),
    "minimax": ("tts",),
    "mistralai": ("stt", "llm", "tts"),
    "murf": ("tts",),
    "neuphonic": ("tts",),
    "nvidia": ("stt", "tts"),
    "openai": ("stt", "llm", "tts"),
    "perplexity": ("llm",),
    "resemble": ("tts",),
    "rime": ("tts",),
    "rtzr": ("stt",),
    "sarvam": ("stt", "tts"),
    "simplismart": ("stt", "llm", "tts"),
    "smallestai": ("tts",),
    "soniox": ("stt",),
    "speechify": ("tts",),
    "speechmatics": ("stt", "tts"),
    "spitch": ("stt", "tts"),
    "telnyx": ("stt", "llm", "tts"),
    "ultravox": ("stt",),
    "upliftai": ("tts",),
    "xai": ("stt", "llm", "tts"),
}
"""Plugins that LiveKit publishes, for naming the right ``pip install``. A plugin that is installed
is used whether or not it stands here."""

LOCAL_OPTIONS = frozenset({"local", "whisper", "kokoro"})
"""Our own models: ``local/whisper-*`` and ``local/kokoro``, and the keys under ``providers:`` where
their options stand."""
