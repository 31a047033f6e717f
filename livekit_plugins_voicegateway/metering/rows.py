"""Rows from meters: quantities, price and cost of a request as the ledger keeps them.

Runs on the recorder's thread only: looking up a price may import a library, and estimating a
prompt reads the whole conversation.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..bugs import fault_of, never_raises, report_bug
from ..log import logger
from .estimates import estimate_speech_tokens, estimate_text_tokens
from .expectations import Expectations
from .meter import CompletionMeter, Meter, Request
from .usage import Quantities, Status, UsageRow

if TYPE_CHECKING:
    from ..pricing.book import Price, PriceBook

__all__ = ["Part", "RowBuilder"]


@dataclass(slots=True)
class Part:
    """The stretch of a request that one row covers: a whole request, or a day's share of it.

    Attributes:
        row_id: UUIDv7 of the row.
        day: Calendar day of the row, ``YYYY-MM-DD``.
        started_at: Unix time in seconds.
        base: What earlier parts of the same request have used.
        begins_ms: Milliseconds of the request before it, by a clock that never steps.
        used: What the request had used, with ``base``, when its row was made last.
    """

    row_id: str
    day: str
    started_at: float
    base: Quantities
    begins_ms: float = 0.0
    used: Quantities = field(default_factory=Quantities)


class RowBuilder:
    """Turns a meter into the row that stands for it now.

    Args:
        prices: Where prices are looked up.
        new_id: Makes a UUIDv7.
        day_of: Gives the calendar day of a Unix time in the configured zone.
        owner: Id of this process, whose leases pay; None when it leases nothing.

    Attributes:
        on_unpriced: Called with request and day each time that a row has no known price.
    """

    def __init__(
        self,
        prices: PriceBook,
        *,
        new_id: Callable[[], str],
        day_of: Callable[[float], str],
        owner: str | None = None,
    ) -> None:
        self._prices = prices
        self.expectations = Expectations()
        self._new_id = new_id
        self._day_of = day_of
        self._owner = owner
        self.on_unpriced: Callable[[Request, str], None] = lambda request, day: None
        self._reported_unpriced: set[tuple[str, str]] = set()

    def first_part(self, meter: Meter) -> Part:
        """The part that begins with the request. Never raises."""
        begins = meter.started_at
        try:
            return Part(self._new_id(), self._day_of(begins), begins, Quantities())
        except Exception as e:
            report_bug("begin a row", e)
            meter.fault = fault_of(e)
            day = datetime.datetime.now(datetime.UTC).date().isoformat()
            return Part(str(uuid.uuid4()), day, begins, Quantities())

    def next_part(self, meter: Meter, ended: Part, day: str, started_at: float) -> Part:
        """The part that begins at ``started_at`` with all that is in earlier rows left out."""
        return Part(self._new_id(), day, started_at, ended.used, meter.age_ms, ended.used)

    def row(self, meter: Meter, part: Part, *, ended_at: float | None = None) -> UsageRow:
        """The row of ``part`` as it stands now. Never raises.

        Args:
            meter: The request's meter.
            part: Which stretch of it.
            ended_at: Unix time at which this part ended although the request goes on.
        """
        fault = meter.fault
        # before anything is measured: what has ended must not be closed with less than it used
        status: Status = "completed" if ended_at is not None else meter.status
        used, estimated = Quantities(), True
        cost_nanos: int | None = None
        price: str | None = None
        try:
            part.used, estimated = meter.measure()
            used = _difference(part.used, part.base)
            if status == "rejected":
                cost_nanos = 0
            else:
                used, estimated, cost_nanos, price = self._price(meter, part, used, estimated)
        except Exception as e:
            report_bug("price a request", e)
            fault = fault_of(e)
        if fault is not None:
            estimated = True
            if status != "rejected" and used == Quantities():
                cost_nanos = None  # what was not counted did not cost nothing
        request = meter.request
        part_ended_at = ended_at
        if ended_at is None and status != "open":
            part_ended_at = meter.ended_at
        if part_ended_at is not None:  # the clock may have been set back meanwhile
            part_ended_at = max(part.started_at, part_ended_at)
        return UsageRow(
            id=part.row_id,
            request_id=request.request_id,
            started_at=part.started_at,
            ended_at=part_ended_at,
            day=part.day,
            project=request.project,
            modality=request.modality,
            provider=request.provider,
            model=request.model,
            requested_model=request.requested_model,
            status=status,
            estimated=estimated,
            room=request.room,
            job_id=request.job_id,
            speech_id=request.speech_id,
            audio_seconds=used.audio_seconds,
            connection_seconds=used.connection_seconds,
            input_tokens=used.input_tokens,
            cached_input_tokens=used.cached_input_tokens,
            output_tokens=used.output_tokens,
            characters=used.characters,
            cost_nanos=cost_nanos,
            price=price,
            ttfb_ms=meter.ttfb_ms,
            duration_ms=_duration_ms(meter, part),
            error=fault or meter.error,
            owner=self._owner,
        )

    def learn(self, meter: Meter) -> None:
        """Compare a completion's reported tokens with what the rule would have said."""
        if not isinstance(meter, CompletionMeter) or meter.usage is None:
            return
        try:
            meter.prompt.calibration.learn(
                prompt=(meter.prompt.estimate(), meter.usage.prompt_tokens),
                completion=(
                    estimate_text_tokens("".join(meter.pieces)),
                    meter.usage.completion_tokens - meter.usage.reasoning_tokens,
                ),
            )
            self.expectations.learn(
                meter.request.project,
                meter.request.provider,
                meter.request.model,
                items=meter.prompt.items,
                prompt_tokens=meter.usage.prompt_tokens,
                answer_tokens=meter.usage.completion_tokens,
            )
        except Exception as e:
            report_bug("learn from the tokens that a provider has reported", e)

    def _price(
        self, meter: Meter, part: Part, used: Quantities, estimated: bool
    ) -> tuple[Quantities, bool, int | None, str | None]:
        request = meter.request
        price: Price | None = self._prices.find(
            request.modality,
            request.provider,
            request.model,
            project=request.project,
            variant=request.variant,
            day=datetime.date.fromisoformat(part.day),
            streaming=request.streaming,
        )
        if request.modality != "llm" and price is not None and price.needs_tokens:
            spent = used.audio_seconds > 0 or used.characters > 0
            if spent and not (used.input_tokens or used.output_tokens):
                used, estimated = estimate_speech_tokens(request.modality, used), True
        cost_nanos = price.cost(used) if price is not None else None
        if cost_nanos is None:
            self._report_unpriced(request.provider, request.model)
            self.on_unpriced(request, part.day)
            return used, estimated, None, None
        assert price is not None
        return used, estimated, cost_nanos, price.label

    def _report_unpriced(self, provider: str, model: str) -> None:
        if (provider, model) in self._reported_unpriced:
            return
        self._reported_unpriced.add((provider, model))
        logger.warning(
            "no price is known for %s/%s: its cost is recorded as unknown. Put one under "
            "`pricing:` in voicegw.yaml.",
            provider,
            model,
        )


@never_raises("measure how long a request took", None)
def _duration_ms(meter: Meter, part: Part) -> float:
    return meter.age_ms - part.begins_ms


def _difference(now: Quantities, base: Quantities) -> Quantities:
    if base == Quantities():
        return now
    return replace(
        now,
        audio_seconds=max(0.0, now.audio_seconds - base.audio_seconds),
        connection_seconds=max(0.0, now.connection_seconds - base.connection_seconds),
        input_tokens=max(0, now.input_tokens - base.input_tokens),
        cached_input_tokens=max(0, now.cached_input_tokens - base.cached_input_tokens),
        cache_write_tokens=max(0, now.cache_write_tokens - base.cache_write_tokens),
        output_tokens=max(0, now.output_tokens - base.output_tokens),
        characters=max(0, now.characters - base.characters),
    )
