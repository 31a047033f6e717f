"""The units for one machine: what they run exists, what they read is documented, and systemd takes
them, where there is one.
"""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from deploy_files import EXAMPLES, ROOT, drain_timeout, named_in, variables_of
from support.web_server import plain_environment

from livekit_plugins_voicegateway.cli.inspection import inspect_config
from livekit_plugins_voicegateway.config import load_config

UNITS = EXAMPLES / "systemd"
CONFIG = UNITS / "voicegw.yaml"
NAMES = ("voicegw-serve", "voicegw-worker")


def service(name: str) -> configparser.SectionProxy:
    """The [Service] part of a unit."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNITS / f"{name}.service")
    return unit["Service"]


def test_the_configuration_passes_with_the_variables_of_the_environment_file(
    tmp_path: Path,
) -> None:
    names = named_in(UNITS / "environment.example")
    assert variables_of(CONFIG.read_text(encoding="utf-8")) <= names
    given = {name: "0123456789abcdef" for name in names if name != "VOICEGW_SECRET_KEY"}
    given["VOICEGW_DATABASE_URL"] = f"sqlite:///{tmp_path}/ledger.db"
    env = {**plain_environment(tmp_path), **given}
    found = inspect_config(load_config(CONFIG, env=env), env)
    assert (found.ok, found.notes) == (True, [])
    assert {key.state for key in found.keys["production"]} == {"set"}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_unit_writes_is_in_its_state_folder(name: str) -> None:
    unit = service(name)
    state = f"/var/lib/{unit['StateDirectory']}"
    database = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["database"]
    assert database["url"].removeprefix("sqlite:///").startswith(f"{state}/")
    assert database["outbox"].startswith(f"{state}/")
    assert unit["User"] == "voicegw"
    assert unit["StateDirectoryMode"] == "0700"
    assert unit["ProtectSystem"] == "strict"
    assert unit["Environment"] == "VOICEGW_CONFIG=/etc/voicegateway/voicegw.yaml"


def test_calls_end_before_a_worker_does() -> None:
    worker = service("voicegw-worker")
    command = shlex.split(worker["ExecStart"])
    assert int(worker["TimeoutStopSec"]) >= drain_timeout(command) + 30
    assert worker["KillMode"] == "mixed"  # its processes hold the calls, and get no signal
    assert (ROOT / "examples" / "workers" / Path(command[1]).name).is_file()
    assert shlex.split(service("voicegw-serve")["ExecStart"])[1:] == ["serve"]


@pytest.mark.parametrize("name", NAMES)
def test_systemd_takes_the_unit(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd")
    programs = str(Path(sys.executable).parent)
    text = (UNITS / f"{name}.service").read_text(encoding="utf-8")
    unit = tmp_path / f"{name}.service"
    unit.write_text(text.replace("/opt/voicegateway/bin", programs))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True
    )
    ours = [line for line in done.stderr.splitlines() if name in line]
    assert (done.returncode, ours) == (0, []), done.stderr
