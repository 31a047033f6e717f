"""``inference.LLM``: a LiveKit LLM that belongs to a project, delegates to a plugin, and meters.

Everything that livekit-agents reads on an LLM is overridden, because ``__getattr__`` would only
answer for names that the base class lacks. The delegate keeps its retries, its metrics and its
errors; this class passes them on and adds none of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from livekit.agents import llm
from livekit.agents.telemetry import trace_types
from livekit.agents.types import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    APIConnectOptions,
    NotGivenOr,
)
from livekit.agents.utils import is_given
from opentelemetry import trace

from .accounts import Delegate
from .delegates import Delegates, given, make_spec, note_without_effect, respell
from .log import logger
from .metering.attempts import may_be_billed, unwatch, watch
from .metering.estimates import Prompt, calibration_for
from .metering.meter import CompletionMeter, begin_meter
from .metering.usage import Quantities
from .telemetry import RequestSpan, name_payer, watch_request

if TYPE_CHECKING:
    from livekit.agents.llm.chat_context import MetricsMetadata

    from .budgets import Hold

__all__ = ["LLM", "LLMStream"]


class LLM(llm.LLM[Any]):
    """A chat model in ``"provider/model"`` form, paid for by a project.

    Takes what ``livekit.agents.inference.LLM`` takes, with the same meaning, and ``project=``.

    Args:
        model: ``"openai/gpt-4.1-mini"``, ``"ollama/qwen2.5:3b"``; any installed plugin.
        provider: Understood by LiveKit's own cloud only.
        base_url: Address of the provider, over the configuration's.
        api_key: Key that pays, over the project's.
        api_secret: Understood by LiveKit's own cloud only.
        inference_class: Understood by LiveKit's own cloud only.
        extra_kwargs: Options sent with every completion.
        prompt_cache_breakpoints: Passed to plugins that know it.
        project: The project that pays; else the active one.

    Raises:
        VoiceGatewayError: The model cannot be built; the message says why, and what mends it.
    """

    def __init__(
        self,
        model: str,
        *,
        provider: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        api_secret: str | None = None,
        inference_class: Any = None,
        extra_kwargs: dict[str, Any] | Any | None = None,
        prompt_cache_breakpoints: bool | Literal["auto"] = "auto",
        project: str | None = None,
    ) -> None:
        super().__init__()
        note_without_effect(
            provider=provider, api_secret=api_secret, inference_class=inference_class
        )
        arguments = given(base_url=base_url, api_key=api_key)
        if prompt_cache_breakpoints != "auto":
            arguments["prompt_cache_breakpoints"] = prompt_cache_breakpoints
        self._extra_kwargs: dict[str, Any] = dict(extra_kwargs or {})
        self._retired: list[Delegate[llm.LLM[Any]]] = []
        self._delegates: Delegates[llm.LLM[Any]] = Delegates(
            self, "llm", make_spec("llm", model, arguments, None), project
        )

    @classmethod
    def from_model_string(cls, model: str) -> LLM:
        """Make an LLM from a model string."""
        return cls(model)

    @property
    def model(self) -> str:
        """Model of the plugin that serves the next completion."""
        return self._delegates.current().instance.model

    @property
    def provider(self) -> str:
        """Provider of the plugin that serves the next completion."""
        return self._delegates.current().instance.provider

    @property
    def metrics_metadata(self) -> MetricsMetadata:
        """Labels of the plugin that served the last completion."""
        return self._delegates.served.instance.metrics_metadata

    def update_options(
        self,
        *,
        model: NotGivenOr[str] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
        prompt_cache_breakpoints: NotGivenOr[bool | Literal["auto"]] = NOT_GIVEN,
    ) -> None:
        """Change the model or its options from the next completion on.

        Args:
            model: Another model, of any provider.
            extra_kwargs: Replaces the options of every completion; ``{}`` clears them.
            prompt_cache_breakpoints: As in the constructor.
        """
        spec = self._delegates.spec
        if is_given(model):
            spec = respell(spec, "llm", model)
        if not isinstance(prompt_cache_breakpoints, type(NOT_GIVEN)):
            arguments = dict(spec.arguments)
            arguments.pop("prompt_cache_breakpoints", None)
            if prompt_cache_breakpoints != "auto":
                arguments["prompt_cache_breakpoints"] = prompt_cache_breakpoints
            spec = dataclasses.replace(spec, arguments=arguments)
        self._retired += self._delegates.update(spec, given(model=model))
        if is_given(extra_kwargs):
            self._extra_kwargs = dict(extra_kwargs)

    def prewarm(self, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Open the connection to the provider in the background."""
        self._delegates.current().instance.prewarm(loop=loop)

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice] = NOT_GIVEN,
        response_format: NotGivenOr[Any] = NOT_GIVEN,
        inference_class: NotGivenOr[Any] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> LLMStream:
        """Ask for a completion; see ``livekit.agents.llm.LLM.chat``."""
        note_without_effect(inference_class=inference_class)
        extra = {**(extra_kwargs if is_given(extra_kwargs) else {}), **self._extra_kwargs}
        options = given(
            parallel_tool_calls=parallel_tool_calls,
            tool_choice=tool_choice,
            response_format=response_format,
        )
        if extra:
            options["extra_kwargs"] = extra
        return LLMStream(
            self,
            self._delegates,
            chat_ctx=chat_ctx,
            tools=tools or [],
            conn_options=conn_options,
            options=options,
        )

    async def aclose(self) -> None:
        """Close the plugin instances behind this object."""
        await super().aclose()
        for delegate in self._retired:
            await self._delegates.retire(delegate)
        await self._delegates.aclose()

    def __getattr__(self, name: str) -> Any:
        # only what the plugin has on top of LiveKit's LLM
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._delegates.current().instance, name)


class LLMStream(llm.LLMStream):
    """A completion: the delegate's stream, metered on its way through."""

    _llm_request_span_name: ClassVar[str] = "voicegateway_llm"
    # the delegate's own request span nests under ours and owns the gen_ai attributes
    _llm_attempt_span_name: ClassVar[str | None] = None
    _genai_operation_name: ClassVar[str | None] = None

    def __init__(
        self,
        owner: LLM,
        delegates: Delegates[llm.LLM[Any]],
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        conn_options: APIConnectOptions,
        options: dict[str, Any],
    ) -> None:
        self._delegates = delegates
        self._delegate = delegates.current()
        self._delegate_options = conn_options
        self._chat_options = options
        self._inner: llm.LLMStream | None = None
        self._inner_error: BaseException | None = None
        self._meter: CompletionMeter | None = None
        self._request_span: RequestSpan | None = None
        self._hold: Hold | None = None
        self._request = delegates.request(self._delegate)
        self._caller_span = trace.get_current_span()
        super().__init__(
            owner,
            chat_ctx=chat_ctx,
            tools=tools,
            conn_options=dataclasses.replace(conn_options, max_retry=0),
        )
        # nobody but the caller reads the events, so the base's tee is not needed
        self._event_aiter = self._event_ch

    @property
    def chat_ctx(self) -> llm.ChatContext:
        """The conversation, as the delegate's stream has it."""
        return self._inner.chat_ctx if self._inner is not None else self._chat_ctx

    @property
    def tools(self) -> list[llm.Tool]:
        """The tools, as the delegate's stream has them."""
        return self._inner.tools if self._inner is not None else self._tools

    async def _run(self) -> None:
        self._request_span = watch_request(self._llm_request_span, self._request)
        if self._request_span is not None:
            # LiveKit ends it, and it ends when it has its cost
            self._llm_request_span = cast("trace.Span", self._request_span)
        name_payer(self._caller_span, self._request)
        delegate = await self._admitted()
        status: Literal["completed", "cancelled", "failed"] = "completed"
        error: BaseException | None = None
        try:
            inner = self._inner = delegate.instance.chat(
                chat_ctx=self._chat_ctx,
                tools=self._tools,
                conn_options=self._delegate_options,
                **_accepted(delegate, self._chat_options),
            )
            # llm.FallbackAdapter sets it on the object that chat() returned
            inner._retry_on_chunk_sent = self._retry_on_chunk_sent
            watch(inner, self, self._count)
            self._delegates.serves(delegate)
            send = self._event_ch.send_nowait
            async with inner:
                async for chunk in inner:
                    send(chunk)
            self._name_who_served(delegate.instance)
        except asyncio.CancelledError:
            status = "cancelled"
            raise
        except Exception as e:
            status, error = "failed", e
            self._inner_error = e
            raise
        finally:
            if self._inner is not None:
                unwatch(self._inner)
            if self._meter is not None:
                self._meter.close(status, error)
            self._delegates.release(self._hold)  # it was admitted, and no attempt began

    async def _admitted(self) -> Delegate[llm.LLM[Any]]:
        """Who serves, when the project's budget has been asked.

        Raises:
            BudgetExceededError: The budget is spent, and nothing may serve.
            BudgetThrottleSignal: The budget is spent, and there is no local fallback.
        """
        verdict, delegate = await self._delegates.admit(self._delegate, self._expected)
        if verdict.refused is not None:
            self._delegates.reject(self._request, verdict.refused, self._request_span)
            raise verdict.refused
        self._hold = verdict.hold
        if delegate is not self._delegate:
            self._delegate = delegate
            self._request = dataclasses.replace(
                self._delegates.request(delegate), request_id=self._request.request_id
            )
        return delegate

    def _expected(self) -> Quantities:
        """What it will probably use, by what the model has answered before."""
        request, expectations = self._request, self._delegates.gateway.expectations
        key = (request.project, request.provider, request.model)
        return Quantities(
            input_tokens=expectations.prompt_tokens(*key, self._chat_ctx.items),
            output_tokens=expectations.answer_tokens(*key),
        )

    def attempt_began(self) -> None:
        """One row for each attempt that may be billed: see `metering.attempts`."""
        meter = self._meter
        if meter is not None and meter.status == "open":
            meter.sent = True
            return
        if not self._delegate.metered:
            return
        first, gateway = meter is None, self._delegates.gateway
        meter = self._meter = begin_meter(
            lambda: CompletionMeter(
                self._request,
                Prompt(
                    self._chat_ctx.items.copy(),
                    self._tools,
                    calibration_for(self._request.provider, self._request.model),
                ),
                clock=gateway.clock,
                monotonic=gateway.monotonic,
            ),
            self._request,
        )
        meter.sent = True
        if first:
            meter.hold, self._hold = self._hold, None
        else:
            meter.hold = self._delegates.untaken(self._delegate)
        self._delegates.track(meter, self._request_span)

    def attempt_ended(self, error: BaseException | None) -> None:
        """A failed attempt that was billed keeps its own row; one that was not is forgotten."""
        meter = self._meter
        if meter is None or error is None or isinstance(error, asyncio.CancelledError):
            return
        if meter.pieces or meter.usage is not None or may_be_billed(meter, error):
            meter.close("failed", error)
        else:
            meter.sent = False

    def unwatched(self, fault: str) -> None:
        """It counts as one attempt, and its row says that it may have been more."""
        self._request = dataclasses.replace(self._request, fault=fault)
        self.attempt_began()

    def miscounted(self, fault: str) -> None:
        """The row says that it may have been more."""
        if self._meter is not None:
            self._meter.fault = fault

    def _count(self, chunk: llm.ChatChunk) -> None:
        if self._meter is not None:
            self._meter.chunk(chunk)

    def _name_who_served(self, instance: llm.LLM[Any]) -> None:
        attributes = {trace_types.ATTR_GEN_AI_RESPONSE_MODEL: instance.model}
        if provider := trace_types.gen_ai_provider_name(instance.provider):
            attributes[trace_types.ATTR_GEN_AI_PROVIDER_NAME] = provider
        if self._llm_request_span is not None:
            self._llm_request_span.set_attributes(attributes)
        self._caller_span.set_attributes(attributes)

    async def _metrics_monitor_task(self, event_aiter: AsyncIterable[llm.ChatChunk]) -> None:
        """The delegate's stream emits the metrics."""

    def _emit_error(self, api_error: Exception, recoverable: bool) -> None:
        if api_error is self._inner_error:
            return  # the delegate has emitted it, and it was passed on
        super()._emit_error(api_error, recoverable)


def _accepted(delegate: Delegate[llm.LLM[Any]], options: dict[str, Any]) -> dict[str, Any]:
    """The options that this plugin's ``chat`` takes."""
    if not options:
        return options  # nearly always, and reading a signature costs more than all the rest
    if delegate.stands_in:
        # options of the cloud model, which Ollama would not know
        options = {name: value for name, value in options.items() if name != "extra_kwargs"}
    parameters = inspect.signature(delegate.instance.chat).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return options
    accepted = {name: value for name, value in options.items() if name in parameters}
    for name in options.keys() - accepted.keys():
        logger.warning("%s takes no %s= in chat(); it has no effect", delegate.instance.label, name)
    return accepted
