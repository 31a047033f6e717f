"""A browser for tests: Chromium, what it complains about, and what it finds wrong in a page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page
from support.machine import PATIENCE, without_browser

PHONE = 375
DESKTOP = 1280

_AUDIT = (Path(__file__).parent / "audit.js").read_text("utf-8")
_WATCH = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


def find_chromium() -> tuple[str, list[str]]:
    """Return the browser's path and how it is started; skips the test where there is none."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        without_browser()
    # its sandbox does not work for root, and shared memory is small in containers
    return executable, ["--no-sandbox", "--disable-dev-shm-usage"]


def is_complaint(message: ConsoleMessage) -> bool:
    """Whether a line of the console says that something is wrong."""
    return message.type in ("error", "warning")


class Look:
    """Opens pages, and notes what the browser complains about.

    Attributes:
        complaints: Errors and warnings of the console, violations of the policy, exceptions,
            dialogs, and requests to anywhere else.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        self.url = url
        self.complaints: list[str] = []
        self._contexts: list[BrowserContext] = []

    def page(self, *, theme: str = "light", width: int = DESKTOP, **how: Any) -> Page:
        """Return an empty page of a new browser profile."""
        context = self._browser.new_context(
            color_scheme=theme,  # type: ignore[arg-type]
            viewport={"width": width, "height": 800},
            reduced_motion="reduce",
            **how,
        )
        self._contexts.append(context)
        context.set_default_timeout(1000 * PATIENCE)
        context.add_init_script(_WATCH)
        page = context.new_page()
        page.on("console", lambda said: is_complaint(said) and self._complain(said.text))
        page.on("pageerror", lambda error: self._complain(str(error)))
        page.on("dialog", lambda dialog: (self._complain(dialog.message), dialog.dismiss()))
        page.on("requestfailed", lambda request: self._complain(f"{request.url} failed"))
        page.on(
            "request",
            lambda request: (
                request.url.startswith((self.url, "data:")) or self._complain(request.url)
            ),
        )
        return page

    def open(self, path: str, **how: Any) -> Page:
        """Open a page of the server in a new browser profile."""
        page = self.page(**how)
        page.goto(f"{self.url}{path}")
        return page

    def close(self) -> None:
        """Close everything that was opened."""
        complaints = list(self.complaints)
        for context in self._contexts:
            context.close()
        # what is under way when a page is closed has not failed
        self.complaints = complaints

    def _complain(self, what: str) -> None:
        self.complaints.append(what)


def ask_anew(page: Page) -> None:
    """Let the live part of a page ask at once whether it is up to date, and wait for the answer."""
    with page.expect_response(lambda answer: "hx-request" in answer.request.headers):
        page.evaluate("htmx.trigger('#live', 'every')")


def audit(page: Page) -> list[str]:
    """Return what makes a page hard to use: names, headings, contrast, width."""
    found = page.evaluate(_AUDIT)
    assert isinstance(found, list)
    return found
