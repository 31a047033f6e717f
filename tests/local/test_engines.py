"""An engine loads once, on its own thread, and serves one after the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from livekit.agents import APIError
from support.machine import PATIENCE

from livekit_plugins_voicegateway.errors import WeightsMissingError
from livekit_plugins_voicegateway.local.engines import Engine, answer, close_engines, shared_engine


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    close_engines()


class Model:
    """A model that writes down on which thread it was made."""

    def __init__(self) -> None:
        self.thread = threading.current_thread()


def engine_of(load: Callable[[], Any], warm_up: Callable[[Any], Any] = lambda _: None) -> Any:
    return shared_engine("test", lambda: Engine("local/test", load, warm_up))


async def test_the_model_is_made_and_used_on_one_thread_that_is_not_the_loops() -> None:
    engine = engine_of(Model)
    made, used = await engine.run(lambda model: (model.thread, threading.current_thread()))
    assert made is used
    assert made is not threading.current_thread()


async def test_many_callers_share_one_load() -> None:
    loads: list[Model] = []

    def load() -> Model:
        loads.append(Model())
        return loads[-1]

    engine = engine_of(load)
    engine.prewarm()
    models = await asyncio.gather(*(engine.run(lambda model: model) for _ in range(20)))
    assert len(loads) == 1
    assert set(models) == set(loads)
    assert shared_engine("test", lambda: pytest.fail("made twice")) is engine


async def test_prewarm_loads_and_makes_one_inference_and_what_follows_waits_for_it() -> None:
    order: list[str] = []
    engine = engine_of(lambda: order.append("load") or Model(), lambda _: order.append("warm"))
    assert not engine.loaded
    engine.prewarm()
    engine.prewarm()
    await engine.run(lambda _: order.append("work"))
    assert order == ["load", "warm", "work"]
    assert engine.loaded


async def test_the_loop_goes_on_while_the_model_loads() -> None:
    may_load = threading.Event()

    def load() -> Model:
        assert may_load.wait(PATIENCE)
        return Model()

    engine = engine_of(load)
    ready = asyncio.create_task(engine.ready())
    await asyncio.sleep(0)  # had loading blocked the loop, this line would not be reached
    assert not ready.done()
    assert not engine.idle
    may_load.set()
    await ready
    assert engine.loaded


async def test_a_load_that_failed_is_tried_again_at_the_next_use() -> None:
    attempts: list[int] = []

    def load() -> Model:
        attempts.append(1)
        if len(attempts) == 1:
            raise WeightsMissingError("local/test", ["model.bin is missing"])
        return Model()

    engine = engine_of(load)
    with pytest.raises(WeightsMissingError, match=r"model\.bin is missing.*download-files"):
        await engine.ready()
    await engine.ready()
    assert engine.loaded


async def test_a_failed_prewarm_says_so_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def load() -> Model:
        raise WeightsMissingError("local/test", ["model.bin is missing"])

    engine = engine_of(load)
    with pytest.raises(WeightsMissingError):
        await engine.ready()
    assert [record.getMessage() for record in caplog.records] == [
        "local/test could not be loaded: local/test has no weights on this machine: "
        "model.bin is missing. Run `voicegw download-files`."
    ]


async def test_a_caller_that_gave_up_takes_its_work_out_of_the_queue() -> None:
    may_go_on = threading.Event()
    done: list[str] = []
    engine = engine_of(Model)
    running = asyncio.create_task(engine.run(lambda _: may_go_on.wait(PATIENCE)))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(engine.run(lambda _: done.append("never")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    may_go_on.set()
    await running
    await engine.run(lambda _: done.append("next"))
    assert done == ["next"]
    assert engine.idle


async def test_waiting_for_readiness_can_be_given_up_without_stopping_the_load() -> None:
    may_load = threading.Event()
    engine = engine_of(lambda: may_load.wait(PATIENCE) and Model())
    impatient = asyncio.create_task(engine.ready())
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    may_load.set()
    await engine.ready()
    assert engine.loaded


async def test_what_fails_in_an_engine_reaches_a_session_as_an_error_it_does_not_retry() -> None:
    async def fail() -> None:
        raise WeightsMissingError("local/test", ["model.bin is missing"])

    with pytest.raises(APIError, match=r"model\.bin is missing") as caught:
        await answer(fail())
    assert caught.value.retryable is False
    assert isinstance(caught.value.__cause__, WeightsMissingError)


async def test_closed_engines_are_made_anew() -> None:
    first = engine_of(Model)
    await first.ready()
    close_engines()
    assert not first.loaded
    assert engine_of(Model) is not first
