"""A project from the form to its bar: browser, command line, worker and ledger are of one mind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dashboard_browser import find_chromium
from playwright.async_api import Page, async_playwright
from support.command_line import COMMAND
from support.gateways import gateway_on, usage_rows
from support.machine import PATIENCE
from support.traces import chat
from support.web_server import WebServer, plain_environment, web_server

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.sandbox import Sandbox


@asynccontextmanager
async def page_of(server: WebServer) -> AsyncIterator[Page]:
    """A page of a browser beside an event loop."""
    executable, arguments = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=arguments)
        page = await browser.new_page(base_url=server.url)
        page.set_default_timeout(1000 * PATIENCE)
        yield page
        await browser.close()


async def test_a_project_made_in_the_form_is_spent_on_and_its_bar_moves(tmp_path: Path) -> None:
    async with Sandbox() as sandbox, gateway_on(sandbox, tmp_path) as gateway:
        with web_server(tmp_path) as server:
            # a worker that runs already when the project is made
            before = inference.LLM("openai/gpt-4.1-mini", project="prod")
            assert (await chat(before)).raised is None
            await before.aclose()
            async with page_of(server) as page:
                await page.goto("/projects/~new")
                await page.get_by_label("Id", exact=True).fill("made-here")
                await page.get_by_label("Name", exact=True).fill("<script>alert(1)</script>")
                await page.get_by_label("Daily budget in dollars").fill("0.001")
                await page.get_by_label("Tags").fill("production")
                await page.get_by_role("button", name="Create project").click()
                await page.wait_for_url("**/projects/made-here")
                assert await page.locator("h1").inner_text() == "<script>alert(1)</script>"

                listed = await asyncio.create_subprocess_exec(
                    COMMAND,
                    "projects",
                    "--json",
                    cwd=tmp_path,
                    env=plain_environment(tmp_path),
                    stdout=asyncio.subprocess.PIPE,
                )
                out, _ = await listed.communicate()
                known = {project["project_id"]: project for project in json.loads(out)["projects"]}
                assert known["made-here"]["daily_budget"] == 0.001
                assert known["made-here"]["accent"] == "green"

                bar = page.locator("progress")
                assert await bar.get_attribute("value") == "0"
                await until_known(gateway, "made-here")
                model = inference.LLM("openai/gpt-4.1-mini", project="made-here")
                assert (await chat(model)).raised is None
                await model.aclose()
                assert await gateway.flush(PATIENCE)
                cost = (await cost_of(gateway, "made-here")) / 1e9
                assert cost > 0

                # what the request costs until it has ended may be shown before
                await page.wait_for_function(
                    "cost => +document.querySelector('progress').getAttribute('value') === cost",
                    arg=cost,
                )


async def until_known(gateway: Any, project: str) -> None:
    """Wait until a running worker has heard of a project."""
    async with asyncio.timeout(PATIENCE):
        while project not in gateway.config.projects:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def cost_of(gateway: Any, project: str) -> int:
    """What the ledger has of a project, in nano-dollars."""
    return sum(row["cost_nanos"] for row in await usage_rows(gateway) if row["project"] == project)
