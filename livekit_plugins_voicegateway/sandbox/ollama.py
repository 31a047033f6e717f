"""Ollama on loopback: its OpenAI-compatible ``/v1``, and ``/api/tags``, ``version``, ``show``.

Answers and error texts are those of Ollama's own server (its files ``server/routes.go`` and
``openai/openai.go``): unknown options are ignored, one of the wrong type is an error, an unknown
model is not found, tools are an error for a model without them, and all of a reply's tool calls
come in one chunk. There is no key and no prompt cache to report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web

from .chat import ChatProvider, Delta
from .record import CompletionRecord
from .replies import Reply
from .tokens import TOOL_CALL_OVERHEAD, text_tokens

__all__ = ["Ollama"]

_VERSION = "0.12.6"
_MODIFIED_AT = "2025-10-01T00:00:00Z"
_NUMBER = "float64"
# Fields of Go's ChatCompletionRequest that have a type to be wrong about; the rest is ignored.
_GO_TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "model": ("string", (str,)),
    "stream": ("bool", (bool,)),
    "stream_options": ("openai.StreamOptions", (dict,)),
    "max_tokens": ("int", (int,)),
    "seed": ("int", (int,)),
    "temperature": (_NUMBER, (int, float)),
    "frequency_penalty": (_NUMBER, (int, float)),
    "presence_penalty": (_NUMBER, (int, float)),
    "top_p": (_NUMBER, (int, float)),
    "response_format": ("openai.ResponseFormat", (dict,)),
    "tools": ("[]api.Tool", (list,)),
    "reasoning_effort": ("string", (str,)),
}
_EFFORTS = ("high", "medium", "low", "none")


class Ollama(ChatProvider):
    """Local chat models.

    Attributes:
        models: Capabilities by name, as ``/api/show`` tells them; a name without a tag means
            ``:latest``. Change it to add or take away models.
    """

    name = "ollama"
    fingerprint = "fp_ollama"

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.models: dict[str, tuple[str, ...]] = {
            "qwen2.5:3b": ("completion", "tools"),
            "llama3.2:3b": ("completion", "tools"),
            "llama3.1:8b": ("completion", "tools"),
            "gemma2:2b": ("completion",),
        }

    def listen(self, router: web.UrlDispatcher, url: str) -> None:
        self.base_url = url
        router.add_get(f"/{self.name}", self._root)
        router.add_get(f"/{self.name}/", self._root)
        router.add_post(f"/{self.name}/v1/chat/completions", self.complete)
        router.add_get(f"/{self.name}/v1/models", self._list_models)
        router.add_get(f"/{self.name}/api/version", self._version)
        router.add_get(f"/{self.name}/api/tags", self._tags)
        router.add_post(f"/{self.name}/api/show", self._show)

    def error_body(self, code: int, message: str, request_id: str) -> dict[str, Any]:
        kinds = {400: "invalid_request_error", 404: "not_found_error"}
        kind = kinds.get(code, "api_error")
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    def check(self, request: CompletionRecord, body: dict[str, Any]) -> tuple[int, str] | None:
        if (problem := _wrong_type(body)) is not None:
            return 400, problem
        if not request.messages:
            return 400, "[] is too short - 'messages'"
        effort = body.get("reasoning_effort")
        if effort and effort not in _EFFORTS:
            return 400, (
                f"invalid reasoning value: '{effort}' "
                '(must be "high", "medium", "low", or "none")'
            )
        capabilities = self._capabilities(request.model)
        if capabilities is None:
            return 404, f"model '{request.model}' not found"
        if request.tools and "tools" not in capabilities:
            model = f"registry.ollama.ai/library/{_with_tag(request.model)}"
            return 400, f"{model} does not support tools"
        return None

    def count_prompt(self, request: CompletionRecord, tokens: list[str]) -> None:
        request.input_tokens = len(tokens)

    def deltas(self, reply: Reply) -> Iterator[Delta]:
        for token in text_tokens(reply.text):
            yield Delta({"role": "assistant", "content": token}, tokens=1, text=token)
        if not reply.tool_calls:
            return
        calls, tokens = [], 0
        for index, call in enumerate(reply.tool_calls):
            function = {"name": call.name, "arguments": call.json}
            call_id = self.new_id("call_")
            calls.append({"id": call_id, "index": index, "type": "function", "function": function})
            tokens += TOOL_CALL_OVERHEAD + len(text_tokens(call.name) + text_tokens(call.json))
        delta = {"role": "assistant", "content": "", "tool_calls": calls}
        yield Delta(delta, tokens, tool_calls=tuple(call.name for call in reply.tool_calls))

    def usage(self, request: CompletionRecord) -> dict[str, Any]:
        return {
            "prompt_tokens": request.input_tokens,
            "completion_tokens": request.output_tokens,
            "total_tokens": request.input_tokens + request.output_tokens,
        }

    def _capabilities(self, model: str) -> tuple[str, ...] | None:
        for name, capabilities in self.models.items():
            if _with_tag(name) == _with_tag(model):
                return capabilities
        return None

    async def _root(self, http: web.Request) -> web.Response:
        return web.Response(text="Ollama is running")

    async def _version(self, http: web.Request) -> web.Response:
        return web.json_response({"version": _VERSION})

    async def _list_models(self, http: web.Request) -> web.Response:
        models = [
            {"id": _with_tag(name), "object": "model", "created": 0, "owned_by": "library"}
            for name in self.models
        ]
        return web.json_response({"object": "list", "data": models})

    async def _tags(self, http: web.Request) -> web.Response:
        models = [
            {
                "name": _with_tag(name),
                "model": _with_tag(name),
                "modified_at": _MODIFIED_AT,
                "size": 2_000_000_000,
                "digest": "0" * 64,
                "details": _details(name),
            }
            for name in self.models
        ]
        return web.json_response({"models": models})

    async def _show(self, http: web.Request) -> web.Response:
        try:
            asked = await http.json()
            model = asked.get("model") or asked.get("name")
        except (ValueError, AttributeError):
            model = None
        if not isinstance(model, str) or not model:
            return web.json_response({"error": "model is required"}, status=400)
        capabilities = self._capabilities(model)
        if capabilities is None:
            return web.json_response({"error": f"model '{model}' not found"}, status=404)
        return web.json_response(
            {
                "modelfile": f"FROM {_with_tag(model)}",
                "parameters": "",
                "template": "{{ .Prompt }}",
                "details": _details(model),
                "model_info": {"general.architecture": _family(model)},
                "capabilities": list(capabilities),
                "modified_at": _MODIFIED_AT,
            }
        )


def _wrong_type(body: dict[str, Any]) -> str | None:
    for field, (go_type, types) in _GO_TYPES.items():
        value = body.get(field)
        is_flag_for_number = isinstance(value, bool) and bool not in types
        if value is None or (isinstance(value, types) and not is_flag_for_number):
            continue
        return (
            f"json: cannot unmarshal {_json_type(value)} into Go struct field "
            f"ChatCompletionRequest.{field} of type {go_type}"
        )
    return None


def _json_type(value: object) -> str:
    names: tuple[tuple[type, str], ...] = (
        (bool, "bool"),
        (str, "string"),
        (dict, "object"),
        (list, "array"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "number")


def _with_tag(model: str) -> str:
    return model if ":" in model else f"{model}:latest"


def _family(model: str) -> str:
    return model.partition(":")[0].rstrip("0123456789.")


def _details(model: str) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": _family(model),
        "families": [_family(model)],
        "parameter_size": _with_tag(model).partition(":")[2].upper(),
        "quantization_level": "Q4_K_M",
    }
