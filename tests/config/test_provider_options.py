"""Options of a provider: general ones, those of one modality, and what they never show."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from livekit_plugins_voicegateway.config import Config, ProviderOptions, normalise_ollama_url
from livekit_plugins_voicegateway.config_file.variables import Template
from livekit_plugins_voicegateway.errors import UnknownProjectError, UnsetVariableError

Load = Callable[..., Config]

DEEPGRAM = """\
providers:
  deepgram:
    api_key: "${DEEPGRAM_KEY}"
    base_url: https://eu.example.com
    mip_opt_out: true
    stt:
      base_url: wss://${REGION:-us}.example.com
      endpointing_ms: 25
      keyterms: [Aura, "${TERM:-Nova}"]
    tts: {}
"""


@pytest.fixture
def deepgram(load: Load) -> ProviderOptions:
    return load(DEEPGRAM).providers["deepgram"]


def test_a_block_goes_over_the_general_options(deepgram: ProviderOptions) -> None:
    env = {"DEEPGRAM_KEY": "k"}
    assert deepgram.resolve("stt", env) == {
        "api_key": "k",
        "base_url": "wss://us.example.com",
        "mip_opt_out": True,
        "endpointing_ms": 25,
        "keyterms": ["Aura", "Nova"],
    }
    assert deepgram.resolve("tts", env) == {
        "api_key": "k",
        "base_url": "https://eu.example.com",
        "mip_opt_out": True,
    }
    assert deepgram.resolve("llm", env) == deepgram.resolve("tts", env)


def test_keys_lines_and_paths_say_where_an_option_stands(deepgram: ProviderOptions) -> None:
    assert deepgram.keys("tts") == {"api_key", "base_url", "mip_opt_out"}
    assert deepgram.keys("stt") == deepgram.keys("tts") | {"endpointing_ms", "keyterms"}
    assert deepgram.lines == {
        "api_key": 3,
        "base_url": 4,
        "mip_opt_out": 5,
        "endpointing_ms": 8,
        "keyterms": 9,
    }
    assert deepgram.path == "providers.deepgram"
    assert deepgram.key_path("api_key") == "providers.deepgram.api_key"
    assert deepgram.key_path("keyterms") == "providers.deepgram.stt.keyterms"
    assert deepgram.key_path("absent") == "providers.deepgram.absent"
    assert [(o.modality, o.name, o.key_path, o.line) for o in deepgram.options()][1::2] == [
        (None, "base_url", "providers.deepgram.base_url", 4),
        ("stt", "base_url", "providers.deepgram.stt.base_url", 7),
        ("stt", "keyterms", "providers.deepgram.stt.keyterms", 9),
    ]


def test_options_that_are_not_wanted_need_no_variables(deepgram: ProviderOptions) -> None:
    with pytest.raises(UnsetVariableError, match="DEEPGRAM_KEY"):
        deepgram.resolve("tts", {})
    assert "api_key" not in deepgram.resolve("tts", {}, without={"api_key"})


def test_values_keep_the_kind_that_is_written(load: Load) -> None:
    options = load("""
        providers:
          a:
            whole: 16000
            minus: -1_000
            fraction: 0.5
            exponent: 1e3
            yes: true
            nothing: ~
            quoted: "5"
            day: 2027-01-01
            norwegian: "no"
            nested: {a: [1, {b: "${X}"}]}
            api_key: "5"
    """).providers["a"]
    resolved = options.resolve("llm", {"X": "7"})
    assert resolved == {
        "whole": 16000,
        "minus": -1000,
        "fraction": 0.5,
        "exponent": 1000.0,
        "yes": True,
        "nothing": None,
        "quoted": "5",
        "day": "2027-01-01",
        "norwegian": "no",
        "nested": {"a": [1, {"b": "7"}]},
        "api_key": "5",
    }
    assert [type(resolved[key]) for key in ("whole", "fraction", "exponent")] == [int, float, float]


@pytest.mark.parametrize("provider", ["whisper", "kokoro", "ollama", "some_plugin", "fish-audio"])
def test_any_provider_may_have_options(load: Load, provider: str) -> None:
    options = load(f"providers: {{{provider}: {{}}}}").providers[provider]
    assert options.resolve("stt", {}) == {}


class TestProjectOverTopLevel:
    CONTENT = """
        providers:
          deepgram:
            api_key: shared
            base_url: https://shared
            stt: {base_url: wss://shared, model: shared}
            tts: {sample_rate: 8000}
          openai: {api_key: shared}
        projects:
          prod:
            providers:
              deepgram: {api_key: own, base_url: https://own, tts: {sample_rate: 24000}}
          dev: {}
    """

    def test_each_option_is_the_projects_or_else_the_shared_one(self, load: Load) -> None:
        options = load(self.CONTENT).provider_options("prod", "deepgram")
        assert options is not None
        assert options.resolve("tts", {}) == {
            "api_key": "own",
            "base_url": "https://own",
            "sample_rate": 24000,
        }

    def test_a_projects_general_option_goes_over_a_shared_block(self, load: Load) -> None:
        options = load(self.CONTENT).provider_options("prod", "deepgram")
        assert options is not None
        assert options.resolve("stt", {}) == {
            "api_key": "own",
            "base_url": "https://own",
            "model": "shared",
        }
        assert options.key_path("api_key") == "projects.prod.providers.deepgram.api_key"
        assert options.key_path("model") == "providers.deepgram.stt.model"

    def test_what_the_project_does_not_name_is_shared(self, load: Load) -> None:
        config = load(self.CONTENT)
        assert config.provider_options("prod", "openai") is config.providers["openai"]
        assert config.provider_options("dev", "deepgram") is config.providers["deepgram"]
        assert config.provider_options("dev", "cartesia") is None

    def test_a_project_without_shared_options_has_its_own(self, load: Load) -> None:
        config = load("projects: {p: {providers: {a: {x: 1}}}}")
        assert config.provider_options("p", "a") is config.project("p").providers["a"]

    def test_the_project_must_exist(self, load: Load) -> None:
        with pytest.raises(UnknownProjectError):
            load(self.CONTENT).provider_options("nope", "openai")


def test_nothing_that_is_shown_has_a_value_in_it(load: Load) -> None:
    config = load(
        """
        database: {url: "postgresql://vg:marked-1@db/x"}
        server: {token: marked-2}
        providers:
          deepgram:
            api_key: marked-3
            base_url: "https://marked-4@${HOST}"
            other: "${OTHER}"
            headers: {Authorization: Bearer marked-5, more: ["${OTHER}"]}
            stt: {token: "marked-6${OTHER}", secret: "${OTHER:-marked-7}"}
        projects:
          prod:
            providers:
              openai: {api_key: "${OTHER}", organization: marked-8}
        """,
        {"OTHER": "marked-9", "HOST": "marked-10"},
    )
    options = config.providers["deepgram"]
    templates = [o.value for o in options.options() if isinstance(o.value, Template)]
    assert len(templates) == 5
    for shown in (config, options, list(options.options()), config.project("prod"), templates):
        assert "marked" not in f"{shown!r} {shown!s}"
    assert repr(options) == (
        "<ProviderOptions providers.deepgram: api_key, base_url, other, headers, stt.token, "
        "stt.secret>"
    )
    assert options.resolve("stt", config.env)["token"] == "marked-6marked-9"


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:11434",
        "http://localhost:11434/",
        "http://localhost:11434/v1",
        "http://localhost:11434/v1/",
        "localhost:11434",
        " http://localhost:11434 ",
    ],
)
def test_ollamas_address_may_be_with_or_without_v1(url: str) -> None:
    assert normalise_ollama_url(url) == "http://localhost:11434/v1"


def test_ollama_may_be_behind_a_path_and_tls() -> None:
    assert normalise_ollama_url("https://gpu.example.com/ollama") == (
        "https://gpu.example.com/ollama/v1"
    )
