"""docs/alerts.md says what is so: its code runs, its bodies and its query are right."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from support.alerts import some_alert
from support.webhooks import Receiver

from livekit_plugins_voicegateway.alerts.delivery import Deliverer
from livekit_plugins_voicegateway.alerts.endpoint import Endpoint
from livekit_plugins_voicegateway.alerts.events import (
    EVENTS,
    Alert,
    budget_alert,
    ledger_alert,
)
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.ledger.sqlite import SqliteLedger
from livekit_plugins_voicegateway.metering.ids import uuid7

PAGE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def real_alerts() -> dict[str, Alert]:
    near = budget_alert(
        "budget.near",
        alert_id="alert_1",
        at=0.0,
        project="prod",
        day="2027-01-15",
        limit_nanos=1,
        spent_nanos=1,
        action="warn",
        resets_at=0.0,
    )
    failing = ledger_alert(at=0.0, day="2027-01-15", host="h", database="d", error="e")
    return {alert.event: alert for alert in (near, some_alert(), failing)}


@pytest.mark.parametrize("body", blocks("json"))
def test_every_body_of_the_page_has_the_keys_of_a_real_one_in_its_order(body: str) -> None:
    shown: dict[str, Any] = json.loads(body)
    real = json.loads(real_alerts()[shown["event"]].body)
    assert list(shown) == list(real)
    assert [type(value) for value in shown.values()] == [type(value) for value in real.values()]


def test_every_event_is_described() -> None:
    assert re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", PAGE, re.MULTILINE) == list(EVENTS)


async def test_the_code_of_the_page_takes_our_messages_and_no_others(
    ledger: SqliteLedger, receiver: Receiver
) -> None:
    [code] = blocks("python")
    names: dict[str, Any] = {}
    exec(code, names)
    is_ours = names["is_ours"]
    await ledger.add_alert(some_alert())
    await Deliverer(Endpoint(receiver.url, SECRET), ledger, uuid7()).deliver_due()
    [message] = receiver.received
    assert is_ours(message.headers, message.body, SECRET)
    assert not is_ours(message.headers, message.body + b" ", SECRET)
    assert not is_ours(message.headers, message.body, "whsec_AAAA")
    old = {**message.headers, "webhook-timestamp": "1600000000"}
    assert not is_ours(old, message.body, SECRET)


async def test_the_query_of_the_page_shows_what_waits(ledger: SqliteLedger, path: Path) -> None:
    [query] = blocks("sql")
    await ledger.add_alert(some_alert())
    connection = sqlite3.connect(path)
    assert connection.execute(query).fetchall() == [
        ("price.unknown", "prod", "2027-01-15", 0, None, "waits")
    ]
    connection.close()


def test_the_configuration_of_the_page_is_right(tmp_path: Path) -> None:
    [text] = blocks("yaml")
    (tmp_path / "voicegw.yaml").write_text(text)
    endpoint = load_config(tmp_path / "voicegw.yaml", env={}).alerts.endpoint
    assert endpoint is not None
    assert endpoint.host == "hooks.example.com"
