"""The sandbox: four providers behind one port of loopback."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from aiohttp import web

from .cartesia import Cartesia
from .deepgram import Deepgram
from .ollama import Ollama
from .openai import OpenAI

__all__ = ["Sandbox"]

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LARGEST_BODY = 64 * 1024**2


class Sandbox:
    """Deepgram, OpenAI, Cartesia and Ollama on 127.0.0.1, with a record of what each would bill.

    An async context manager: it listens on a port chosen by the system while the block runs, and
    nothing of it is left afterwards. It works in the event loop in which it was entered.

    Args:
        port: The port to listen on; 0 lets the system choose.
        clock: Unix time in seconds.

    Attributes:
        deepgram: Speech to text.
        openai: Chat completions.
        cartesia: Text to speech.
        ollama: Local chat completions.
        url: Where it listens; ``/record`` under it is `record` as JSON.
    """

    def __init__(self, *, port: int = 0, clock: Callable[[], float] = time.time) -> None:
        self.deepgram = Deepgram(clock)
        self.openai = OpenAI(clock)
        self.cartesia = Cartesia(clock)
        self.ollama = Ollama(clock)
        self.url = ""
        self._port = port
        self._runner: web.AppRunner | None = None
        self._serving: set[asyncio.Task[Any]] = set()

    @property
    def record(self) -> dict[str, Any]:
        """What each provider received and sent: plain data, by the provider's name."""
        return {provider.name: provider.record.as_dict() for provider in self._providers}

    @property
    def base_urls(self) -> dict[str, str]:
        """The ``base_url`` of each provider, by its name, as voicegw.yaml wants them."""
        return {provider.name: provider.base_url for provider in self._providers}

    async def settled(self) -> None:
        """Wait until every request that has begun has ended, so that `record` is complete.

        A client that hangs up knows it before the sandbox does.
        """
        for provider in self._providers:
            await provider.settled()

    async def __aenter__(self) -> Sandbox:
        if self._runner is not None:
            raise RuntimeError("this sandbox is running already")
        listening = socket.create_server(("127.0.0.1", self._port))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        app = web.Application(middlewares=[self._serve], client_max_size=_LARGEST_BODY)
        app.router.add_get("/record", self._show_record)
        for provider in self._providers:
            provider.closing = False
            provider.listen(app.router, f"{self.url}/{provider.name}")
        # A client that hangs up ends its request at once: what it cost is known then.
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for provider in self._providers:
            provider.closing = True
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def _providers(self) -> tuple[Deepgram, OpenAI, Cartesia, Ollama]:
        return self.deepgram, self.openai, self.cartesia, self.ollama

    @web.middleware
    async def _serve(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            return await handler(request)
        except ConnectionError:
            # The client has gone, or a fault has closed the connection: nobody reads an answer.
            return web.Response()
        finally:
            self._serving.discard(task)

    async def _show_record(self, http: web.Request) -> web.Response:
        return web.json_response(self.record)
