"""A server on a ledger of some weeks, and a real browser to look at it with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from dashboard_browser import Look, find_chromium
from dashboard_ledger import SECRET_KEY, fill, write_config
from playwright.sync_api import Browser, sync_playwright
from support.web_server import WebServer, web_server


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """The server; its ledger is only read, and projects are made in it."""
    folder = tmp_path_factory.mktemp("dashboard")
    fill(write_config(folder))
    with web_server(folder, env={"VOICEGW_SECRET_KEY": SECRET_KEY}) as server:
        yield server


@pytest.fixture
def client(served: WebServer) -> Iterator[httpx.Client]:
    """Asks as a browser does that goes to a page."""
    with served.client(headers={"accept": "text/html"}) as client:
        yield client


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Chromium, as the system has it; for one test, because its driver occupies the event loop."""
    executable, arguments = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def look(browser: Browser, served: WebServer) -> Iterator[Look]:
    """Opens pages of the server, and fails when the browser has complained about any."""
    look = Look(browser, served.url)
    yield look
    look.close()
    assert not look.complaints


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where pictures of the pages are kept, to be looked at."""
    folder = Path(__file__).parents[2] / ".output" / "dashboard"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
