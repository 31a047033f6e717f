"""Who may ask, with a real browser: pages of other sites, other names, and a person who logs in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from dashboard.dashboard_browser import find_chromium
from playwright.sync_api import Browser, Page, sync_playwright
from support.web_server import TOKEN, WebServer, web_server, write_config

NAME = "voice.example"

ATTACK = """\
<!doctype html>
<meta charset="utf-8">
<body>
<iframe name="hidden"></iframe>
<form id="form" method="post" target="hidden" action="{target}/v1/projects"
 enctype="text/plain"><input name='{{"project_id": "form", "x": "' value='"}}'></form>
<img src="{target}/v1/costs">
<iframe src="{target}/"></iframe>
<script>
const target = "{target}";
const asked = [
  fetch(target + "/v1/costs"),
  fetch(target + "/v1/costs", {{mode: "no-cors", credentials: "include"}}),
  fetch(target + "/v1/projects", {{method: "POST", mode: "no-cors", credentials: "include",
    headers: {{"content-type": "text/plain"}}, body: '{{"project_id": "fetch"}}'}}),
  fetch(target + "/v1/projects", {{method: "POST", credentials: "include",
    headers: {{"content-type": "application/json"}}, body: '{{"project_id": "json"}}'}}),
  new Promise((resolve, reject) => {{
    const events = new EventSource(target + "/v1/events");
    events.onopen = resolve;
    events.onerror = reject;
  }}),
  new Promise((resolve, reject) => {{
    const socket = new WebSocket(target.replace("http", "ws") + "/mcp");
    socket.onopen = resolve;
    socket.onerror = reject;
  }}),
];
document.getElementById("form").submit();
Promise.allSettled(asked).then(async results => {{
  const read = [];
  for (const result of results) {{
    if (result.status === "fulfilled" && result.value.type !== "opaque") read.push("something");
  }}
  document.title = "read: " + read.length;
}});
</script>
"""


@pytest.fixture
def browser() -> Iterator[Browser]:
    executable, arguments = find_chromium()
    # a name that somebody else has given to this machine
    rules = f"--host-resolver-rules=MAP {NAME} 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*arguments, rules])
        yield browser
        browser.close()


@pytest.fixture
def site() -> Iterator[Callable[[str], str]]:
    """Another site on this machine; given a page, it says where that is."""
    pages: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in pages else 404)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(pages.get(self.path, b""))

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def publish(page: str) -> str:
            pages["/attack"] = page.encode()
            return f"http://127.0.0.1:{server.server_port}/attack"

        yield publish
        server.shutdown()
        thread.join()


def attack(page: Page, site: Callable[[str], str], server: WebServer) -> list[int]:
    """Let a page of another site do what it can; the statuses that the server answered with."""
    statuses: list[int] = []
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(f"{request.method} {request.resource_type}"))

    def note(answer: object) -> None:
        url, status = answer.url, answer.status  # type: ignore[attr-defined]
        if url.startswith(server.url):
            statuses.append(status)

    page.on("response", note)
    page.goto(site(ATTACK.format(target=server.url)))
    page.wait_for_function("document.title.startsWith('read: ')")
    page.wait_for_load_state("networkidle")
    assert page.title() == "read: 0"
    # it did try
    assert asked >= {"GET fetch", "POST fetch", "POST document", "GET image", "GET eventsource"}
    return statuses


def test_a_page_of_another_site_on_this_machine_reads_and_changes_nothing(
    browser: Browser, site: Callable[[str], str], tmp_path: Path
) -> None:
    write_config(tmp_path)
    with web_server(tmp_path) as server:
        statuses = attack(browser.new_page(), site, server)
        # of most the browser itself keeps even the status from the page, and from us
        assert set(statuses) == {403}
        with server.client() as client:
            sources = {one["source"] for one in client.get("/v1/projects").json()["projects"]}
    assert sources == {"yaml"}


def test_a_name_that_somebody_gave_to_this_machine_gets_nothing(
    browser: Browser, tmp_path: Path
) -> None:
    write_config(tmp_path)
    with web_server(tmp_path) as server:
        port = server.url.rpartition(":")[2]
        page = browser.new_page()
        for path in ("/", "/v1/costs", "/health", "/static/dashboard.css"):
            answer = page.goto(f"http://{NAME}:{port}{path}")
            assert answer is not None
            assert answer.status == 403


def test_a_person_logs_in_works_and_logs_out(
    browser: Browser, site: Callable[[str], str], tmp_path: Path
) -> None:
    write_config(tmp_path)
    complaints: list[str] = []
    with web_server(tmp_path, env={"VOICEGW_TOKEN": TOKEN}) as server:
        # under a name, as people reach a server with a token
        url = f"http://{NAME}:{server.url.rpartition(':')[2]}"
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{url}/projects")
        assert page.url.startswith(f"{url}/login")
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.reload()
        page.fill("#token", f"{TOKEN}x")
        page.click("button")
        assert page.inner_text("[role=alert]") == "This is not the token."
        page.fill("#token", TOKEN)
        page.click("button")
        page.wait_for_url(f"{url}/projects")
        assert page.evaluate("document.cookie") == ""
        made = page.evaluate(
            "async () => (await fetch('/v1/projects', {method: 'POST',"
            " headers: {'content-type': 'application/json'},"
            " body: JSON.stringify({project_id: 'mine'})})).status"
        )
        assert made == 201
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")

        statuses = attack(context.new_page(), site, server)
        assert set(statuses) <= {401, 403}

        page.goto(f"{url}/projects")
        page.click("text=Log out")
        page.wait_for_url(f"{url}/login")
        assert context.cookies() == []
        assert [said for said in complaints if "Content Security Policy" in said] == []
