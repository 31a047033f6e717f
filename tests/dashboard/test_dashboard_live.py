"""What changes in the ledger is seen by itself, and nothing that somebody does is lost by it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from dashboard_browser import Look, ask_anew
from dashboard_ledger import add
from support.usage_rows import usage_row
from support.web_server import WebServer

from livekit_plugins_voicegateway.config import load_config


def use(served: WebServer, **changes: Any) -> None:
    """Write a request that has just been made."""
    config = load_config(served.folder / "voicegw.yaml", env={})
    now = time.time()
    row = usage_row(started_at=now, ended_at=now + 1, **changes)
    add(config, [replace(row, day=config.days.day_of(now))])


def test_a_new_request_appears_and_nothing_else_moves(look: Look, served: WebServer) -> None:
    page = look.open("/requests?project=staging")
    page.locator("summary").nth(3).click()
    page.get_by_label("Room").fill("half a wo")
    page.mouse.wheel(0, 300)
    page.wait_for_function("window.scrollY > 0")
    scrolled = page.evaluate("window.scrollY")
    opened = page.locator("details[open]").get_attribute("id")
    count = page.locator("tbody tr").count()

    use(served, project="staging", room="just-now")
    page.get_by_role("link", name="just-now").wait_for()

    assert page.get_by_label("Room").input_value() == "half a wo"
    assert page.evaluate("document.activeElement.name") == "room"
    assert page.locator("details[open]").get_attribute("id") == opened
    assert page.evaluate("window.scrollY") >= scrolled
    assert page.locator("tbody tr").count() in (count, count + 1)


def test_the_focus_stays_where_it_is(look: Look, served: WebServer) -> None:
    page = look.open("/calls")
    link = page.locator("tbody tr").nth(5).get_by_role("link").first
    link.focus()
    room = link.inner_text()
    use(served, project="dev", room="a-later-call", cost_nanos=0)
    page.get_by_role("link", name="a-later-call").wait_for()
    assert page.evaluate("document.activeElement.textContent") == room


def test_nothing_is_sent_again_while_nothing_changes(look: Look) -> None:
    page = look.open("/projects/lab")
    with page.expect_response(lambda answer: "hx-request" in answer.request.headers) as asked:
        page.evaluate("htmx.trigger('#live', 'every')")
    assert asked.value.status == 304


def test_a_form_is_left_alone(look: Look, served: WebServer) -> None:
    page = look.open("/projects/~new")
    page.get_by_label("Id", exact=True).fill("typing")
    page.get_by_role("radio", name="block").check()
    page.get_by_role("button", name="Create project").click()
    page.wait_for_url("**/projects/typing")
    page.get_by_label("Description").fill("half a sen")
    use(served, project="typing", cost_nanos=3_000_000)
    page.get_by_text("$0.003").first.wait_for()
    ask_anew(page)
    assert page.get_by_label("Description").input_value() == "half a sen"
    assert page.evaluate("document.activeElement.name") == "description"


def test_a_page_says_when_it_is_not_up_to_date(look: Look) -> None:
    page = look.open("/")
    page.route("**/*", lambda route: route.abort())
    page.get_by_text("Not up to date").wait_for()
    page.unroute("**/*")
    page.get_by_text("Live", exact=True).wait_for()
    # that was our doing
    look.complaints.clear()
