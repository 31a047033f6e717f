"""OpenAI's chat completions on loopback: ``/v1/chat/completions`` and ``/v1/models``.

The wire protocol is that of OpenAI's API reference ("Chat", "Streaming"): server-sent events, one
token in each, tool calls in pieces, and the usage in a last chunk when the client asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web

from .chat import ChatProvider, Delta
from .provider import key_of
from .record import CompletionRecord
from .replies import Reply
from .tokens import TOOL_CALL_OVERHEAD, PromptCache, text_tokens

__all__ = ["OpenAI"]

_ERROR_TYPES = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("rate_limit_exceeded", "rate_limit_exceeded"),
}


class OpenAI(ChatProvider):
    """Chat completions; any model is there.

    Attributes:
        models: What ``/v1/models`` lists.
    """

    name = "openai"
    fingerprint = "fp_sandbox"

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.models = ["gpt-4.1", "gpt-4.1-mini", "gpt-4o-mini"]
        self._cache = PromptCache()

    def listen(self, router: web.UrlDispatcher, url: str) -> None:
        self.base_url = f"{url}/v1"
        router.add_post(f"/{self.name}/v1/chat/completions", self.complete)
        router.add_get(f"/{self.name}/v1/models", self._list_models)

    def error_body(self, code: int, message: str, request_id: str) -> dict[str, Any]:
        other = ("invalid_request_error" if code < 500 else "server_error", None)
        kind, name = _ERROR_TYPES.get(code, other)
        return {"error": {"message": message, "type": kind, "param": None, "code": name}}

    def check(self, request: CompletionRecord, body: dict[str, Any]) -> tuple[int, str] | None:
        if not request.key:
            return 401, "You didn't provide an API key."
        if not request.model:
            return 400, "you must provide a model parameter"
        if not request.messages:
            return 400, "Invalid 'messages': empty array."
        return None

    def count_prompt(self, request: CompletionRecord, tokens: list[str]) -> None:
        request.input_tokens = len(tokens)
        owner = f"{request.key}/{request.model}"
        request.cached_input_tokens = self._cache.look_up(owner, tokens)

    def deltas(self, reply: Reply) -> Iterator[Delta]:
        yield Delta({"role": "assistant", "content": "" if reply.text else None}, tokens=0)
        for token in text_tokens(reply.text):
            yield Delta({"content": token}, tokens=1, text=token)
        for index, call in enumerate(reply.tool_calls):
            head = {
                "index": index,
                "id": self.new_id("call_"),
                "type": "function",
                "function": {"name": call.name, "arguments": ""},
            }
            tokens = TOOL_CALL_OVERHEAD + len(text_tokens(call.name))
            yield Delta({"tool_calls": [head]}, tokens, tool_calls=(call.name,))
            for token in text_tokens(call.json):
                piece = {"index": index, "function": {"arguments": token}}
                yield Delta({"tool_calls": [piece]}, tokens=1)

    def usage(self, request: CompletionRecord) -> dict[str, Any]:
        return {
            "prompt_tokens": request.input_tokens,
            "completion_tokens": request.output_tokens,
            "total_tokens": request.input_tokens + request.output_tokens,
            "prompt_tokens_details": {
                "cached_tokens": request.cached_input_tokens,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    async def _list_models(self, http: web.Request) -> web.Response:
        if not key_of(http):
            body = self.error_body(401, "You didn't provide an API key.", "")
            return web.json_response(body, status=401)
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "system"}
            for name in self.models
        ]
        return web.json_response({"object": "list", "data": models})
