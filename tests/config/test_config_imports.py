"""The configuration is read by a command line that must start fast."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "voicegw.yaml"
HEAVY = ["livekit", "pydantic", "rich", "typer", "genai_prices", "platformdirs", "aiosqlite"]


def modules_after(code: str) -> set[str]:
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in out.stdout.split()}


def test_importing_the_configuration_loads_nothing_heavy_and_no_yaml() -> None:
    loaded = modules_after("import livekit_plugins_voicegateway.config")
    assert loaded.isdisjoint([*HEAVY, "yaml"])


def test_reading_a_file_loads_nothing_heavy() -> None:
    code = (
        "from pathlib import Path\n"
        "from livekit_plugins_voicegateway.config import load_config\n"
        f"load_config(Path({str(EXAMPLE)!r}), env={{}})"
    )
    assert modules_after(code).isdisjoint(HEAVY)
