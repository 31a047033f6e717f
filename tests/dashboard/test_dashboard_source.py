"""What the pages are made of: nothing inline, nothing from elsewhere, all text escaped."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from dashboard_ledger import HOSTILE, write_config
from support.command_line import Book
from support.web_server import TOKEN, WebServer, plain_environment, web_server

import livekit_plugins_voicegateway.server as package
from livekit_plugins_voicegateway.config import load_config

STATIC = Path(str(files(package))) / "static"
VENDOR = STATIC / "vendor"

PAGES = (
    "/",
    "/requests",
    "/calls",
    f"/calls/{quote(HOSTILE, safe='')}",
    "/calls/?room=..",
    "/prices",
    "/projects",
    "/projects/prod",
    "/projects/hostile",
    f"/projects/{quote(HOSTILE, safe='')}",
    "/projects/~new",
    "/projects/prod/edit",
    f"/requests?model={quote(HOSTILE)}&room={quote(HOSTILE)}&status={quote(HOSTILE)}",
)


class Elements(HTMLParser):
    """Gathers the elements of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_inline_and_all_text_is_escaped(client: httpx.Client, path: str) -> None:
    page = client.get(path).text
    for tag, attributes in Elements(page).found:
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        if tag == "script":
            assert (attributes["src"] or "").startswith("/static/")
        assert tag not in ("style", "iframe", "object", "embed", "base", "b")
        for name in ("href", "src", "action", "data-hx-get"):
            address = attributes.get(name) or "/"
            assert address.startswith(("/", "#", "?", "https://")), address
        if tag == "img":
            assert (attributes["src"] or "").startswith("/static/")


@pytest.mark.parametrize("path", PAGES)
def test_the_policy_allows_nothing_but_our_own_files(client: httpx.Client, path: str) -> None:
    policy = client.get(path).headers["content-security-policy"]
    directives = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == "'self'"
    assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert "unsafe" not in policy


def test_a_hostile_call_can_be_reached_by_its_link(client: httpx.Client) -> None:
    listed = client.get("/calls").text
    addresses = set(re.findall(r'href="(/calls/[^"]+)"', listed))
    assert f"/calls/{quote(HOSTILE, safe='')}" in addresses
    assert "/calls/?room=.." in addresses
    for address in addresses:
        assert client.get(address.replace("&amp;", "&")).status_code == 200


def test_the_part_that_changes_comes_alone_and_only_when_it_has_changed(
    client: httpx.Client,
) -> None:
    whole = client.get("/projects/lab").text
    tag = re.search(r'data-hx-ptag="(\w+)"', whole)
    assert tag is not None
    same = client.get("/projects/lab", headers={"hx-request": "true", "hx-ptag": tag[1]})
    assert (same.status_code, same.content) == (304, b"")
    part = client.get("/projects/lab", headers={"hx-request": "true", "hx-ptag": "other"})
    assert part.status_code == 200
    assert part.headers["hx-ptag"] == tag[1]
    assert "<html" not in part.text
    assert part.text in whole
    assert part.headers["cache-control"] == "no-store"


def test_vendored_files_are_those_that_are_named() -> None:
    written = (VENDOR / "VENDORED.md").read_text()
    lines = re.findall(r"^\| `([^`]+)` \| (\S+) ([\d.]+) \|.*`([0-9a-f]{64})` \|$", written, re.M)
    assert {name for name, *_ in lines} == {file.name for file in VENDOR.glob("*.js")}
    for name, _, version, digest in lines:
        content = (VENDOR / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        if name in ("chart.umd.min.js", "htmx.min.js"):
            assert version.encode() in content
    for licence in re.findall(r"`([\w.]*LICENSE[\w.]*)`", written):
        assert (VENDOR / licence).stat().st_size > 300


def test_our_own_files_name_no_other_host() -> None:
    for file in STATIC.parent.rglob("*"):
        if file.suffix in (".html", ".css", ".js", ".svg") and file.parent != VENDOR:
            text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
            assert not re.findall(r"https?://[\w.]", text), file.name


def test_an_empty_ledger_says_how_to_make_the_first_call(tmp_path: Path) -> None:
    write_config(tmp_path)
    with web_server(tmp_path) as server, server.client() as client:
        page = client.get("/").text
        assert "from voicegateway import inference" in page
        assert "inference.set_project(&#34;prod&#34;)" in page or 'set_project("prod")' in page
        for path in ("/requests", "/calls", "/prices", "/projects", "/projects/prod"):
            assert client.get(path).status_code == 200


def test_a_model_without_a_price_is_named_once_with_each_of_its_providers(tmp_path: Path) -> None:
    book = Book(load_config(write_config(tmp_path), env=plain_environment(tmp_path)))
    unknown = {"model": "unheard-of", "cost_nanos": None, "price": None}
    book.write(
        book.row(project="prod", provider="acme", **unknown),
        book.row(project="dev", provider="acme", **unknown),
        book.row(project="prod", provider="other", **unknown),
    )
    with web_server(tmp_path) as server, server.client() as client:
        asked_for = client.get("/prices").text.partition("pricing:")[2].partition("</pre>")[0]
    assert asked_for.count("acme/unheard-of: {") == 1
    assert asked_for.count("other/unheard-of: {") == 1


def test_with_a_token_the_pages_ask_for_it_and_can_be_left(tmp_path: Path) -> None:
    write_config(tmp_path)
    with web_server(tmp_path, env={"VOICEGW_TOKEN": TOKEN}) as server, server.client() as client:
        origin = {"origin": server.url}
        asked = client.get("/projects", headers={"accept": "text/html"})
        assert asked.headers["location"] == "/login?next=%2Fprojects"
        assert client.get("/static/dashboard.css").status_code == 401
        answer = client.post("/login", data={"token": TOKEN, "next": "/projects"}, headers=origin)
        assert answer.headers["location"] == "/projects"
        assert "Log out" in client.get("/projects").text
        client.post("/logout", headers=origin)
        assert client.get("/projects").status_code == 401


def test_without_a_token_nobody_is_offered_to_log_out(served: WebServer) -> None:
    with served.client() as client:
        assert "Log out" not in client.get("/").text


def test_a_budget_of_nothing_is_not_called_spent(client: httpx.Client) -> None:
    origin = {"origin": str(client.base_url).rstrip("/")}
    made = client.post(
        "/projects/~new",
        data={"project_id": "free", "daily_budget": "0", "budget_action": "block"},
        headers=origin,
    )
    assert made.status_code == 303
    for path in ("/", "/projects", "/projects/free"):
        assert "free models only" in client.get(path).text
    assert "<progress" not in client.get("/projects/free").text
