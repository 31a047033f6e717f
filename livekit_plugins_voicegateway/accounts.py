"""Accounts: who pays for a request, whether they may, and what it used.

What `Delegates` does for a request besides serving it. None of it raises: a bug of ours is
reported, and the request goes on (`bugs`). A budget's refusal is returned, for the stream to raise.
"""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from .adapters import reason_of
from .admission import Verdict
from .budgets import Hold
from .bugs import fault_of, never_raises, report_bug
from .gateway import Gateway
from .metering.meter import Meter, Request
from .metering.usage import Modality, Quantities
from .projects import Project
from .router import ModelSpec

if TYPE_CHECKING:
    from .pricing.book import Price
    from .signals import BudgetRefusal
    from .telemetry import RequestSpan

__all__ = ["Accounts", "Delegate"]

M = TypeVar("M")

_GO_ON: Final = Verdict()


@dataclass(slots=True, eq=False)
class Delegate(Generic[M]):
    """One plugin instance, and whom its requests belong to.

    Attributes:
        instance: The plugin's STT, LLM or TTS, or LiveKit's FallbackAdapter around ours.
        spec: What the application asked for.
        project: Who pays.
        metered: False for an adapter, whose members meter for themselves.
        price: What it costs, once that is known; found on the recorder's thread.
        stands_in: Whether this is the fallback, and the application asked for another model.
    """

    instance: M
    spec: ModelSpec
    project: Project
    metered: bool = True
    price: Price | None = None
    stands_in: bool = False

    def cost(self, quantities: Quantities) -> int:
        """What ``quantities`` would cost, in nano-dollars; 1 while nobody knows, 0 if free."""
        if self.price is None:
            return 0 if self.spec.route.provider in ("local", "ollama") else 1
        cost = self.price.cost(quantities)
        return 1 if cost is None else cost

    @property
    def model(self) -> str:
        """The model's name for the ledger: the model string's, or the plugin's own default."""
        route = self.spec.route
        return route.model or str(getattr(self.instance, "model", "")) or route.provider


class Accounts(ABC, Generic[M]):
    """Keeps the accounts of the requests of one model object.

    Attributes:
        spec: What the application asks for.
    """

    spec: ModelSpec
    _modality: Modality
    _fallbacks: dict[str, Delegate[M] | None]

    @property
    @abstractmethod
    def gateway(self) -> Gateway:
        """Who knows prices, budgets and the recorder."""

    @abstractmethod
    def fallback(self, delegate: Delegate[M]) -> Delegate[M] | None:
        """The local model that takes over from ``delegate``; None when there is none."""

    def request(self, delegate: Delegate[M], *, streaming: bool = True) -> Request:
        """Describe a request to ``delegate`` that begins now."""
        try:
            request = self.gateway.request(
                self._modality,
                delegate.spec,
                delegate.project,
                model=delegate.model,
                streaming=streaming,
            )
        except Exception as e:
            report_bug("find out what a request belongs to", e)
            request = self._plain_request(delegate, streaming, fault_of(e))
        if delegate.stands_in:
            request = replace(request, requested_model=self.spec.route.requested)
        return request

    def _plain_request(self, delegate: Delegate[M], streaming: bool, fault: str) -> Request:
        route = delegate.spec.route
        return Request(
            request_id=str(uuid.uuid4()),
            project=delegate.project.id,
            modality=self._modality,
            provider=route.provider,
            model=route.model or route.provider,
            requested_model=route.requested,
            streaming=streaming,
            fault=fault,
        )

    async def admit(
        self, delegate: Delegate[M], expected: Callable[[], Quantities]
    ) -> tuple[Verdict, Delegate[M]]:
        """Ask the project's budget for a request; may wait a moment for the ledger.

        Args:
            delegate: Who would serve.
            expected: What the request will probably use.

        Returns:
            The verdict, and who serves: the local fallback when the budget is spent and throttles.
            A verdict with ``refused`` set and the same delegate is a refusal.
        """
        try:
            if not self._budgeted(delegate):
                return _GO_ON, delegate
            admission = self.gateway.admission
            verdict = await admission.decide(delegate.project, delegate.cost(expected()))
            if verdict.throttled and delegate.project.id not in self._fallbacks:
                # a chat model's client takes tens of milliseconds to make
                await asyncio.to_thread(self.fallback, delegate)
            return self._served_by(delegate, verdict)
        except Exception as e:
            report_bug("ask a budget", e)
            return _GO_ON, delegate

    def admit_now(
        self, delegate: Delegate[M], quantities: Quantities
    ) -> tuple[Verdict, Delegate[M]]:
        """Like `admit`, decided without waiting: what would have to wait is let through."""
        try:
            if not self._budgeted(delegate):
                return _GO_ON, delegate
            admission = self.gateway.admission
            verdict = admission.decide_now(delegate.project, delegate.cost(quantities))
            return self._served_by(delegate, verdict)
        except Exception as e:
            report_bug("ask a budget", e)
            return _GO_ON, delegate

    def extend(
        self, delegate: Delegate[M], hold: Hold | None, quantities: Quantities
    ) -> tuple[Verdict, Delegate[M]]:
        """Ask the budget for the next stretch of a running stream, without waiting."""
        try:
            admission = self.gateway.admission
            verdict = admission.extended(delegate.project, hold, delegate.cost(quantities))
            return self._served_by(delegate, verdict)
        except Exception as e:
            report_bug("ask a budget for a stream's next second", e)
            return _GO_ON, delegate

    @never_raises("open an account with a budget", None)
    def untaken(self, delegate: Delegate[M]) -> Hold | None:
        """A hold of nothing, so that what a further attempt costs counts too."""
        budget = self.gateway.budgets.of(delegate.project) if self._budgeted(delegate) else None
        return budget.untaken() if budget is not None else None

    @never_raises("let go of what a budget held", None)
    def release(self, hold: Hold | None) -> None:
        """Let go of what was held for a request that was admitted and never made."""
        if hold is not None:
            hold.release()

    def track(self, meter: Meter, span: RequestSpan | None = None) -> None:
        """Record a meter from now on; what it costs goes on ``span``, too."""
        try:
            self.gateway.track(meter, span)
        except Exception as e:
            report_bug("record a request", e)
            meter.fault = fault_of(e)
            if span is not None:
                span.give_up(meter)

    def trace(self, meter: Meter, span: RequestSpan) -> None:
        """Put on a span what a meter costs that is recorded already."""
        try:
            self.gateway.trace(meter, span)
        except Exception as e:
            report_bug("trace a request", e)
            span.give_up(meter)

    @never_raises("record a refused request", None)
    def reject(
        self, request: Request, error: BudgetRefusal, span: RequestSpan | None = None
    ) -> None:
        """Record a request that a budget refused."""
        if span is not None:
            span.refused()
        self.gateway.reject(request, error)

    @never_raises("find out whether a request is counted", False)
    def tracks(self, delegate: Delegate[M]) -> bool:
        """Whether what ``delegate`` does is counted here, and could be refused by a budget."""
        return delegate.metered and self.gateway.config.cost_tracking.enabled

    def reason(self, delegate: Delegate[M], error: Exception) -> Exception:
        """Why ``delegate`` has failed: a budget, where that refused all models of an adapter."""
        if delegate.metered:
            return error
        try:
            return reason_of(error, delegate.project, self.gateway)
        except Exception as e:
            report_bug("find out whether a budget is spent", e)
            return error

    def _budgeted(self, delegate: Delegate[M]) -> bool:
        return delegate.project.daily_budget is not None and self.tracks(delegate)

    def _served_by(self, delegate: Delegate[M], verdict: Verdict) -> tuple[Verdict, Delegate[M]]:
        if verdict.throttled:
            fallback = self.fallback(delegate)
            if fallback is not None:
                return _GO_ON, fallback
        return verdict, delegate
