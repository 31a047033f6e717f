"""What a spent budget raises into a call: a refusal, or a signal that nothing local can take over.

Both are LiveKit's ``APIStatusError`` with status 402, which a session reports and does not retry,
so that an application sees them where it sees its provider's errors.
"""

from __future__ import annotations

import datetime
from typing import Literal

from livekit.agents import APIStatusError

from .errors import VoiceGatewayError
from .metering.usage import NANOS_PER_DOLLAR
from .money import dollars
from .projects import BudgetAction

__all__ = ["BudgetExceededError", "BudgetRefusal", "BudgetThrottleSignal"]

PAYMENT_REQUIRED = 402


class BudgetRefusal(APIStatusError, VoiceGatewayError):
    """A project's budget of the day is spent.

    Attributes:
        project: Id of the project.
        limit: The day's budget, in ``currency``.
        spent: What was spent of it, as far as this process knows, in ``currency``.
        currency: ``USD``.
        action: The project's ``budget_action``.
        resets_at: When the next day begins in the configured zone; UTC.
    """

    def __init__(
        self,
        message: str,
        *,
        project: str,
        limit_nanos: int,
        spent_nanos: int,
        action: BudgetAction,
        resets_at: float,
    ) -> None:
        self.project = project
        self.limit = limit_nanos / NANOS_PER_DOLLAR
        self.spent = spent_nanos / NANOS_PER_DOLLAR
        self.currency: Literal["USD"] = "USD"
        self.action: BudgetAction = action
        self.resets_at = datetime.datetime.fromtimestamp(resets_at, datetime.UTC)
        super().__init__(
            f"{message} Project {project!r} has spent {dollars(spent_nanos)} of its daily budget "
            f"of {dollars(limit_nanos)}; it begins anew at {self.resets_at:%Y-%m-%d %H:%M} UTC.",
            status_code=PAYMENT_REQUIRED,
        )


class BudgetExceededError(BudgetRefusal):
    """The budget is spent and the project's action is ``block``: the request was not made."""


class BudgetThrottleSignal(BudgetRefusal):
    """The budget is spent, the project's action is ``throttle``, and there is no local fallback.

    For the application to act on: play a message, hand over to a person, end the call.
    """
