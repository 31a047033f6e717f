"""What a spent budget does to requests: a warning, another model, a signal, or a refusal."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import APIStatusError, llm, utils
from support.gateways import gateway_on, usage_rows
from support.machine import PATIENCE
from support.traces import PATIENT, chat, frames, speak, transcribe

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.gateway import Gateway
from livekit_plugins_voicegateway.sandbox import Sandbox
from livekit_plugins_voicegateway.signals import BudgetExceededError, BudgetThrottleSignal


def projects(action: str, *, budget: str = "0", fallback: str = "none", more: str = "") -> str:
    return (
        f"projects: {{prod: {{daily_budget: {budget}, budget_action: {action}, "
        f"fallback: {fallback}}}}}\n{more}"
    )


async def ask(gateway: Gateway, use: Any, model: Any) -> tuple[Any, list[dict[str, Any]]]:
    trace = await use(model)
    await model.aclose()
    return trace, await usage_rows(gateway)


@pytest.mark.parametrize(
    ("make", "use"),
    [
        (lambda: inference.LLM("openai/gpt-4.1-mini", project="prod"), chat),
        (lambda: inference.TTS("cartesia/sonic-3", project="prod"), speak),
        (lambda: inference.STT("deepgram/nova-3", project="prod"), transcribe),
    ],
    ids=["llm", "tts", "stt"],
)
async def test_block_refuses_with_402_and_makes_no_request(
    tmp_path: Path, make: Any, use: Any
) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, projects("block")) as gateway:
            trace, rows = await ask(gateway, use, make())
        requests = sum(record["totals"]["requests"] for record in sandbox.record.values())
    assert trace.raised is not None
    assert trace.raised[0] == "BudgetExceededError"
    [(kind, _, status, recoverable, _)] = trace.errors
    assert (kind, status, recoverable) == ("BudgetExceededError", 402, False)
    assert requests == 0
    [row] = rows
    assert (row["status"], row["cost_nanos"], row["error"]) == (
        "rejected",
        0,
        "BudgetExceededError 402",
    )


async def test_throttle_without_a_fallback_raises_the_signal(tmp_path: Path) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, projects("throttle")) as gateway:
            model = inference.LLM("openai/gpt-4.1-mini", project="prod")
            trace, _ = await ask(gateway, chat, model)
    assert trace.raised is not None
    assert trace.raised[0] == "BudgetThrottleSignal"


async def test_block_is_what_it_is_also_where_other_models_take_over_for_a_provider(
    tmp_path: Path,
) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, projects("block")) as gateway:
            voice = inference.TTS("cartesia/sonic-2", fallback=["cartesia/sonic-3"], project="prod")
            spoken, whole = await speak(voice), await speak(voice, whole=True)
            await voice.aclose()
            ear = inference.STT("deepgram/nova-3", fallback=["deepgram/nova-2"], project="prod")
            heard, rows = await ask(gateway, transcribe, ear)
        assert sandbox.cartesia.record.totals.requests == 0
    for trace in (spoken, whole, heard):
        assert trace.raised is not None
        assert trace.raised[0] == "BudgetExceededError"
    assert {row["status"] for row in rows} == {"rejected"}


async def test_throttle_answers_with_the_local_model_and_says_what_was_asked_for(
    tmp_path: Path,
) -> None:
    text = projects("throttle", fallback='{llm: "ollama/qwen2.5:3b"}')
    async with utils.http_context.open(), Sandbox() as sandbox:
        sandbox.ollama.replies = ["I run on this machine."]
        async with gateway_on(sandbox, tmp_path, text) as gateway:
            model = inference.LLM(
                "openai/gpt-4.1-mini", project="prod", extra_kwargs={"service_tier": "flex"}
            )
            trace, rows = await ask(gateway, chat, model)
        assert sandbox.openai.record.totals.requests == 0
    assert "".join(trace.results) == "I run on this machine."
    [row] = rows
    assert (row["provider"], row["model"]) == ("ollama", "qwen2.5:3b")
    assert row["requested_model"] == "openai/gpt-4.1-mini"
    assert row["cost_nanos"] == 0
    assert trace.metrics[0]["metadata"].find("qwen2.5:3b") > 0


async def test_warn_goes_on_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        sandbox.openai.replies = ["Yes."]
        async with gateway_on(sandbox, tmp_path, projects("warn")) as gateway:
            model = inference.LLM("openai/gpt-4.1-mini", project="prod")
            for _ in range(3):
                trace = await chat(model)
                assert trace.results
            await model.aclose()
            rows = await usage_rows(gateway)
    assert [row["status"] for row in rows] == ["completed"] * 3
    assert len([r for r in caplog.records if "requests go on" in r.message]) == 1


async def test_a_free_model_is_never_refused(tmp_path: Path) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        sandbox.ollama.replies = ["Yes."]
        async with gateway_on(sandbox, tmp_path, projects("block")) as gateway:
            model = inference.LLM("ollama/qwen2.5:3b", project="prod")
            trace, _ = await ask(gateway, chat, model)
    assert trace.raised is None
    assert trace.results


async def test_a_model_of_unknown_price_is_refused_when_the_budget_is_spent(
    tmp_path: Path,
) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, projects("block")) as gateway:
            model = inference.TTS("cartesia/sonic-99", project="prod")
            trace, _ = await ask(gateway, speak, model)
    assert trace.raised is not None
    assert trace.raised[0] == "BudgetExceededError"


async def test_a_model_of_unknown_price_serves_while_there_is_money(tmp_path: Path) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, projects("block", budget="5")) as gateway:
            model = inference.TTS("cartesia/sonic-99", project="prod")
            trace, rows = await ask(gateway, speak, model)
    assert trace.raised is None
    [row] = rows
    assert (row["status"], row["cost_nanos"]) == ("completed", None)
    assert row["characters"] > 0


async def test_the_refusal_carries_what_an_application_needs(tmp_path: Path) -> None:
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, projects("block")):
            with pytest.raises(BudgetExceededError) as caught:
                inference.check_budget("prod")
    error = caught.value
    assert isinstance(error, APIStatusError)
    assert (error.project, error.limit, error.spent) == ("prod", 0.0, 0.0)
    assert (error.currency, error.action, error.status_code) == ("USD", "block", 402)
    assert error.resets_at > datetime.datetime.now(datetime.UTC)
    assert error.retryable is False


async def test_check_budget_says_nothing_while_there_is_money_or_no_limit(tmp_path: Path) -> None:
    text = "projects: {prod: {daily_budget: 5, budget_action: block}, free: {}}\n"
    async with utils.http_context.open(), Sandbox() as sandbox, gateway_on(sandbox, tmp_path, text):
        inference.check_budget("prod")
        inference.check_budget("free")


async def test_a_budget_limits_nothing_where_costs_are_not_tracked(tmp_path: Path) -> None:
    text = projects("block", more="cost_tracking: {enabled: false}\n")
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, text):
            inference.check_budget("prod")


async def test_a_ledger_that_fails_throttles_blocks_or_allows_as_configured(
    tmp_path: Path,
) -> None:
    outcomes = {}
    for action in ("allow", "throttle", "block"):
        folder = tmp_path / action
        folder.mkdir()
        (folder / "voicegw.db").mkdir()  # a directory where the database should be
        text = projects(
            "block",
            budget="5",
            fallback='{llm: "ollama/qwen2.5:3b"}',
            more=f"cost_tracking: {{on_ledger_failure: {action}}}\n",
        )
        async with utils.http_context.open(), Sandbox() as sandbox:
            sandbox.openai.replies = ["cloud"]
            sandbox.ollama.replies = ["local"]
            async with gateway_on(sandbox, folder, text):
                model = inference.LLM("openai/gpt-4.1-mini", project="prod")
                trace = await chat(model)
                await model.aclose()
                outcomes[action] = "".join(trace.results) or (trace.raised or ("", ""))[0]
    assert outcomes == {"allow": "cloud", "throttle": "local", "block": "BudgetExceededError"}


async def test_a_spent_budget_ends_a_running_stream_that_blocks(tmp_path: Path) -> None:
    text = projects("block", budget="0.00024")  # three seconds of nova-3
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, text) as gateway:
            model = inference.STT("deepgram/nova-3", project="prod")
            stream = model.stream(conn_options=PATIENT)
            raised: BaseException | None = None

            async def push() -> None:
                for index, frame in enumerate(frames("austen-0870.wav")):
                    stream.push_frame(frame)
                    if index % 5 == 0:
                        await asyncio.sleep(0.1 / 3)

            pushing = asyncio.create_task(push())
            try:
                async for _ in stream:
                    pass
            except BudgetExceededError as e:
                raised = e
            pushing.cancel()
            await stream.aclose()
            await model.aclose()
            rows = await usage_rows(gateway)
    assert isinstance(raised, BudgetExceededError)
    assert rows[0]["audio_seconds"] < 6


async def test_a_spent_budget_speaks_with_another_voice_at_the_next_synthesis(
    tmp_path: Path,
) -> None:
    text = projects("throttle", budget="0.002", fallback='{tts: "cartesia/sonic-2"}')
    async with utils.http_context.open(), Sandbox() as sandbox:
        async with gateway_on(sandbox, tmp_path, text) as gateway:
            model = inference.TTS("cartesia/sonic-3", project="prod")
            models = []
            for _ in range(3):
                trace = await speak(model)
                assert trace.raised is None
                assert await gateway.flush(PATIENCE)
                models.append(model.metrics_metadata["model_name"])
            await model.aclose()
    assert models[0] == "sonic-3"
    assert models[-1] == "sonic-2"


async def test_tools_and_history_reach_the_local_model(tmp_path: Path) -> None:
    @llm.function_tool
    async def look_up(name: str) -> str:
        """Look up a character."""
        return name

    text = projects("throttle", fallback='{llm: "ollama/qwen2.5:3b"}')
    async with utils.http_context.open(), Sandbox() as sandbox:
        sandbox.ollama.replies = ["Yes."]
        async with gateway_on(sandbox, tmp_path, text):
            model = inference.LLM("openai/gpt-4.1-mini", project="prod")
            await chat(model, tools=[look_up])
            await model.aclose()
        [request] = sandbox.ollama.record.requests
    assert request.tools == ("look_up",)
    assert [message["role"] for message in request.messages] == ["system", "user"]


def test_both_refusals_are_public() -> None:
    import voicegateway

    assert voicegateway.BudgetExceededError is BudgetExceededError
    assert voicegateway.BudgetThrottleSignal is BudgetThrottleSignal
