"""Projects made at run time and alerts, as every engine keeps them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from support.ledger_places import Place
from support.usage_rows import DAY, NOON

from livekit_plugins_voicegateway.alerts.events import Alert
from livekit_plugins_voicegateway.errors import LedgerError
from livekit_plugins_voicegateway.ledger.base import Ledger
from livekit_plugins_voicegateway.ledger.projects import ManagedRow, ManagedRows, ProjectChange
from livekit_plugins_voicegateway.times import to_iso

ACME = ManagedRow(
    project_id="acme",
    name="Acme “GmbH”",
    description="a\nb",
    daily_budget=Decimal("50.5"),
    budget_action="block",
    tags='["a","b"]',
    created_at=to_iso(NOON),
    updated_at=to_iso(NOON + 0.25),
    fallback='"none"',
    providers="sealed" * 1000,
)


def change_of(row: ManagedRow, **changes: Any) -> ProjectChange:
    return replace(
        ProjectChange(
            at=to_iso(NOON),
            front="http",
            who=None,
            action="created",
            project_id=row.project_id,
            fields='["daily_budget"]',
            before=None,
            after="{}",
        ),
        **changes,
    )


def alert(number: int, **changes: Any) -> Alert:
    values = {
        "id": f"alert-{number}",
        "about": f"about-{number}",
        "event": "budget.near",
        "project": "prod",
        "day": DAY,
        "body": '{"a": 1}',
        "created_at": NOON + number,
        **changes,
    }
    return Alert(**values)


async def test_a_project_is_read_as_it_was_written(ledger: Ledger) -> None:
    version = await ledger.projects_version()
    assert await ledger.managed_projects() == ManagedRows(version, {})
    assert await ledger.write_project(ACME, change_of(ACME), version=version)
    found = await ledger.managed_projects()
    assert found.rows == {"acme": ACME}
    assert found.version == await ledger.projects_version() > version


async def test_a_project_is_changed_and_deleted_but_made_once(ledger: Ledger) -> None:
    await ledger.write_project(ACME, change_of(ACME), version=await ledger.projects_version())
    later = replace(ACME, daily_budget=None, name="Other", created_at=to_iso(NOON + 99))
    version = await ledger.projects_version()
    assert await ledger.write_project(later, change_of(later, action="changed"), version=version)
    (row,) = (await ledger.managed_projects()).rows.values()
    assert row == replace(later, created_at=ACME.created_at)
    version = await ledger.projects_version()
    deleted = change_of(ACME, action="deleted", after=None, before="{}")
    assert await ledger.write_project(None, deleted, version=version)
    assert (await ledger.managed_projects()).rows == {}
    changes = await ledger.project_changes("acme", limit=10)
    assert [change.action for change in changes] == ["deleted", "changed", "created"]
    assert changes[-1] == replace(change_of(ACME), id=changes[-1].id)
    assert await ledger.project_changes(None, limit=2) == changes[:2]
    assert await ledger.project_changes("nobody", limit=2) == []


async def test_who_decided_by_an_older_state_writes_nothing(ledger: Ledger) -> None:
    version = await ledger.projects_version()
    other = replace(ACME, project_id="other")
    assert await ledger.write_project(ACME, change_of(ACME), version=version)
    assert not await ledger.write_project(other, change_of(other), version=version)
    assert set((await ledger.managed_projects()).rows) == {"acme"}
    assert len(await ledger.project_changes(None, limit=10)) == 1


async def test_of_several_who_change_at_once_one_wins(place: Place) -> None:
    async with place.ledger() as first, place.ledger() as second:
        version = await first.projects_version()
        rows = [replace(ACME, project_id=f"project-{n}") for n in range(4)]
        won = await asyncio.gather(
            *(
                ledger.write_project(row, change_of(row), version=version)
                for ledger, row in zip((first, second, first, second), rows, strict=True)
            )
        )
        assert sorted(won) == [False, False, False, True]
        assert len((await first.managed_projects()).rows) == 1


async def test_a_budget_that_cannot_be_is_refused_and_nothing_is_noted(ledger: Ledger) -> None:
    version = await ledger.projects_version()
    wrong = replace(ACME, daily_budget=Decimal(-1))
    with pytest.raises(LedgerError):
        await ledger.write_project(wrong, change_of(wrong), version=version)
    assert await ledger.projects_version() == version
    assert await ledger.project_changes(None, limit=10) == []


async def test_a_change_made_in_the_shell_raises_the_number(ledger: Ledger, place: Place) -> None:
    await ledger.write_project(ACME, change_of(ACME), version=await ledger.projects_version())
    version = await ledger.projects_version()
    place.sql("UPDATE managed_projects SET daily_budget = 1.10")
    found = await ledger.managed_projects()
    assert found.version > version
    assert found.rows["acme"].daily_budget == Decimal("1.1")


async def test_an_alert_is_noted_once_claimed_by_one_and_settled(
    ledger: Ledger, clock: Any
) -> None:
    assert await ledger.next_alert() is None
    assert await ledger.add_alert(alert(1))
    assert await ledger.add_alert(alert(0))
    assert not await ledger.add_alert(alert(2, about="about-1"))
    assert await ledger.waiting_alerts() == 2
    assert await ledger.next_alert() == NOON
    clock.now = NOON + 5

    claimed = await ledger.claim_alert("a", until=NOON + 60)
    assert claimed is not None
    assert (claimed.alert, claimed.tries) == (alert(0), 1)
    other = await ledger.claim_alert("b", until=NOON + 60)
    assert other is not None
    assert other.alert == alert(1)
    assert await ledger.claim_alert("c", until=NOON + 60) is None

    await ledger.settle_alert("alert-0", "somebody else", retry_at=None)
    await ledger.settle_alert("alert-0", "a", retry_at=None)
    await ledger.settle_alert("alert-1", "b", retry_at=NOON + 30, error="500")
    assert await ledger.waiting_alerts() == 1
    assert await ledger.next_alert() == NOON + 30
    clock.now = NOON + 30
    again = await ledger.claim_alert("c", until=NOON + 90)
    assert again is not None
    assert again.tries == 2
    await ledger.settle_alert("alert-1", "c", retry_at=None, error="given up")
    assert await ledger.delete_alerts_before(DAY) == 0
    assert await ledger.delete_alerts_before("2027-01-16") == 2
