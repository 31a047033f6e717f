"""Three import names, one set of objects, and one plugin for LiveKit to find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from processes import run_program

import livekit.plugins.voicegateway
import livekit_plugins_voicegateway
import voicegateway
import voicegateway.inference
from livekit_plugins_voicegateway import inference

ROOT = Path(livekit_plugins_voicegateway.__file__).parents[1]

NO_NETWORK = """
    import socket
    import sys

    def forbid(event, arguments):
        inside = event == "socket.connect" and arguments[0].family == socket.AF_UNIX
        if event in ("socket.connect", "socket.getaddrinfo") and not inside:
            raise OSError("this test has no network")

    sys.addaudithook(forbid)
"""


@pytest.mark.parametrize("package", [voicegateway, livekit.plugins.voicegateway])
def test_a_short_name_gives_the_very_same_objects(package: object) -> None:
    for name in livekit_plugins_voicegateway.__all__:
        assert getattr(package, name) is getattr(livekit_plugins_voicegateway, name)


def test_the_drop_in_module_is_the_same_whichever_way_it_is_imported() -> None:
    from voicegateway import inference as from_package

    assert voicegateway.inference is inference
    assert from_package is inference
    assert livekit.plugins.voicegateway.inference is inference
    assert voicegateway.inference.STT is livekit_plugins_voicegateway.inference.STT


@pytest.mark.parametrize(
    "order",
    [
        ("voicegateway.inference", "livekit.plugins.voicegateway", "livekit_plugins_voicegateway"),
        ("livekit.plugins.voicegateway", "livekit_plugins_voicegateway", "voicegateway.inference"),
        ("livekit_plugins_voicegateway.inference", "voicegateway", "livekit.plugins.voicegateway"),
        ("voicegateway",),
    ],
)
def test_the_plugin_is_registered_once_in_whichever_order_the_names_come(
    order: tuple[str, ...],
) -> None:
    registered = run_program(f"""
        import importlib
        for name in {order!r}:
            importlib.import_module(name)
        importlib.import_module("voicegateway").inference
        from livekit.agents import Plugin
        answer([[p.title, p.version, p.package] for p in Plugin.registered_plugins
                if "voicegateway" in p.title])
    """)
    assert registered == [
        [
            "livekit.plugins.voicegateway",
            livekit_plugins_voicegateway.__version__,
            "livekit_plugins_voicegateway.inference",
        ]
    ]


def test_there_is_one_active_project_for_all_names() -> None:
    assert run_program("""
        import contextvars
        import livekit_plugins_voicegateway.config as config
        from livekit_plugins_voicegateway import gateway, projects
        made = {name: projects.Project(name) for name in ("prod", "staging")}
        gateway.install(gateway.Gateway(config.Config(projects=made, env={}), env={}))

        import voicegateway.inference
        import livekit.plugins.voicegateway
        voicegateway.inference.set_project("staging")
        ours = [v.name for v in contextvars.copy_context() if v.name == "voicegateway_project"]
        answer([livekit.plugins.voicegateway.inference.get_project(), ours])
    """) == ["staging", ["voicegateway_project"]]


def test_the_package_names_that_belong_to_livekit_stay_namespaces() -> None:
    assert not (ROOT / "livekit" / "__init__.py").exists()
    assert not (ROOT / "livekit" / "plugins" / "__init__.py").exists()
    assert len(livekit.plugins.__path__) >= 2


def test_it_tells_type_checkers_that_it_is_typed() -> None:
    assert (ROOT / "livekit_plugins_voicegateway" / "py.typed").exists()


def test_livekits_download_files_finds_the_plugin() -> None:
    program = NO_NETWORK.replace("\n    ", "\n") + (
        "import runpy\n"
        "sys.argv = ['livekit.agents', 'download-files']\n"
        "runpy.run_module('livekit.agents', run_name='__main__')\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    said = finished.stdout + finished.stderr
    assert "livekit.plugins.voicegateway" in said
    assert "downloading files for livekit_plugins_voicegateway.inference" in said
    assert "failed to import livekit.plugins.voicegateway" not in said
