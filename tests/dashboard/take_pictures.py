"""Takes the pictures of docs/dashboard.md.

    python tests/dashboard/take_pictures.py [FOLDER]

The ledger behind them is that of the tests. FOLDER is docs/images when it is left out.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from dashboard_browser import DESKTOP, PHONE, find_chromium  # noqa: E402
from dashboard_ledger import fill, write_config  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402
from support.web_server import web_server  # noqa: E402

PICTURES = (
    ("overview", "/", "light", DESKTOP, 860),
    ("call", "/calls/prod-003", "dark", DESKTOP, 860),
    ("phone", "/", "dark", PHONE, 740),
)


def main(folder: Path) -> None:
    """Take all pictures."""
    executable, arguments = find_chromium()
    with tempfile.TemporaryDirectory() as temporary:
        fill(write_config(Path(temporary), hostile=False), hostile=False)
        with web_server(Path(temporary)) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=arguments)
            for name, path, theme, width, height in PICTURES:
                page = browser.new_page(
                    color_scheme=theme,  # type: ignore[arg-type]
                    viewport={"width": width, "height": height},
                    reduced_motion="reduce",
                )
                page.goto(f"{server.url}{path}", wait_until="networkidle")
                page.screenshot(path=folder / f"dashboard-{name}.png")
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parents[1] / "docs" / "images")
