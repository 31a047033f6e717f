"""Making, changing and deleting projects with the forms, as a browser sends them."""

from __future__ import annotations

import html
import re
import sqlite3
from contextlib import closing

import httpx
import pytest
from support.web_server import WebServer

FIELDS = {"name": "", "description": "", "daily_budget": "", "budget_action": "warn", "tags": ""}


def post(client: httpx.Client, path: str, **fields: str | list[str]) -> httpx.Response:
    """Send a form as a page of the server does."""
    origin = str(client.base_url).rstrip("/")
    return client.post(path, data={**FIELDS, **fields}, headers={"origin": origin})


def words(answer: httpx.Response) -> str:
    """What a person reads of a page."""
    text = re.sub(r"<[^>]*>", " ", answer.text)
    return " ".join(html.unescape(text).split())


def test_a_project_is_made_changed_and_deleted(client: httpx.Client) -> None:
    made = post(
        client,
        "/projects/~new",
        project_id="sales-eu",
        name="Sales",
        daily_budget="12.50",
        budget_action="block",
        tags="production, eu",
    )
    assert (made.status_code, made.headers["location"]) == (303, "/projects/sales-eu")
    page = words(client.get("/projects/sales-eu"))
    assert "$12.50" in page
    assert 'value="12.50"' in client.get("/projects/sales-eu").text
    assert "production, eu" in page
    assert "requests are refused" in page

    changed = post(client, "/projects/sales-eu/edit", name="Sales", daily_budget="20", tags="test")
    assert changed.headers["location"] == "/projects/sales-eu"
    shown = client.get("/v1/projects/sales-eu").json()
    assert (shown["daily_budget"], shown["accent"], shown["tags"]) == (20.0, "blue", ["test"])
    assert shown["budget_action"] == "warn"

    question = words(client.get("/projects/sales-eu/delete"))
    assert "Its budget of $20.00 a day" in question
    assert "It has used nothing" in question
    assert client.get("/v1/projects/sales-eu").status_code == 200
    gone = post(client, "/projects/sales-eu/delete")
    assert gone.headers["location"] == "/projects"
    assert client.get("/v1/projects/sales-eu").status_code == 404

    changes = words(client.get("/projects"))
    lines = re.findall(r"sales-eu (created|changed|deleted)", changes)
    assert lines == ["deleted", "changed", "created"]
    assert "daily_budget 12.5 → 20.0" in changes
    assert changes.count("dashboard") >= 3


def test_everything_that_is_wrong_is_said_beside_its_field(client: httpx.Client) -> None:
    answer = post(
        client,
        "/projects/~new",
        project_id="no spaces",
        name="A name",
        daily_budget="twelve",
        tags="a, b",
        provider_0="openai",
    )
    assert answer.status_code == 422
    for field in ("project_id", "daily_budget", "providers"):
        assert f'id="{field}-error-1"' in answer.text
    assert "Nothing was saved" in answer.text
    # what was typed is not lost
    for typed in ("no spaces", "A name", "twelve", "a, b", "openai"):
        assert f'value="{typed}"' in answer.text
    assert client.get("/v1/projects/no%20spaces").status_code == 404


def test_an_id_that_is_taken_is_refused(client: httpx.Client) -> None:
    answer = post(client, "/projects/~new", project_id="prod")
    assert answer.status_code == 409
    assert "prod" in words(answer)


def test_a_key_goes_in_and_is_shown_nowhere(client: httpx.Client, served: WebServer) -> None:
    key = "sk-the-key-of-keyed"
    made = post(client, "/projects/~new", project_id="keyed", provider_0="openai", key_0=key)
    assert made.status_code == 303
    refused = post(
        client, "/projects/keyed/edit", provider_0="cartesia", key_0=key, daily_budget="x"
    )
    assert refused.status_code == 422
    assert 'value="cartesia"' in refused.text
    pages = [refused.text, *(client.get(f"/projects{path}").text for path in ("", "/keyed"))]
    pages += [client.get(f"/projects/keyed{path}").text for path in ("/edit", "/delete")]
    assert all(key not in page for page in pages)
    assert "openai" in pages[2]
    assert "Its own keys for openai" in words(client.get("/projects/keyed/delete"))
    with closing(sqlite3.connect(served.folder / "voicegw.db")) as connection:
        assert key not in "\n".join(connection.iterdump())

    # what is not named stays, what is to be removed goes
    post(client, "/projects/keyed/edit", name="Keyed", has_provider="openai")
    assert client.get("/v1/projects/keyed").json()["providers"] == ["openai"]
    post(client, "/projects/keyed/edit", has_provider="openai", drop_provider="openai")
    assert client.get("/v1/projects/keyed").json()["providers"] == []


@pytest.mark.parametrize("path", ["/projects/prod/edit", "/projects/prod/delete"])
def test_a_project_of_the_file_says_where_it_is_to_be_changed(
    client: httpx.Client, served: WebServer, path: str
) -> None:
    for answer in (client.get(path), post(client, path)):
        assert answer.status_code == 409
        assert f"{served.folder / 'voicegw.yaml'} line 5" in words(answer)
    page = client.get("/projects/prod").text
    assert "/projects/prod/edit" not in page
    assert f"{served.folder / 'voicegw.yaml'}, line 5" in page


@pytest.mark.parametrize("path", ["/projects/~new", "/projects/prod/edit", "/projects/prod/delete"])
def test_another_site_changes_nothing(client: httpx.Client, path: str) -> None:
    answer = client.post(path, data=FIELDS, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/projects/nobody", "/projects/nobody/edit", "/calls/nowhere"])
def test_what_does_not_exist_is_said_on_a_page(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert ("nobody" if "nobody" in path else "nowhere") in words(answer)
