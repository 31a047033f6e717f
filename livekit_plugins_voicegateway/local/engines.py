"""One loaded model, and the thread it works on.

An engine is loaded once per process and shared by every model object with the same weights and
options. Loading and inference happen on the engine's own thread, one after the other, so the event
loop never waits: CTranslate2 and onnxruntime release the GIL while they work.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from ..log import logger

__all__ = ["Engine", "answer", "close_engines", "shared_engine"]

ModelT = TypeVar("ModelT")
ResultT = TypeVar("ResultT")


class Engine(Generic[ModelT]):
    """A model that is loaded when it is first used, or when `prewarm` says so.

    Args:
        name: For the log and the thread, ``local/whisper-base``.
        load: Makes the model. Runs on the engine's thread; may take seconds; may raise, and is
            then tried again at the next use.
        warm_up: One small inference, so that the first caller does not pay for what a library
            sets up late.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], ModelT],
        warm_up: Callable[[ModelT], object],
    ) -> None:
        self.name = name
        self._load = load
        self._warm_up = warm_up
        self._model: ModelT | None = None
        self._warming: Future[None] | None = None
        self._waiting = 0
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"voicegw-{name}")

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._model is not None

    @property
    def idle(self) -> bool:
        """Whether nothing is running or waiting on the engine's thread."""
        return self._waiting == 0

    def prewarm(self) -> Future[None]:
        """Start loading in the background; returns at once. A failure is logged, once.

        Returns:
            Done when the weights are in memory and one inference has been made; raises what
            loading raised. Who does not care may drop it.
        """
        with self._lock:
            warming = self._warming
            if warming is not None and not (warming.done() and warming.exception()):
                return warming
            warming = self._warming = self._executor.submit(self._prewarm)
            self._waiting += 1
        # Outside the lock: it may be done already, and then calls back at once.
        warming.add_done_callback(self._finished)
        return warming

    async def run(self, work: Callable[[ModelT], ResultT]) -> ResultT:
        """Do ``work`` on the engine's thread, after what waits there already.

        A cancelled caller takes its work out of the queue. Work that runs already goes on to its
        end, unless ``work`` itself knows how to stop.
        """
        with self._lock:
            self._waiting += 1
        future = self._executor.submit(lambda: work(self._ensure()))
        future.add_done_callback(self._finished)
        return await asyncio.wrap_future(future)

    async def ready(self) -> None:
        """Wait for what `prewarm` started; starts it, if nobody did. Raises what loading raised."""
        await asyncio.shield(asyncio.wrap_future(self.prewarm()))

    def close(self) -> None:
        """Let go of the model. Waits for an inference that is running."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._model = None

    def _prewarm(self) -> None:
        try:
            self._warm_up(self._ensure())
        except Exception as error:
            logger.warning("%s could not be loaded: %s", self.name, error)
            raise

    def _ensure(self) -> ModelT:
        if self._model is None:
            started = time.perf_counter()
            self._model = self._load()
            logger.info("%s loaded in %.1f s", self.name, time.perf_counter() - started)
        return self._model

    def _finished(self, _: Future[Any]) -> None:
        with self._lock:
            self._waiting -= 1


_engines: dict[Hashable, Engine[Any]] = {}
_engines_lock = threading.Lock()


def shared_engine(key: Hashable, make: Callable[[], Engine[ModelT]]) -> Engine[ModelT]:
    """The process's engine for ``key``, made by ``make`` when there is none yet."""
    with _engines_lock:
        engine = _engines.get(key)
        if engine is None:
            engine = _engines[key] = make()
        return engine


async def answer(work: Awaitable[ResultT]) -> ResultT:
    """Await an engine, and raise what fails in it as LiveKit's sessions expect of a provider.

    Raises:
        APIError: Weights are missing, or the library failed. Never retried: what failed on this
            machine would fail again.
    """
    from livekit.agents import APIError

    try:
        return await work
    except APIError:
        raise
    except Exception as error:
        raise APIError(str(error) or type(error).__name__, retryable=False) from error


def close_engines() -> None:
    """Let go of every loaded model. Model objects that are still used load theirs again."""
    with _engines_lock:
        engines = list(_engines.values())
        _engines.clear()
    for engine in engines:
        engine.close()
