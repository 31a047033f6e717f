"""Importing is light, has no side effect but the plugin's registration, and survives a fork."""

from __future__ import annotations

import sys

import pytest
from processes import run_program

STATE = """
    import asyncio
    import gc
    import os
    import sys
    import threading

    def state():
        files = {}
        for number in os.listdir("/proc/self/fd"):
            try:
                files[number] = os.readlink(f"/proc/self/fd/{number}")
            except FileNotFoundError:
                pass
        return {
            "threads": [thread.name for thread in threading.enumerate()],
            "files": files,
            "loops": sum(isinstance(o, asyncio.AbstractEventLoop) for o in gc.get_objects()),
            "children": open(f"/proc/self/task/{os.getpid()}/children").read(),
        }
"""


@pytest.mark.parametrize(
    "module",
    [
        "livekit_plugins_voicegateway",
        "voicegateway",
        "livekit_plugins_voicegateway.errors",
        "livekit_plugins_voicegateway.gateway",
        "livekit_plugins_voicegateway.ledger",
        "livekit_plugins_voicegateway.reports",
    ],
)
def test_what_the_command_line_imports_does_not_import_livekit_agents(module: str) -> None:
    loaded = run_program(f"import sys, {module}\nanswer(list(sys.modules))")
    assert "livekit.agents" not in loaded


def test_the_drop_in_loads_only_itself_on_top_of_livekit_agents() -> None:
    loaded = run_program("""
        import sys
        import livekit.agents
        before = set(sys.modules)
        import voicegateway.inference
        answer(sorted(set(sys.modules) - before))
    """)
    ours = ("livekit_plugins_voicegateway", "voicegateway")
    others = {name.partition(".")[0] for name in loaded} - {*ours}
    assert others <= sys.stdlib_module_names - {"sqlite3", "multiprocessing", "ssl"}
    assert not [name for name in loaded if name.startswith("livekit_plugins_voicegateway.ledger")]


def test_importing_the_drop_in_starts_nothing_and_opens_nothing() -> None:
    before, after = run_program(
        STATE
        + """
    import livekit.agents
    before = state()
    import voicegateway.inference, livekit.plugins.voicegateway
    answer([before, state()])
    """
    )
    assert after == before


def test_importing_the_drop_in_reads_no_configuration() -> None:
    imported, used = run_program(
        """
        import voicegateway.inference
        try:
            voicegateway.inference.get_project()
        except voicegateway.ConfigError as e:
            answer(["imported", str(e)])
        """,
        env={"VOICEGW_CONFIG": "/nowhere/voicegw.yaml"},
    )
    assert imported == "imported"
    assert "/nowhere/voicegw.yaml" in used
