"""Everything can be done with the keyboard, and is seen to be where it is."""

from __future__ import annotations

from dashboard_browser import PHONE, Look
from playwright.sync_api import Page

ACTIVE = "document.activeElement.innerText || document.activeElement.getAttribute('aria-label')"


def walk(page: Page, steps: int) -> list[str]:
    """Press Tab, and return what has the focus after each time."""
    names = []
    for _ in range(steps):
        page.keyboard.press("Tab")
        names.append(str(page.evaluate(ACTIVE) or "").strip())
    return names


def test_the_first_key_leads_past_the_navigation(look: Look) -> None:
    page = look.open("/requests")
    assert walk(page, 1) == ["Skip to the content"]
    box = page.locator(".skip").bounding_box()
    assert box is not None
    assert box["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "project"


def test_the_navigation_comes_in_order_and_shows_the_focus(look: Look) -> None:
    page = look.open("/")
    names = walk(page, 8)
    assert names[1:] == [
        "VoiceGateway",
        "Overview",
        "Requests",
        "Calls",
        "Prices",
        "Projects",
        "Dark colours",
    ]
    style = "getComputedStyle(document.activeElement)"
    assert page.evaluate(f"{style}.outlineStyle") == "solid"
    assert page.evaluate(f"parseFloat({style}.outlineWidth)") >= 2
    assert page.locator("nav a[aria-current=page]").inner_text() == "Overview"


def test_every_link_of_a_list_is_reached(look: Look) -> None:
    page = look.open("/calls", width=PHONE)
    wanted = page.locator("main a, main button, main select").count()
    page.evaluate("document.getElementById('main').focus()")
    reached = set()
    for _ in range(wanted):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.outerHTML"))
        assert page.evaluate("document.activeElement.closest('main') !== null")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') === null")


def test_details_of_a_request_open_with_the_keyboard(look: Look) -> None:
    page = look.open("/requests?status=failed")
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details[open] .error-text").first.is_visible()


def test_a_wrong_form_leads_to_what_is_wrong(look: Look) -> None:
    page = look.open("/projects/~new")
    page.get_by_label("Daily budget in dollars").fill("much")
    page.keyboard.press("Enter")
    page.locator("#form-problems").wait_for()
    assert page.evaluate("document.activeElement.id") == "form-problems"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Daily budget"
    page.keyboard.press("Enter")
    page.wait_for_url("**#field-daily_budget")
    field = page.get_by_label("Daily budget in dollars")
    assert field.get_attribute("aria-invalid") == "true"
    described = (field.get_attribute("aria-describedby") or "").split()
    texts = [page.locator(f"#{name}").inner_text() for name in described]
    assert any("'much'" in text for text in texts)
    # the browser says so when a page's status is not 200
    assert all("422" in said for said in look.complaints)
    look.complaints.clear()


def test_a_project_is_deleted_with_the_keyboard(look: Look) -> None:
    page = look.open("/projects/~new")
    page.get_by_label("Id", exact=True).fill("short-lived")
    page.keyboard.press("Enter")
    page.wait_for_url("**/projects/short-lived")
    page.get_by_role("link", name="Delete").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/delete")
    page.get_by_role("button", name="Delete short-lived").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/projects")
    assert page.locator("#project-short-lived").count() == 0
