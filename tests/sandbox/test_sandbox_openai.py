"""The sandboxed OpenAI, driven by the real plugin and by OpenAI's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai as openai_client
import pytest
from livekit.agents import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    function_tool,
    llm,
)
from sandbox_speech import IMPATIENT, NO_RETRY

from livekit.plugins import openai
from livekit_plugins_voicegateway.sandbox import (
    ChatRequest,
    Fault,
    Reply,
    Sandbox,
    ToolCall,
    text_tokens,
)

REPLY = "Paris is sunny today, with twenty degrees."


@function_tool
async def get_weather(city: str) -> str:
    """Look up the weather.

    Args:
        city: Where.
    """
    return f"sunny in {city}"


@pytest.fixture
async def model(sandbox: Sandbox) -> AsyncIterator[openai.LLM]:
    sandbox.openai.replies = [REPLY]
    async with openai.LLM(
        model="gpt-4.1-mini", base_url=sandbox.openai.base_url, api_key="sk-test"
    ) as model:
        yield model


def said(*texts: str) -> llm.ChatContext:
    context = llm.ChatContext()
    for text in texts:
        context.add_message(role="user", content=text)
    return context


async def chat(
    model: llm.LLM, context: llm.ChatContext, options: APIConnectOptions = NO_RETRY, **more: Any
) -> list[llm.ChatChunk]:
    async with model.chat(chat_ctx=context, conn_options=options, **more) as stream:
        return [chunk async for chunk in stream]


def text_of(chunks: list[llm.ChatChunk]) -> str:
    return "".join(chunk.delta.content or "" for chunk in chunks if chunk.delta)


def usage_of(chunks: list[llm.ChatChunk]) -> llm.CompletionUsage:
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage]
    return usage


async def test_a_reply_is_streamed_token_by_token_with_its_usage(
    sandbox: Sandbox, model: openai.LLM
) -> None:
    chunks = await chat(model, said("How is the weather?"))

    assert text_of(chunks) == REPLY
    assert [c.delta.content for c in chunks if c.delta] == text_tokens(REPLY)
    (request,) = sandbox.openai.record.requests
    usage = usage_of(chunks)
    assert usage.prompt_tokens == request.input_tokens > 0
    assert usage.completion_tokens == request.output_tokens == len(text_tokens(REPLY))
    assert (request.status, request.ending, request.usage_reported) == (200, "completed", True)
    assert (request.key, request.model, request.text) == ("sk-test", "gpt-4.1-mini", REPLY)
    assert request.headers["User-Agent"].startswith("LiveKit Agents")
    assert request.messages == [{"role": "user", "content": "How is the weather?"}]


async def test_parallel_tool_calls_reach_the_agent_and_their_results_come_back(
    sandbox: Sandbox, model: openai.LLM
) -> None:
    calls = [ToolCall("get_weather", {"city": city}) for city in ("Paris", "Rome")]
    sandbox.openai.replies = {"sunny": REPLY, "weather": Reply("Let me see.", calls)}
    context = said("How is the weather in Paris and Rome?")
    chunks = await chat(model, context, tools=[get_weather])

    made = [call for chunk in chunks if chunk.delta for call in chunk.delta.tool_calls]
    assert [(call.name, call.arguments) for call in made] == [
        ("get_weather", '{"city": "Paris"}'),
        ("get_weather", '{"city": "Rome"}'),
    ]
    assert text_of(chunks) == "Let me see."
    (request,) = sandbox.openai.record.requests
    assert request.tools == ("get_weather",)
    assert request.tool_calls == ["get_weather", "get_weather"]
    assert usage_of(chunks).completion_tokens == request.output_tokens

    for call in made:
        arguments = {"call_id": call.call_id, "name": call.name}
        context.items.append(llm.FunctionCall(arguments=call.arguments, **arguments))
        result = llm.FunctionCallOutput(output="sunny", is_error=False, **arguments)
        context.items.append(result)
    assert text_of(await chat(model, context, tools=[get_weather])) == REPLY
    second = sandbox.openai.record.requests[1]
    assert second.input_tokens > request.input_tokens
    assert [message["role"] for message in second.messages][-1] == "tool"


async def test_replies_of_a_list_come_in_turn(sandbox: Sandbox, model: openai.LLM) -> None:
    sandbox.openai.replies = ["One.", Reply("Two.")]
    replies = [text_of(await chat(model, said("Count."))) for _ in range(3)]

    assert replies == ["One.", "Two.", "One."]


async def test_a_function_chooses_the_reply(sandbox: Sandbox, model: openai.LLM) -> None:
    def reply(request: ChatRequest) -> str:
        return f"{request.model} heard {request.last_text!r} with {request.tools}"

    sandbox.openai.replies = reply
    chunks = await chat(model, said("Hello."), tools=[get_weather])
    assert text_of(chunks) == "gpt-4.1-mini heard 'Hello.' with ('get_weather',)"


async def test_without_a_script_the_model_says_so(sandbox: Sandbox, model: openai.LLM) -> None:
    sandbox.openai.replies = {"weather": "sunny"}
    assert text_of(await chat(model, said("Hello."))) == "The sandbox has no reply for this."


async def test_a_stream_without_usage(sandbox: Sandbox, model: openai.LLM) -> None:
    sandbox.openai.reports_usage = False
    chunks = await chat(model, said("Hello."))

    assert not [chunk for chunk in chunks if chunk.usage]
    (request,) = sandbox.openai.record.requests
    assert request.usage_reported is False
    assert request.output_tokens == len(text_tokens(REPLY))


async def test_an_interrupted_reply_costs_the_tokens_that_were_sent(
    sandbox: Sandbox, model: openai.LLM
) -> None:
    sandbox.openai.faults.append(Fault.stall(after=3))
    async with model.chat(chat_ctx=said("Hello."), conn_options=NO_RETRY) as stream:
        heard = [(await anext(stream)).delta.content for _ in range(3)]
    await sandbox.settled()

    (request,) = sandbox.openai.record.requests
    assert heard == text_tokens(REPLY)[:3]
    assert (request.ending, request.output_tokens) == ("client", 3)
    assert request.input_tokens > 0
    assert request.usage_reported is False


async def test_a_paced_reply_is_cut_by_a_client_that_hangs_up(
    sandbox: Sandbox, model: openai.LLM
) -> None:
    sandbox.openai.tokens_per_second = 0.001
    sandbox.openai.time_to_first_token = 0.01
    async with model.chat(chat_ctx=said("Hello."), conn_options=NO_RETRY) as stream:
        await anext(stream)
    await sandbox.settled()

    assert sandbox.openai.record.requests[0].output_tokens == 1


async def test_a_limit_of_tokens_is_kept(sandbox: Sandbox) -> None:
    sandbox.openai.replies = [REPLY]
    async with openai.LLM(
        base_url=sandbox.openai.base_url, api_key="k", max_completion_tokens=4
    ) as model:
        chunks = await chat(model, said("Hello."))

    assert text_of(chunks) == "".join(text_tokens(REPLY)[:4])
    assert usage_of(chunks).completion_tokens == 4


async def test_the_beginning_of_a_long_prompt_is_cached(
    sandbox: Sandbox, model: openai.LLM
) -> None:
    context = said("Remember this. " * 400)
    first = usage_of(await chat(model, context))
    context.add_message(role="user", content="What was it?")
    second = usage_of(await chat(model, context))

    assert first.prompt_cached_tokens == 0
    assert 1024 <= second.prompt_cached_tokens < second.prompt_tokens
    assert second.prompt_cached_tokens % 128 == 0
    assert sandbox.openai.record.totals.cached_input_tokens == second.prompt_cached_tokens


async def test_openais_client_gets_a_whole_completion_and_the_models(sandbox: Sandbox) -> None:
    sandbox.openai.replies = [Reply("", [ToolCall("get_weather", '{"city": "Oslo"}')]), REPLY]
    async with openai_client.AsyncOpenAI(base_url=sandbox.openai.base_url, api_key="k") as client:
        asked: Any = [{"role": "user", "content": [{"type": "text", "text": "Weather?"}]}]
        first = await client.chat.completions.create(model="gpt-4.1", messages=asked)
        second = await client.chat.completions.create(model="gpt-4.1", messages=asked)
        models = [entry.id async for entry in client.models.list()]

    assert first.choices[0].message.tool_calls is not None
    assert first.choices[0].message.tool_calls[0].function.name == "get_weather"
    assert first.choices[0].finish_reason == "tool_calls"
    assert second.choices[0].message.content == REPLY
    assert second.usage is not None
    assert second.usage.completion_tokens == len(text_tokens(REPLY))
    assert models == sandbox.openai.models
    assert sandbox.openai.record.totals.requests == 2


@pytest.mark.parametrize(
    ("body", "key", "status", "problem"),
    [
        ("{", "k", 400, "not JSON"),
        ("[]", "k", 400, "not a JSON object"),
        ('{"model": "m", "messages": "hello"}', "k", 400, "not a list of objects"),
        ('{"model": "m", "messages": []}', "k", 400, "empty array"),
        ('{"messages": [{"role": "user"}]}', "k", 400, "model parameter"),
        ('{"model": "m", "messages": [{"role": "user"}]}', "", 401, "API key"),
    ],
)
async def test_a_wrong_request_is_refused_and_costs_nothing(
    sandbox: Sandbox,
    http: aiohttp.ClientSession,
    body: str,
    key: str,
    status: int,
    problem: str,
) -> None:
    url = f"{sandbox.openai.base_url}/chat/completions"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with http.post(url, data=body, headers=headers) as response:
        assert response.status == status
        assert problem in (await response.json())["error"]["message"]

    assert sandbox.openai.record.totals == sandbox.openai.record.failed
    assert sandbox.openai.record.totals.input_tokens == 0


# What goes wrong on purpose


@pytest.mark.parametrize("code", [401, 429, 500])
async def test_the_plugin_is_told_an_error_status(
    sandbox: Sandbox, model: openai.LLM, code: int
) -> None:
    sandbox.openai.faults.append(Fault.status(code, message="no more today"))
    with pytest.raises(APIStatusError, match="no more today") as refused:
        await chat(model, said("Hello."))

    assert refused.value.status_code == code
    (request,) = sandbox.openai.record.requests
    assert (request.status, request.ending, request.input_tokens) == (code, "error", 0)


async def test_a_rate_limit_says_when_to_come_back(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    sandbox.openai.faults.append(Fault.status(429, retry_after=6.5))
    async with http.post(f"{sandbox.openai.base_url}/chat/completions") as response:
        assert response.headers["Retry-After"] == "7"
        assert (await response.json())["error"]["code"] == "rate_limit_exceeded"


async def test_the_plugin_retries_and_only_the_last_attempt_costs(
    sandbox: Sandbox, model: openai.LLM
) -> None:
    sandbox.openai.faults.append(Fault.status(500), times=2)
    options = APIConnectOptions(max_retry=2, retry_interval=0.01)
    usage = usage_of(await chat(model, said("Hello."), options))

    assert [request.status for request in sandbox.openai.record.requests] == [500, 500, 200]
    assert sandbox.openai.record.totals.input_tokens == usage.prompt_tokens
    assert sandbox.openai.record.failed.requests == 2
    assert sandbox.openai.faults.waiting == ()


@pytest.mark.parametrize(
    ("fault", "ending", "tokens"),
    [
        (Fault.refuse(), "fault", 0),
        (Fault.cut(after=3), "fault", 3),
        (Fault.cut(after=0), "fault", 0),
        (Fault.garbage(after=2), "error", 2),
        (Fault.error("the model has crashed", after=2), "error", 2),
    ],
)
async def test_a_broken_stream_costs_the_tokens_that_were_sent(
    sandbox: Sandbox, model: openai.LLM, fault: Fault, ending: str, tokens: int
) -> None:
    sandbox.openai.faults.append(fault)
    heard = []
    async with model.chat(chat_ctx=said("Hello."), conn_options=NO_RETRY) as stream:
        while True:
            try:
                heard.append((await anext(stream)).delta.content)
            except APIConnectionError:
                break
    await sandbox.settled()

    assert heard == text_tokens(REPLY)[:tokens]
    (request,) = sandbox.openai.record.requests
    assert (request.ending, request.output_tokens) == (ending, tokens)
    assert (request.input_tokens > 0) == (fault.kind != "refuse")
    assert sandbox.openai.record.failed.requests == (ending == "error")
    assert request.fault == str(fault)


@pytest.mark.parametrize("after", [None, 0, 2])
async def test_a_stall_lets_the_plugin_give_up(
    sandbox: Sandbox, model: openai.LLM, after: float | None
) -> None:
    sandbox.openai.faults.append(Fault.stall(after=after))
    with pytest.raises((APITimeoutError, APIError)):
        await chat(model, said("Hello."), IMPATIENT)
    await sandbox.settled()

    (request,) = sandbox.openai.record.requests
    assert (request.ending, request.output_tokens) == ("client", after or 0)


async def test_after_a_short_stall_the_reply_goes_on(sandbox: Sandbox, model: openai.LLM) -> None:
    sandbox.openai.faults.append(Fault.stall(0.01, after=2))
    assert text_of(await chat(model, said("Hello."))) == REPLY


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.cut(0), openai_client.APIConnectionError),
        (Fault.garbage(), ValueError),
        (Fault.error(), openai_client.InternalServerError),
    ],
)
async def test_a_whole_completion_can_fail_too(
    sandbox: Sandbox, fault: Fault, error: type[Exception]
) -> None:
    sandbox.openai.faults.append(fault)
    async with openai_client.AsyncOpenAI(
        base_url=sandbox.openai.base_url, api_key="k", max_retries=0
    ) as client:
        with pytest.raises(error):
            await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "Hello."}]
            )


async def test_many_replies_at_once_are_kept_apart(sandbox: Sandbox, model: openai.LLM) -> None:
    sandbox.openai.replies = lambda request: f"You said {request.last_text}"
    texts = [f"number {number}" for number in range(20)]
    replies = await asyncio.gather(*(chat(model, said(text)) for text in texts))

    assert [text_of(reply) for reply in replies] == [f"You said {text}" for text in texts]
    assert len({request.id for request in sandbox.openai.record.requests}) == 20
