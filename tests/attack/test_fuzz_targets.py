"""Wrong input on every surface: accepted or refused with a reason, never anything else.

These are the short forms; `make faults` lets a coverage-guided fuzzer go on from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from faulting import bad_input
from fuzzing.mutation import mutated
from fuzzing.target import Check
from fuzzing.targets import TARGETS
from hypothesis import HealthCheck, given, settings, strategies as st

MUTATED = {"command": 100, "yaml": 800, "variables": 150, "cursor": 800}
"""Mutations of examples that each target gets; 300 where it is not named."""


@pytest.fixture(scope="module", params=TARGETS)
def check(request: pytest.FixtureRequest) -> Iterator[tuple[str, Check]]:
    target = TARGETS[request.param]
    with target.prepare() as check:
        yield target.name, check


def test_its_examples_are_answered(check: tuple[str, Check]) -> None:
    name, answer = check
    outcomes = {answer(example) for example in TARGETS[name].examples()}
    assert "accepted" in outcomes


def test_every_mutation_of_an_example_is_accepted_or_refused(check: tuple[str, Check]) -> None:
    name, answer = check
    target, random = TARGETS[name], Random(20260531)
    examples = target.examples()
    outcomes = set()
    for _ in range(MUTATED.get(name, 300)):
        data = mutated(random.choice(examples), target.words, random)
        outcomes.add(tried(answer, data))
    assert "refused" in outcomes


def test_whatever_it_is_given_is_accepted_or_refused(check: tuple[str, Check]) -> None:
    name, answer = check
    words = [word.encode("utf-8", "surrogatepass") for word in TARGETS[name].words]
    pieces = st.lists(st.one_of(st.sampled_from(words), st.binary(max_size=6)), max_size=12)

    @given(st.one_of(st.binary(max_size=120), pieces.map(b"".join)))
    @settings(
        deadline=None,
        max_examples=30 if name == "command" else 100,
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
    def anything(data: bytes) -> None:
        tried(answer, data)

    anything()


def tried(answer: Callable[[bytes], str], data: bytes) -> str:
    try:
        return answer(data)
    except BaseException as error:
        error.add_note(f"the input was {data!r}")
        raise


@pytest.mark.faults
@pytest.mark.timeout(4 * 3600)
async def test_a_million_inputs_on_all_surfaces_together_break_no_promise() -> None:
    pytest.importorskip("atheris", reason="Atheris has no wheel for this machine")
    (experiment,) = bad_input.experiments()
    findings = await experiment.run(False)
    assert sum(finding.tries for finding in findings) >= 1_000_000


async def test_the_fuzzer_finds_its_way_into_a_target(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="Atheris has no wheel for this machine")
    told = await bad_input.fuzzed("yaml", 300, tmp_path)
    assert told["inputs"] >= 299
    assert told["accepted"]
    assert told["refused"]
