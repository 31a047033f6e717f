"""Whose key pays: each rung of the order, no silent fall-through, and errors that tell the fix."""

from __future__ import annotations

import os
import pydoc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.errors import (
    ConfigError,
    MissingCredentialsError,
    ProviderNotInstalledError,
    UnknownModelError,
    VoiceGatewayError,
)
from livekit_plugins_voicegateway.gateway import Gateway, current_gateway, install


@contextmanager
def configured(folder: Path, text: str, env: Mapping[str, str] | None = None) -> Iterator[Path]:
    path = folder / "voicegw.yaml"
    path.write_text(text)
    variables = dict(env or {})
    gateway = Gateway(load_config(path, env=variables), env=variables)
    previous = install(gateway)
    try:
        yield path
    finally:
        install(previous)
        gateway.close()


def plugin(model: Any) -> Any:
    """The plugin instance behind one of our model objects."""
    return model._delegates.current().instance


def openai_key(project: str = "prod", **arguments: Any) -> str:
    model = inference.LLM("openai/gpt-4.1-mini", project=project, **arguments)
    return str(plugin(model)._client.api_key)


def deepgram_key(project: str = "prod", **arguments: Any) -> str:
    model = inference.STT("deepgram/nova-3", project=project, **arguments)
    return str(plugin(model)._api_key)


# The order


def test_the_argument_goes_first(tmp_path: Path) -> None:
    text = "projects: {prod: {providers: {openai: {api_key: projects-own}}}}\n"
    with configured(tmp_path, text):
        assert openai_key(api_key="argument") == "argument"


def test_the_argument_serves_where_the_projects_variable_is_unset(tmp_path: Path) -> None:
    text = "projects: {prod: {providers: {openai: {api_key: '${UNSET}'}}}}\n"
    with configured(tmp_path, text):
        assert openai_key(api_key="argument") == "argument"
    with configured(tmp_path, text.replace("openai", "deepgram")):
        assert deepgram_key(extra_kwargs={"api_key": "extra"}) == "extra"


def test_the_projects_key_goes_before_the_shared_one(tmp_path: Path) -> None:
    text = (
        "projects: {prod: {providers: {openai: {api_key: projects-own}}}, staging: {}}\n"
        "providers: {openai: {api_key: shared}}\n"
    )
    with configured(tmp_path, text, {"OPENAI_API_KEY": "environment"}):
        assert openai_key("prod") == "projects-own"
        assert openai_key("staging") == "shared"


def test_a_projects_key_goes_before_a_shared_key_in_a_block(tmp_path: Path) -> None:
    text = (
        "projects: {prod: {providers: {deepgram: {api_key: projects-own}}}}\n"
        "providers: {deepgram: {stt: {api_key: shared}}}\n"
    )
    with configured(tmp_path, text):
        assert deepgram_key() == "projects-own"


def test_a_projects_key_drops_the_shared_keys_of_other_names(tmp_path: Path) -> None:
    text = (
        "projects: {prod: {providers: {azure: {speech_auth_token: projects-own}}}}\n"
        "providers: {azure: {speech_key: '${UNSET}', stt: {speech_region: westeurope}}}\n"
    )
    with configured(tmp_path, text):
        config = plugin(inference.STT("azure/default", project="prod"))._config
        assert config.speech_auth_token == "projects-own"
        assert not config.speech_key


def test_the_plugins_own_variable_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "environment")
    with configured(tmp_path, "projects: {prod: {}}\n", os.environ):
        assert openai_key() == "environment"


# No fall-through


@pytest.mark.parametrize("place", ["projects", "providers"])
def test_a_key_whose_variable_is_unset_is_an_error_and_no_fall_through(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "somebody else's")
    named = "openai:\n        api_key: ${STAGING_KEY}\n"
    texts = {
        "projects": f"projects:\n  staging:\n    providers:\n      {named}",
        "providers": f"projects: {{staging: {{}}}}\nproviders:\n\n  {named}",
    }
    with configured(tmp_path, texts[place], os.environ) as path:
        with pytest.raises(MissingCredentialsError) as caught:
            openai_key("staging")
        assert str(caught.value) == (
            f"project 'staging' has no key for 'openai': STAGING_KEY is not set ({path} line 5)"
        )


def test_an_empty_key_is_an_error_and_no_fall_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "somebody else's")
    text = "projects: {staging: {providers: {openai: {api_key: '${EMPTY}'}}}}\n"
    with (
        configured(tmp_path, text, {**os.environ, "EMPTY": ""}),
        pytest.raises(
            MissingCredentialsError,
            match=r"project 'staging' has no key for 'openai': "
            r"projects\.staging\.providers\.openai\.api_key is empty",
        ),
    ):
        openai_key("staging")


def test_an_empty_argument_is_an_error_and_no_fall_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPGRAM_API_KEY", "somebody else's")
    text = "projects: {staging: {}}\nproviders: {deepgram: {api_key: shared}}\n"
    with (
        configured(tmp_path, text, os.environ),
        pytest.raises(MissingCredentialsError, match=r"the api_key= argument is empty"),
    ):
        deepgram_key("staging", api_key="")


def test_a_project_that_names_a_key_of_another_class_does_not_spend_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_SPEECH_KEY", "somebody else's")
    monkeypatch.setenv("AZURE_SPEECH_REGION", "westeurope")
    text = "projects: {staging: {providers: {azure: {api_key: of-the-llm}}}}\n"
    with (
        configured(tmp_path, text, os.environ),
        pytest.raises(
            MissingCredentialsError,
            match=r"'staging' has no key for 'azure': .* take speech_auth_token or speech_key "
            r"where projects\.staging\.providers\.azure has api_key",
        ),
    ):
        inference.STT("azure/default", project="staging")


def test_without_any_key_the_error_names_the_places_for_one(tmp_path: Path) -> None:
    with (
        configured(tmp_path, "projects: {prod: {}}\n"),
        pytest.raises(
            MissingCredentialsError,
            match=r"set OPENAI_API_KEY, or put `openai: \{api_key: …\}` under "
            r"projects\.prod\.providers",
        ),
    ):
        openai_key()


@pytest.mark.parametrize("key", ["marked-key\n", " marked-key", "marked key", "marked-key…"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(key: str, tmp_path: Path) -> None:
    text = "projects: {prod: {providers: {openai: {api_key: '${KEY}'}}}, bare: {}}\n"
    with configured(tmp_path, text, {"KEY": key, "OPENAI_API_KEY": key}):
        for arguments, place in (
            ({"project": "prod"}, "projects.prod.providers.openai.api_key"),
            ({"project": "prod", "api_key": key}, "the api_key= argument"),
            ({"project": "bare"}, "OPENAI_API_KEY"),
        ):
            with pytest.raises(MissingCredentialsError) as caught:
                openai_key(**arguments)
            assert f"{place} holds a blank, a line break or another" in str(caught.value)
            assert "marked" not in str(caught.value)


def test_a_variable_that_nothing_needs_may_be_unset(tmp_path: Path) -> None:
    text = (
        "projects: {prod: {providers: {\n"
        "  deepgram: {api_key: k, stt: {base_url: 'http://127.0.0.1:1'},"
        " tts: {base_url: '${UNSET}'}},\n"
        "  azure: {speech_key: '${UNSET}', api_key: k, azure_endpoint: 'http://127.0.0.1:1',"
        " llm: {api_version: v}}}}}\n"
    )
    with configured(tmp_path, text):
        assert deepgram_key() == "k"
        inference.LLM("azure/gpt-4.1-mini", project="prod")
        with pytest.raises(VoiceGatewayError, match=r"'prod', provider 'deepgram'.*UNSET.*line 2"):
            inference.TTS("deepgram/aura-2", project="prod")


# Options


def test_an_option_in_a_block_goes_to_that_class_only(tmp_path: Path) -> None:
    text = (
        "projects: {prod: {}}\n"
        "providers:\n"
        "  deepgram:\n"
        "    api_key: k\n"
        "    stt: {base_url: 'http://127.0.0.1:1/hear'}\n"
        "    tts: {base_url: 'http://127.0.0.1:1/speak'}\n"
    )
    with configured(tmp_path, text):
        hears = plugin(inference.STT("deepgram/nova-3", project="prod"))
        speaks = plugin(inference.TTS("deepgram/aura-2", project="prod"))
        assert "/hear" in repr(hears._opts)
        assert "/speak" in repr(speaks._opts)


def test_a_general_option_goes_to_the_classes_that_take_it(tmp_path: Path) -> None:
    text = (
        "projects: {prod: {}}\n"
        "providers: {cartesia: {api_key: k, voice: general-voice, stt: {sample_rate: 8000}}}\n"
    )
    with configured(tmp_path, text):
        assert plugin(inference.TTS("cartesia/sonic-3", project="prod"))._opts.voice == (
            "general-voice"
        )
        inference.STT("cartesia/ink-whisper", project="prod")  # takes no voice


def test_an_option_that_nothing_takes_is_named_with_line_and_nearest_name(tmp_path: Path) -> None:
    text = (
        "projects:\n"
        "  prod:\n"
        "    providers:\n"
        "      deepgram: {api_key: k, smart_fromat: true}\n"
        "providers:\n"
        "  deepgram:\n"
        "    stt:\n"
        "      voice: x\n"
        "    llm:\n"
        "      model: y\n"
    )
    with configured(tmp_path, text) as path, pytest.raises(ConfigError) as caught:
        deepgram_key()
    error = caught.value
    assert str(error).startswith(f"{path} has 3 problems:")
    by_key = {problem.key_path: problem for problem in error.problems}
    wrong = by_key["projects.prod.providers.deepgram.smart_fromat"]
    assert wrong.line == 4
    assert wrong.expected == (
        "an argument of livekit.plugins.deepgram.STT or livekit.plugins.deepgram.STTv2 or "
        "livekit.plugins.deepgram.TTS or livekit.plugins.deepgram.TTSv2; did you mean "
        "'smart_format'?"
    )
    assert by_key["providers.deepgram.stt.voice"].line == 8
    assert "no speech-to-text class" in by_key["providers.deepgram.stt.voice"].found
    assert by_key["providers.deepgram.llm.model"].expected == (
        "nothing: deepgram has no language class"
    )


def test_an_option_given_in_code_that_the_plugin_does_not_take_is_named(tmp_path: Path) -> None:
    with (
        configured(tmp_path, "providers: {deepgram: {api_key: k}}\n"),
        pytest.raises(UnknownModelError) as caught,
    ):
        inference.STT("deepgram/nova-3", extra_kwargs={"smart_fromat": True}, project="default")
    assert str(caught.value) == (
        "'deepgram/nova-3' takes no option 'smart_fromat': it must be an argument of "
        "livekit.plugins.deepgram.STT; did you mean 'smart_format'?"
    )


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("smart_formatting", "; did you mean 'smart_format'?"),
        ("url", "; did you mean 'base_url'?"),
        ("zzz", "; `python -m pydoc livekit.plugins.deepgram.STT` describes them"),
    ],
)
def test_the_nearest_names_are_said_or_where_all_of_them_stand(
    tmp_path: Path, option: str, instead: str
) -> None:
    text = f"providers: {{deepgram: {{api_key: k, stt: {{{option}: x}}}}}}\n"
    with configured(tmp_path, text), pytest.raises(ConfigError) as caught:
        inference.STT("deepgram/nova-3", project="default")
    (problem,) = caught.value.problems
    assert problem.expected == (
        "an argument of livekit.plugins.deepgram.STT or livekit.plugins.deepgram.STTv2" + instead
    )


async def test_pythons_help_has_the_class_that_is_named(tmp_path: Path) -> None:
    text = """\
projects: {prod: {}}
providers:
  openai: {zzz: 1}
  ollama: {zzz: 1}
  groq: {zzz: 1}
  whisper: {zzz: 1}
  kokoro: {zzz: 1}
"""
    with configured(tmp_path, text):
        router = current_gateway().router
        named = {
            provider: router.unknown_options(provider)[0].expected.split("`")[1].split()[-1]
            for provider in ("openai", "ollama", "groq", "whisper", "kokoro")
        }
    assert named == {
        "openai": "livekit.plugins.openai.LLM",
        "ollama": "livekit.plugins.openai.LLM.with_ollama",
        "groq": "livekit.plugins.groq.LLM",
        "whisper": "livekit_plugins_voicegateway.local.WhisperSTT",
        "kokoro": "livekit_plugins_voicegateway.local.KokoroTTS",
    }
    for name in named.values():
        assert pydoc.locate(name) is not None


def test_an_option_of_one_local_model_is_none_of_another(tmp_path: Path) -> None:
    text = "providers: {whisper: {speed: 1.1}, kokoro: {beam_size: 3}}\n"
    with configured(tmp_path, text):
        router = current_gateway().router
        (of_whisper,) = router.unknown_options("whisper")
        (of_kokoro,) = router.unknown_options("kokoro")
    assert of_whisper.key_path == "providers.whisper.speed"
    assert of_kokoro.key_path == "providers.kokoro.beam_size"


# Names


@pytest.mark.parametrize(
    ("kind", "model", "expected"),
    [
        ("STT", "deepgrm/nova-3", "there is no provider 'deepgrm'; did you mean 'deepgram'"),
        ("LLM", "opnai/gpt-4.1", "there is no provider 'opnai'; did you mean 'openai'"),
        ("LLM", "cartesia/sonic-3", "'cartesia' has no language models. Providers of language"),
        ("STT", "silero/vad", "'silero' has no speech-to-text models"),
        ("STT", "fireworks/whisper", "'fireworks' has no speech-to-text models"),
        ("LLM", "gpt-4.1", "'gpt-4.1' is not a model: write it as \"provider/model\""),
        ("LLM", "openai/", "'openai/' is not a model"),
        ("STT", "", "no speech-to-text model was named"),
        ("STT", "auto", "leaves the choice of a model to LiveKit Cloud"),
        ("TTS", "voicegateway/x", "there is no provider 'voicegateway'."),
        ("TTS", "../x", "there is no provider '..'."),
        ("LLM", "local/llama", "the local language model is ollama/<model>"),
    ],
)
def test_a_model_that_cannot_be_is_refused_with_what_would_be_right(
    kind: str, model: str, expected: str, tmp_path: Path
) -> None:
    with configured(tmp_path, "timezone: UTC\n"), pytest.raises(UnknownModelError) as caught:
        getattr(inference, kind)(model, project="default")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "model", "install"),
    [
        ("TTS", "lmnt/blizzard", "pip install livekit-plugins-lmnt"),
        ("STT", "speechmatics/enhanced", "pip install livekit-plugins-speechmatics"),
    ],
)
def test_a_plugin_that_is_not_installed_is_named_with_its_pip_install(
    kind: str, model: str, install: str, tmp_path: Path
) -> None:
    with (
        configured(tmp_path, "timezone: UTC\n"),
        pytest.raises(ProviderNotInstalledError) as caught,
    ):
        getattr(inference, kind)(model, project="default")
    assert f"run `{install}`" in str(caught.value)


@pytest.mark.parametrize("model", ["deepgrm/nova-3", "lmnt/blizzard", "openai/"])
def test_a_model_that_cannot_be_is_refused_at_once_whoever_will_pay(
    model: str, tmp_path: Path
) -> None:
    with (
        configured(tmp_path, "projects: {prod: {}, staging: {}}\n"),
        pytest.raises((UnknownModelError, ProviderNotInstalledError)),
    ):
        inference.TTS(model)
