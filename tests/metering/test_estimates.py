"""Estimates of tokens: near to a real tokenizer's count, nearer still once a model has reported."""

from __future__ import annotations

import pytest
from livekit.agents import llm

from livekit_plugins_voicegateway.metering.estimates import (
    Calibration,
    Prompt,
    estimate_speech_tokens,
    estimate_text_tokens,
)
from livekit_plugins_voicegateway.metering.usage import Quantities


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # counted with OpenAI's o200k_base by hand from its published tokenizer page
        ("Hello, world!", 4),
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("", 0),
    ],
)
def test_plain_english_is_counted_like_a_gpt_tokenizer(text: str, tokens: int) -> None:
    assert estimate_text_tokens(text) == tokens


def test_no_text_of_any_script_is_free() -> None:
    for text in ("Здравствуйте", "こんにちは", "مرحبا", "١٢٣", "🙂", "_"):
        assert estimate_text_tokens(text) >= 1, text


def test_a_model_that_reports_more_raises_later_estimates() -> None:
    calibration = Calibration()
    for _ in range(20):
        calibration.learn(prompt=(100, 150), completion=(100, 130))
    assert calibration.prompt == pytest.approx(1.5, rel=0.01)
    assert calibration.completion == pytest.approx(1.3, rel=0.01)


def test_one_absurd_report_does_not_ruin_the_estimates() -> None:
    calibration = Calibration()
    calibration.learn(prompt=(100, 1_000_000), completion=(100, 0))
    assert calibration.prompt <= 1.6
    assert calibration.completion == 1.0


def test_messages_calls_and_tools_of_a_prompt_are_all_counted() -> None:
    @llm.function_tool
    async def look_up_the_weather(city: str) -> str:
        """Say what the weather is like in a city."""
        return city

    chat_ctx = llm.ChatContext.empty()
    empty = Prompt(list(chat_ctx.items), [], Calibration()).estimate()
    chat_ctx.add_message(role="user", content="What is the weather in Paris?")
    message = Prompt(list(chat_ctx.items), [], Calibration()).estimate()
    chat_ctx.insert(llm.FunctionCall(call_id="1", name="look_up", arguments='{"city": "Paris"}'))
    call = Prompt(list(chat_ctx.items), [], Calibration()).estimate()
    tools = Prompt(list(chat_ctx.items), [look_up_the_weather], Calibration()).estimate()
    assert empty < message < call < tools


def test_speech_priced_by_tokens_is_estimated_from_seconds_and_characters() -> None:
    heard = estimate_speech_tokens("stt", Quantities(audio_seconds=60))
    assert heard.input_tokens == 1000
    spoken = estimate_speech_tokens("tts", Quantities(audio_seconds=60, characters=400))
    assert (spoken.input_tokens, spoken.output_tokens) == (100, 1250)
