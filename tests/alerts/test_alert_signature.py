"""What a message carries: its body, and a signature that a receiver can check."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest

from livekit_plugins_voicegateway.alerts.endpoint import Endpoint, secret_problem, sign, url_problem
from livekit_plugins_voicegateway.alerts.events import budget_alert, ledger_alert, price_alert

AT = 1_800_014_400.0  # 2027-01-15T12:00:00Z


def test_the_signature_is_the_one_of_the_published_example() -> None:
    # the example of the Standard Webhooks specification and of its libraries' own tests
    signature = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_without_the_prefix_is_the_key_itself() -> None:
    expected = hmac.new(b"correct horse", b"id.7.{}", hashlib.sha256).digest()
    assert sign("correct horse", "id", 7, b"{}") == f"v1,{base64.b64encode(expected).decode()}"


def test_without_a_secret_there_is_no_signature() -> None:
    assert "webhook-signature" not in Endpoint("http://localhost/").headers("id", 7, b"{}")


def test_user_and_password_of_the_url_are_sent_as_a_header_and_not_in_the_url() -> None:
    endpoint = Endpoint("https://me:pa%3Ass@hooks.example.com:8443/path?x=1")
    assert endpoint.bare_url == "https://hooks.example.com:8443/path?x=1"
    header = endpoint.headers("id", 7, b"{}")["authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")) == b"me:pa:ss"


def test_what_is_secret_about_an_endpoint_is_never_shown() -> None:
    endpoint = Endpoint("https://me:password@hooks.example.com/services/T0KEN", "s3cret")
    assert repr(endpoint) == "<Endpoint hooks.example.com>"
    assert str(endpoint) == "<Endpoint hooks.example.com>"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://hooks.example.com/x", None),
        ("http://127.0.0.1:8080", None),
        ("http://[::1]:8080/x", None),
        ("https://me:secret@host/x", None),
        ("ftp://host/secret", "a URL that begins with ftp://"),
        ("file:///etc/passwd", "a URL that begins with file://"),
        ("hooks.example.com/secret", "a text that is no URL"),
        ("https:///secret", "a URL without a host"),
        ("https://host:99999/secret", "a text that is no URL"),
        ("https://host/sec ret", "a URL with blanks or control characters in it"),
        ("https://host/sec\nret", "a URL with blanks or control characters in it"),
    ],
)
def test_an_address_that_cannot_be_is_named_without_what_is_secret(
    url: str, problem: str | None
) -> None:
    assert url_problem(url) == problem
    assert problem is None or "secret" not in problem


def test_a_secret_that_is_no_base64_is_a_problem_that_does_not_show_it() -> None:
    assert secret_problem("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") is None
    assert secret_problem("anything else") is None
    problem = secret_problem("whsec_no base64")
    assert problem is not None
    assert "no base64" not in problem.replace("that is no base64", "")


def test_a_budget_alert_says_all_there_is_to_say() -> None:
    alert = budget_alert(
        "budget.near",
        alert_id="alert_1",
        at=AT,
        project="prod",
        day="2027-01-15",
        limit_nanos=50_000_000_000,
        spent_nanos=40_123_456_789,
        action="throttle",
        resets_at=AT + 43_200,
    )
    assert json.loads(alert.body) == {
        "event": "budget.near",
        "id": "alert_1",
        "at": "2027-01-15T12:00:00.000Z",
        "project": "prod",
        "day": "2027-01-15",
        "currency": "USD",
        "limit": 50.0,
        "spent": 40.123456789,
        "action": "throttle",
        "resets_at": "2027-01-16T00:00:00.000Z",
    }


def test_a_price_alert_names_the_model() -> None:
    alert = price_alert(
        alert_id="alert_1",
        at=AT,
        project="prod",
        day="2027-01-15",
        modality="tts",
        provider="acme",
        model="voice-1",
    )
    values = json.loads(alert.body)
    assert (values["modality"], values["provider"], values["model"]) == ("tts", "acme", "voice-1")


def test_every_process_of_a_host_gives_the_same_id_to_a_failing_ledger_within_an_hour() -> None:
    def alert_id(at: float = AT, host: str = "a", database: str = "sqlite:////x.db") -> str:
        return ledger_alert(at=at, day="2027-01-15", host=host, database=database, error="full").id

    assert alert_id() == alert_id(at=AT + 3599)
    others = {alert_id(at=AT + 3600), alert_id(host="b"), alert_id(database="sqlite:////y.db")}
    assert len(others | {alert_id()}) == 4
