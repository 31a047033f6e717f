"""The sandbox's tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from livekit_plugins_voicegateway.sandbox import text_tokens
from livekit_plugins_voicegateway.sandbox.tokens import PromptCache, prompt_tokens


@given(st.text())
def test_tokens_put_together_are_the_text_again(text: str) -> None:
    assert "".join(text_tokens(text)) == text
    assert all(text_tokens(text)) or not text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Hello, how are you?", ["Hello", ",", " how", " are", " you", "?"]),
        ("It's 12345 o'clock.", ["It", "'s", " ", "123", "45", " o", "'", "clock", "."]),
        (" internationalization", [" inter", "natio", "naliz", "ation"]),
        ("snake_case()", ["snake", "_", "case", "()"]),
        ("two\n\nlines", ["two", "\n", "\n", "lines"]),
        ("Größenwahn", ["Gr", "öß", "en", "wa", "hn"]),
    ],
)
def test_text_is_cut_as_a_gpt_does_it(text: str, tokens: list[str]) -> None:
    assert text_tokens(text) == tokens


def test_english_has_about_four_tokens_to_three_words() -> None:
    text = (
        "He was not an ill-disposed young man, unless to be rather cold hearted and rather "
        "selfish is to be ill-disposed: but he was, in general, well respected; for he conducted "
        "himself with propriety in the discharge of his ordinary duties."
    )
    # OpenAI's rule of thumb: 100 tokens are about 75 words.
    assert len(text_tokens(text)) == pytest.approx(len(text.split()) / 0.75, rel=0.15)


def test_a_prompt_has_its_overhead() -> None:
    hello = [{"role": "user", "content": "Hello"}]
    assert len(prompt_tokens(hello, [])) == 4 + 1 + 3
    named = [{"role": "user", "content": "Hello", "name": "Ann"}]
    assert len(prompt_tokens(named, [])) == len(prompt_tokens(hello, [])) + 2
    call = {"function": {"name": "get", "arguments": "{}"}}
    called = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    assert len(prompt_tokens(called, [])) == 4 + 4 + 2 + 3
    tool = {"type": "function", "function": {"name": "get"}}
    assert len(prompt_tokens(hello, [tool])) > len(prompt_tokens(hello, [])) + 10


def test_parts_of_a_message_are_counted() -> None:
    parts = [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {}}]
    assert len(prompt_tokens([{"role": "user", "content": parts}], [])) == 4 + 1 + 85 + 3


def test_the_cache_keeps_owners_apart_and_needs_1024_tokens() -> None:
    cache = PromptCache()
    assert cache.look_up("a", ["x"] * 1500) == 0
    assert cache.look_up("a", ["x"] * 1500) == 1408
    assert cache.look_up("b", ["x"] * 1500) == 0
    assert cache.look_up("a", ["x"] * 1023) == 0
    assert cache.look_up("a", ["x"] * 1100 + ["y"] * 1000) == 1024
