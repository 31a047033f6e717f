"""Every page in a real browser: light and dark, on a phone and on a desk."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from dashboard_browser import DESKTOP, PHONE, Look, ask_anew, audit
from dashboard_ledger import HOSTILE
from playwright.sync_api import FloatRect, Page

PAGES = {
    "overview": "/",
    "requests": "/requests",
    "requests-wrong": "/requests?model=/&cursor=nonsense",
    "calls": "/calls",
    "call": "/calls/prod-001",
    "call-live": "/calls/prod-live",
    "call-hostile": f"/calls/{quote(HOSTILE, safe='')}",
    "prices": "/prices",
    "projects": "/projects",
    "project": "/projects/prod?period=7d",
    "project-hostile": "/projects/hostile",
    "project-gone": "/projects/former",
    "project-new": "/projects/~new",
    "not-here": "/projects/prod/edit",
}
LIVE = set(PAGES) - {"requests-wrong", "project-new", "not-here"}


def take_picture(page: Page, path: Path) -> None:
    """Take a picture of a page, or of the upper part of a very long one."""
    height = min(page.evaluate("document.documentElement.scrollHeight"), 2_500)
    width = page.evaluate("document.documentElement.clientWidth")
    clip: FloatRect = {"x": 0, "y": 0, "width": width, "height": height}
    page.screenshot(path=path, full_page=True, clip=clip)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_and_used(look: Look, pictures: Path, name: str) -> None:
    page = look.open(PAGES[name])
    if name in LIVE:
        ask_anew(page)
    elif name != "project-new":
        # the browser says so when a page's status is not 200
        assert [said for said in look.complaints if "status of 4" not in said] == []
        look.complaints.clear()
    wrong = {}
    for width in (DESKTOP, PHONE):
        page.set_viewport_size({"width": width, "height": 800})
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            wrong[theme, width] = audit(page)
            take_picture(page, pictures / f"{name}-{theme}-{width}.png")
    assert {look: found for look, found in wrong.items() if found} == {}


def test_a_chart_is_drawn_in_the_colours_of_the_projects(look: Look) -> None:
    page = look.open("/")
    colours = page.evaluate(
        """() => Chart.getChart(document.querySelector("canvas")).data.datasets
               .map((series) => [series.label, series.backgroundColor])"""
    )
    marks = {
        link.inner_text(): link.locator(".dot").evaluate("e => getComputedStyle(e).backgroundColor")
        for link in page.locator("section[aria-labelledby=budgets-title] a.project").all()
    }
    drawn = {
        label: colour.replace("rgba", "rgb").removesuffix(", 1)") + ")"
        for label, colour in colours
        if colour.endswith(", 1)")
    }
    assert drawn["Production"] == marks["prod"]
    assert drawn["Staging"] == marks["staging"]
    assert drawn["dev"] == marks["dev"]
    assert drawn["lab"] == marks["lab"]
    assert len(set(drawn.values())) == 4


def test_the_table_below_a_chart_has_the_same_numbers(look: Look) -> None:
    page = look.open("/")
    page.get_by_text("The same as a table").click()
    head = page.locator("#overview-chart-numbers thead th").all_inner_texts()
    today = page.locator("#overview-chart-numbers tbody tr").first.locator("td").all_inner_texts()
    shown = dict(zip(head[1:], today, strict=True))
    budget = page.locator("#budget-prod td[data-label=Spent]").inner_text()
    assert shown["Production"] == budget != "$0.00"
    assert "unpriced" in shown["lab"]


def test_chosen_colours_stay_chosen(look: Look) -> None:
    page = look.open("/", theme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Dark colours").click()
    dark = page.evaluate(background)
    page.goto(f"{look.url}/calls")
    assert page.evaluate(background) == dark != light
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.get_by_role("button", name="Dark colours").click()
    assert page.evaluate(background) == light


def test_without_scripts_the_pages_can_be_read(look: Look) -> None:
    page = look.open("/", java_script_enabled=False)
    assert page.locator("#budget-prod").inner_text().count("$") == 3
    page.get_by_text("The same as a table").click()
    assert page.locator("#overview-chart-numbers tbody tr").count() == 14
