"""Wrong input by the million: one target for each place where somebody else's text comes in.

A target takes bytes and says whether they were accepted or refused; it raises only when a promise
is broken. Tests feed it what hypothesis makes up, `fuzzing.fuzzer` what a coverage-guided fuzzer
finds, with examples of the documentation and the tests to begin with.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["fuzzer_script"]


def fuzzer_script() -> Path:
    """Return the program that fuzzes one target: the fuzzer never gives its process back."""
    return Path(__file__).with_name("fuzzer.py")
