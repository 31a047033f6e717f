"""The queue of faults."""

from __future__ import annotations

import pytest

from livekit_plugins_voicegateway.sandbox import Fault, Faults


def test_faults_are_taken_in_order_and_as_often_as_was_said() -> None:
    faults = Faults()
    faults.append(Fault.status(500), times=2)
    faults.append(Fault.refuse())
    assert len(faults.waiting) == 3
    taken = [faults.take() for _ in range(4)]
    assert [str(fault) for fault in taken] == ["status 500", "status 500", "refuse", "None"]


def test_a_fault_for_ever_comes_after_the_counted_ones_until_it_is_cleared() -> None:
    faults = Faults()
    faults.append(Fault.refuse(), times=None)
    faults.append(Fault.cut(2))
    assert [str(faults.take()) for _ in range(3)] == ["cut after 2", "refuse", "refuse"]
    faults.clear()
    assert faults.take() is None


def test_opening_a_connection_takes_only_what_comes_before_an_answer() -> None:
    faults = Faults()
    for fault in (Fault.cut(0), Fault.stall(after=0), Fault.garbage(), Fault.error()):
        faults.append(fault)
        assert faults.take(connecting=True) is None
        assert faults.take() is fault
    for fault in (Fault.refuse(), Fault.status(503), Fault.stall()):
        faults.append(fault)
        assert faults.take(connecting=True) is fault


@pytest.mark.parametrize("code", [200, 399, 600])
def test_a_status_that_is_no_error_is_an_error(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        Fault.status(code)
