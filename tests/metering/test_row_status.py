"""A row that says it is closed has all that was used."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from livekit_plugins_voicegateway.days import Days
from livekit_plugins_voicegateway.metering.ids import uuid7
from livekit_plugins_voicegateway.metering.meter import Request, SpeechMeter
from livekit_plugins_voicegateway.metering.rows import RowBuilder
from livekit_plugins_voicegateway.metering.usage import Quantities
from livekit_plugins_voicegateway.pricing.book import PriceBook


class EndsWhileMeasured(SpeechMeter):
    """The call's thread pushes more and ends the request while the recorder's measures it."""

    def measure(self) -> tuple[Quantities, bool]:
        measured = super().measure()
        self.push(10)
        self.close("completed")
        return measured


def test_a_request_that_ends_while_it_is_measured_is_not_closed_with_less_than_it_used() -> None:
    rows = RowBuilder(PriceBook({}, {}), new_id=uuid7, day_of=Days(ZoneInfo("UTC")).day_of)
    request = Request(uuid7(), "prod", "tts", "cartesia", "sonic-3", "cartesia/sonic-3")
    meter = EndsWhileMeasured(request)
    meter.sent = True
    meter.push(5)
    part = rows.first_part(meter)
    first, second = rows.row(meter, part), rows.row(meter, part)
    assert (first.status, first.ended_at, first.characters) == ("open", None, 5)
    assert (second.status, second.ended_at, second.characters) == ("completed", meter.ended_at, 15)
