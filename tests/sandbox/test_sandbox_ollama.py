"""The sandboxed Ollama, driven by the real plugin, and by plain HTTP where Ollama has its own."""

from __future__ import annotations

from typing import Any

import aiohttp
import openai as openai_client
import pytest
from livekit.agents import APIConnectionError, APIStatusError, function_tool, llm
from sandbox_speech import NO_RETRY

from livekit.plugins import openai
from livekit_plugins_voicegateway.sandbox import Fault, Reply, Sandbox, ToolCall, text_tokens


@function_tool
async def switch(lamp: str) -> str:
    """Switch a lamp."""
    return lamp


async def chat(sandbox: Sandbox, model: str, **more: Any) -> list[llm.ChatChunk]:
    context = llm.ChatContext()
    context.add_message(role="user", content="Light, please.")
    url = f"{sandbox.ollama.base_url}/v1"
    async with (
        openai.LLM.with_ollama(model=model, base_url=url) as plugin,
        plugin.chat(chat_ctx=context, conn_options=NO_RETRY, **more) as stream,
    ):
        return [chunk async for chunk in stream]


async def post(
    http: aiohttp.ClientSession, sandbox: Sandbox, path: str, body: object
) -> tuple[int, Any]:
    async with http.post(sandbox.ollama.base_url + path, json=body) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("model", ["qwen2.5:3b", "llama3.2:3b"])
async def test_a_reply_comes_with_its_usage(sandbox: Sandbox, model: str) -> None:
    sandbox.ollama.replies = ["It is on."]
    chunks = await chat(sandbox, model)

    assert "".join(c.delta.content or "" for c in chunks if c.delta) == "It is on."
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage]
    (request,) = sandbox.ollama.record.requests
    assert usage.prompt_tokens == request.input_tokens > 0
    assert usage.completion_tokens == request.output_tokens == len(text_tokens("It is on."))
    assert (request.model, request.key) == (model, "ollama")


async def test_all_tool_calls_come_in_one_chunk(sandbox: Sandbox) -> None:
    calls = [ToolCall("switch", {"lamp": lamp}) for lamp in ("desk", "door")]
    sandbox.ollama.replies = [Reply("", calls)]
    chunks = await chat(sandbox, "qwen2.5:3b", tools=[switch])
    made = [call.arguments for c in chunks if c.delta for call in c.delta.tool_calls]
    assert made == ['{"lamp": "desk"}', '{"lamp": "door"}']

    url = f"{sandbox.ollama.base_url}/v1"
    async with openai_client.AsyncOpenAI(base_url=url, api_key="any") as client:
        stream = await client.chat.completions.create(
            model="qwen2.5:3b", messages=[{"role": "user", "content": "Light!"}], stream=True
        )
        deltas = [chunk.choices[0].delta async for chunk in stream]
    assert [len(delta.tool_calls or ()) for delta in deltas] == [2, 0]


async def test_an_unknown_model_is_not_found_in_ollamas_words(sandbox: Sandbox) -> None:
    with pytest.raises(APIStatusError, match="model 'mistral:7b' not found") as missing:
        await chat(sandbox, "mistral:7b")

    assert missing.value.status_code == 404
    assert sandbox.ollama.record.failed.requests == 1


async def test_a_name_without_a_tag_means_the_latest(sandbox: Sandbox) -> None:
    sandbox.ollama.models["phi4"] = ("completion",)
    await chat(sandbox, "phi4:latest")
    with pytest.raises(APIStatusError):
        await chat(sandbox, "qwen2.5")


async def test_a_model_without_tools_says_so(sandbox: Sandbox) -> None:
    with pytest.raises(APIStatusError, match="gemma2:2b does not support tools") as refused:
        await chat(sandbox, "gemma2:2b", tools=[switch])

    assert refused.value.status_code == 400


async def test_unknown_options_are_ignored_and_wrong_types_are_not(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    body = {"model": "qwen2.5:3b", "messages": [{"role": "user", "content": "Hi."}]}
    path = "/v1/chat/completions"
    assert (await post(http, sandbox, path, body | {"service_tier": "flex"}))[0] == 200

    for wrong, message in {
        "temperature": "json: cannot unmarshal string into Go struct field "
        "ChatCompletionRequest.temperature of type float64",
        "max_tokens": "json: cannot unmarshal string into Go struct field "
        "ChatCompletionRequest.max_tokens of type int",
    }.items():
        status, answer = await post(http, sandbox, path, body | {wrong: "hot"})
        assert (status, answer["error"]["message"]) == (400, message)
        assert answer["error"]["type"] == "invalid_request_error"
    status, answer = await post(http, sandbox, path, body | {"seed": True})
    assert "cannot unmarshal bool" in answer["error"]["message"]
    status, answer = await post(http, sandbox, path, body | {"reasoning_effort": "huge"})
    assert "invalid reasoning value: 'huge'" in answer["error"]["message"]
    status, answer = await post(http, sandbox, path, body | {"messages": []})
    assert answer["error"]["message"] == "[] is too short - 'messages'"


async def test_ollamas_own_endpoints_list_and_show_models(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    url = sandbox.ollama.base_url
    async with http.get(url) as response:
        assert await response.text() == "Ollama is running"
    async with http.get(f"{url}/api/version") as response:
        assert set(await response.json()) == {"version"}
    async with http.get(f"{url}/api/tags") as response:
        tags = [model["name"] for model in (await response.json())["models"]]
    async with http.get(f"{url}/v1/models") as response:
        assert [model["id"] for model in (await response.json())["data"]] == tags
    assert tags == list(sandbox.ollama.models)

    status, shown = await post(http, sandbox, "/api/show", {"model": "qwen2.5:3b"})
    assert (status, shown["capabilities"]) == (200, ["completion", "tools"])
    assert shown["details"]["parameter_size"] == "3B"
    missing = await post(http, sandbox, "/api/show", {"model": "mistral:7b"})
    assert missing == (404, {"error": "model 'mistral:7b' not found"})
    for wrong in ({}, {"model": 3}, []):
        assert await post(http, sandbox, "/api/show", wrong) == (
            400,
            {"error": "model is required"},
        )
    assert sandbox.ollama.record.requests == []


@pytest.mark.parametrize("fault", [Fault.refuse(), Fault.cut(after=1), Fault.error(after=1)])
async def test_ollama_fails_like_the_rest(sandbox: Sandbox, fault: Fault) -> None:
    sandbox.ollama.faults.append(fault)
    with pytest.raises(APIConnectionError):
        await chat(sandbox, "qwen2.5:3b")

    assert sandbox.ollama.faults.struck == [fault]
    assert sandbox.openai.record.requests == []
