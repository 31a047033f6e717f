"""Whose key pays for a project made at run time, and where it goes: never anybody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from managed_sites import Site, new_key, open_site

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.errors import ConfigError, MissingCredentialsError
from livekit_plugins_voicegateway.gateway import Gateway, install

FILE = """
projects:
  prod: {}
providers:
  openai: {api_key: operators-key, base_url: "http://operators.example/v1", max_retries: 7}
  google: {llm: {api_key: operators-google}}
"""
ENV = {"OPENAI_API_KEY": "environments-key", "GROQ_API_KEY": "environments-groq-key"}


@asynccontextmanager
async def worker(
    folder: Path, *providers: Mapping[str, object], env: Mapping[str, str] | None = None
) -> AsyncIterator[Site]:
    """A worker with a project ``night`` (and ``other``) that has these providers."""
    async with open_site(folder, FILE, env={"VOICEGW_SECRET_KEY": new_key(), **ENV}) as site:
        for name, its in zip(("night", "other"), providers, strict=False):
            await site.admin.create({"project_id": name, "providers": its}, front="cli")
        variables = {**site.env, **(env or {})}
        gateway = Gateway(load_config(site.path, env=variables), env=variables)
        previous = install(gateway)
        try:
            yield site
        finally:
            install(previous)
            gateway.close()


def client(model: str = "openai/gpt-4.1-mini", project: str = "night", **arguments: Any) -> Any:
    """The client of the plugin's instance behind an LLM."""
    made = inference.LLM(model, project=project, **arguments)
    return made._delegates.current().instance._client  # type: ignore[attr-defined]


async def test_a_key_of_its_own_pays_at_the_operators_address(tmp_path: Path) -> None:
    async with worker(tmp_path, {"openai": {"api_key": "nights-key"}}):
        assert client().api_key == "nights-key"
        assert str(client().base_url) == "http://operators.example/v1/"


async def test_without_one_the_operators_pays_as_for_any_project(tmp_path: Path) -> None:
    async with worker(tmp_path, {}):
        assert client().api_key == "operators-key"


async def test_with_an_address_of_its_own_nothing_of_the_operators_goes_there(
    tmp_path: Path,
) -> None:
    own = {"api_key": "nights-key", "base_url": "http://nights.example/v1"}
    async with worker(tmp_path, {"openai": own}):
        made = client()
        assert (made.api_key, str(made.base_url)) == ("nights-key", "http://nights.example/v1/")
        assert made.max_retries != 7


async def test_a_key_that_the_application_gives_does_not_go_to_the_projects_address(
    tmp_path: Path,
) -> None:
    own = {"api_key": "nights-key", "base_url": "http://nights.example/v1"}
    async with worker(tmp_path, {"openai": own}):
        made = client(api_key="applications-key")
        assert made.api_key == "applications-key"
        assert str(made.base_url) == "http://operators.example/v1/"


async def test_a_key_for_one_kind_of_model_says_nothing_of_another(tmp_path: Path) -> None:
    own = {"stt": {"api_key": "nights-key", "base_url": "http://nights.example/v1"}}
    async with worker(tmp_path, {"openai": own}):
        assert client().api_key == "operators-key"
        assert str(client().base_url) == "http://operators.example/v1/"


async def test_a_key_that_the_class_does_not_take_is_no_way_to_another(tmp_path: Path) -> None:
    own = {"token": "nights-key", "base_url": "http://nights.example/v1"}
    async with worker(tmp_path, {"groq": own, "openai": own}):
        for model in ("openai/gpt-4.1-mini", "groq/llama-3.3-70b-versatile"):
            with pytest.raises((MissingCredentialsError, ConfigError)):
                client(model)


async def test_a_key_for_another_class_is_not_made_up_for_by_the_operators(tmp_path: Path) -> None:
    # Google's STT takes credentials, its LLM an api_key
    async with worker(tmp_path, {"google": {"credentials_info": {"type": "service_account"}}}):
        with pytest.raises(MissingCredentialsError, match="has credentials_info"):
            client("google/gemini-2.5-flash")
        assert client("google/gemini-2.5-flash", "prod")._api_client.api_key == "operators-google"


async def test_the_environments_key_does_not_go_along_with_a_token(tmp_path: Path) -> None:
    # Azure's classes take a token of the project's, and look for a key in the environment
    own = {"azure_ad_token": "nights-token", "azure_endpoint": "http://nights.example"}
    env = {"AZURE_OPENAI_API_KEY": "environments-key"}
    async with worker(tmp_path, {"azure": own}, env=env):
        with pytest.raises(MissingCredentialsError) as refused:
            client("azure/gpt-4.1-mini")
    where = "projects.night.providers.azure has azure_ad_token"
    assert str(refused.value).endswith(f"its language models take api_key where {where}")


async def test_local_models_need_no_key(tmp_path: Path) -> None:
    async with worker(tmp_path, {"ollama": {"base_url": "http://nights.example"}}):
        made = client("ollama/qwen2.5:3b")
        assert str(made.base_url) == "http://nights.example/v1/"


async def test_sealed_keys_of_a_worker_without_the_secret_are_missing(tmp_path: Path) -> None:
    own = {"openai": {"api_key": "nights-key"}}
    async with worker(tmp_path, own, env={"VOICEGW_SECRET_KEY": ""}):
        with pytest.raises(MissingCredentialsError, match="VOICEGW_SECRET_KEY is not set") as e:
            client()
        assert (e.value.project, e.value.provider) == ("night", "openai")
        with pytest.raises(MissingCredentialsError):
            client(api_key="applications-key")
        assert client(project="prod").api_key == "operators-key"
    (folder := tmp_path / "another").mkdir()
    async with worker(folder, own, env={"VOICEGW_SECRET_KEY": new_key()}):
        with pytest.raises(MissingCredentialsError, match="does not open the provider keys"):
            client()


async def test_an_option_that_nobody_takes_is_the_trouble_of_its_project_alone(
    tmp_path: Path,
) -> None:
    wrong = {"openai": {"api_key": "nights-key", "max_retrys": 1}}
    async with worker(tmp_path, wrong, {"openai": {"api_key": "others-key"}}):
        with pytest.raises(ConfigError) as refused:
            client()
        assert str(refused.value).startswith("project 'night', made at run time, has 1 problem:")
        assert "did you mean 'max_retries'?" in str(refused.value)
        assert client(project="other").api_key == "others-key"
        assert client(project="prod").api_key == "operators-key"
