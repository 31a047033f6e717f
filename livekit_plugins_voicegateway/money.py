"""Amounts of money as people read them."""

from __future__ import annotations

from .metering.usage import NANOS_PER_DOLLAR

__all__ = ["dollars"]


def dollars(nanos: int) -> str:
    """An amount for people: cents, or as many digits as a small one needs."""
    amount = nanos / NANOS_PER_DOLLAR
    return f"${amount:.2f}" if amount == 0 or abs(amount) >= 0.01 else f"${amount:.6f}"
