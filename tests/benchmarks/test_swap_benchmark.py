"""A small run of ``benchmarks/swap.py``: that it swaps and prints, not how long anything takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.machine import MODELS, without_models

from livekit_plugins_voicegateway.demo.local_models import find_local_models

pytestmark = pytest.mark.timeout(300)


def test_a_swap_is_measured_by_itself_and_in_a_call(run_benchmark: Callable[..., str]) -> None:
    left_out = find_local_models(MODELS).left_out
    if left_out:
        without_models(left_out)
    switches, calls, _ = run_benchmark("swap.py", "--quick").split("\n\n")
    head, _, *lines = switches.splitlines()
    assert [line.split(",")[0].split(" |")[0] for line in lines] == [
        "| STT to whisper",
        "| STT back to the cloud",
        "| TTS to Kokoro",
    ]
    assert {line.count("|") for line in lines} == {head.count("|")}
    head, _, spent = calls.splitlines()
    assert spent.startswith("| spent in the middle of the utterance | 1 | ")
    assert spent.count("|") == head.count("|")
