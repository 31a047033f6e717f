"""docs/sandbox.md says what is there: its examples run, its names exist."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from livekit_plugins_voicegateway import sandbox

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
async def test_the_examples_run(number: int) -> None:
    names: dict[str, object] = {"__name__": f"sandbox_example_{number}"}
    exec(compile(EXAMPLES[number], f"docs/sandbox.md, example {number}", "exec"), names)
    (test,) = [value for name, value in names.items() if name.startswith("test_")]
    assert inspect.iscoroutinefunction(test)
    await test()


def test_there_is_more_than_one_example() -> None:
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize("kind", sandbox.FaultKind.__args__)
def test_every_fault_is_described(kind: str) -> None:
    assert f"`Fault.{kind}(" in PAGE


def test_all_that_the_page_names_is_there() -> None:
    running = sandbox.Sandbox()
    for provider, name in re.findall(r"`sandbox\.(\w+)\.(\w+)", PAGE):
        assert hasattr(getattr(running, provider), name), f"sandbox.{provider}.{name}"
    for provider, name in re.findall(r"`(openai|cartesia)\.([a-z]\w+)(?:`| =)", PAGE):
        assert hasattr(getattr(running, provider), name), f"{provider}.{name}"
