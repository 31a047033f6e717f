"""The container file: what it copies is there and what is secret is not, and what it runs does.

No image is built here: that needs Docker. What can go wrong without it is looked at piece by piece;
that a wheel of these files can be installed in an empty environment is what ``.ci/run`` tries.
"""

from __future__ import annotations

import ast
import contextlib
import fnmatch
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
from deploy_files import EXAMPLES, ROOT
from support.machine import PATIENCE
from support.web_server import TOKEN, plain_environment, web_server, write_config

from livekit_plugins_voicegateway.ledger.outbox import Outbox, outbox_file

FILE = (EXAMPLES / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def instructions() -> list[tuple[str, str]]:
    """The instructions, each in one line, without comments."""
    lines = re.sub(r"^\s*#.*\n", "", FILE, flags=re.M).replace("\\\n", " ")
    split = (line.split(maxsplit=1) for line in lines.splitlines() if line.strip())
    return [(word.upper(), re.sub(r"\s+", " ", rest).strip()) for word, rest in split]


def all_of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def sources() -> list[str]:
    """What is copied from the checkout."""
    copied = [rest.split()[:-1] for rest in all_of("COPY") if not rest.startswith("--from")]
    return [source.removeprefix("./") for some in copied for source in some]


def is_sent(path: str) -> bool:
    """Whether a file of the checkout reaches the builder, by .dockerignore: the last line counts
    that names it or a folder above it."""
    parts = path.split("/")
    above = ["/".join(parts[: length + 1]) for length in range(len(parts))]
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        expression = "".join(
            {"**/": "(.*/)?", "*": "[^/]*"}.get(piece) or re.escape(piece)
            for piece in re.split(r"(\*\*/|\*)", pattern)
        )
        if any(re.fullmatch(expression, one) for one in above):
            sent = line.startswith("!")
    return sent


def tracked() -> list[str]:
    """The files of the checkout."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no checkout")
    return listed.stdout.splitlines()


def is_copied(path: str) -> bool:
    return any(
        path == source or path.startswith(f"{source}/") or fnmatch.fnmatch(path, source)
        for source in sources()
    )


def test_what_it_copies_is_there_and_is_sent_to_the_builder() -> None:
    files = tracked()
    for source in sources():
        found = [path for path in files if path == source or path.startswith(f"{source}/")]
        found += fnmatch.filter(files, source)
        assert found or (ROOT / source).exists(), source
        assert [path for path in found if not is_sent(path)] == []


def test_the_wheel_can_be_built_of_what_it_copies() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [
        "pyproject.toml",
        PROJECT["project"]["readme"],
        *PROJECT["project"]["license-files"],
        PROJECT["tool"]["hatch"]["version"]["path"],
    ]
    needed += [
        path for path in tracked() if path.startswith(tuple(f"{one}/" for one in wheel["packages"]))
    ]
    assert len(needed) > 100
    assert [path for path in needed if not (is_copied(path) and is_sent(path))] == []
    (extras,) = re.findall(r"EXTRAS=(\S+)", " ".join(all_of("ARG")))
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "examples/deploy/.env",
        "examples/workers/.env",
        "examples/workers/voicegw.db",
        "examples/workers/voicegw.db-wal",
        "livekit_plugins_voicegateway/left.db",
        "livekit_plugins_voicegateway/server/tls.key",
        "voicegw.yaml",
        "voicegw.db",
        ".venv/bin/python",
        ".git/config",
        ".models/whisper/model.bin",
        "tests/conftest.py",
        "keys.txt",
    ],
)
def test_secrets_ledgers_and_environments_stay_outside(path: str) -> None:
    assert not is_sent(path)


def test_it_is_not_root_and_what_it_writes_is_its_own() -> None:
    ((uid, gid),) = (one.split(":") for one in all_of("USER"))
    assert uid.isdecimal()  # Kubernetes sees from a number that it is not root
    assert int(uid) > 0 < int(gid)
    making = all_of("RUN")[-1]
    assert f"--uid {uid}" in making
    (volume,) = all_of("VOLUME")
    assert f"install --directory --owner={uid} --group={gid} --mode=0700 {volume}" in making
    order = [word for word, _ in instructions()]
    assert order.index("USER") > len(order) - 1 - order[::-1].index("COPY")


def test_what_it_runs_is_the_server_which_takes_signals_and_answers_the_health_check(
    tmp_path: Path,
) -> None:
    (command,) = all_of("CMD")
    words = ast.literal_eval(command)  # a list: no shell is around it
    assert words[:2] == ["voicegw", "serve"]
    (check,) = all_of("HEALTHCHECK")
    checking = ast.literal_eval(check[check.index("[") :])
    assert checking[0] == "python"
    assert all_of("EXPOSE") == ["8080"]
    write_config(tmp_path)
    env = {**os.environ, "http_proxy": "http://127.0.0.1:9"}  # which it must not ask
    with web_server(tmp_path, *words[2:], env={"VOICEGW_TOKEN": TOKEN}) as server:
        port = server.url.rpartition(":")[2]
        command = [sys.executable, *(word.replace("8080", port) for word in checking[1:])]
        assert command[-1] != checking[-1]
        assert subprocess.run(command, env=env).returncode == 0
        assert server.stop() == 0
    assert subprocess.run(command, env=env, stderr=subprocess.DEVNULL).returncode != 0


def test_a_worker_is_told_to_end_and_what_it_left_in_the_outbox_is_sent(tmp_path: Path) -> None:
    """As ``worker.sh`` does it, with a program that takes its time as a worker does."""
    write_config(tmp_path)
    ledger = f"sqlite:///{tmp_path}/voicegw.db"
    outbox = outbox_file(tmp_path / "outbox", ledger)
    program = tmp_path / "worker.py"
    program.write_text(
        textwrap.dedent(
            f"""\
            import pathlib, signal, sys
            sys.path.insert(0, {str(ROOT / "tests")!r})
            from support.usage_rows import usage_row
            from livekit_plugins_voicegateway.ledger.outbox import Outbox

            def end(number, frame):
                Outbox(pathlib.Path({str(outbox)!r})).put([usage_row(), usage_row()])
                sys.exit(3)

            signal.signal(signal.SIGTERM, end)
            print("started", flush=True)
            while True:
                signal.pause()
            """
        )
    )
    env = plain_environment(tmp_path)
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    configuration = tmp_path / "voicegw.yaml"
    text = configuration.read_text().replace(
        "database: {", f'database: {{outbox: "{tmp_path}/outbox", '
    )
    configuration.write_text(text)
    with subprocess.Popen(
        [EXAMPLES / "worker.sh", sys.executable, str(program)],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as worker:
        assert worker.stdout is not None
        try:
            assert worker.stdout.readline() == "started\n"
            worker.send_signal(signal.SIGTERM)
            out, err = worker.communicate(timeout=PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
    assert (worker.returncode, err) == (3, "")
    assert "Nothing waits: the ledger has all usage." in out
    assert Outbox(outbox).is_empty()
    said = subprocess.run(
        ["voicegw", "verify"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert "It adds up: 2 requests" in said.stdout


def test_the_worker_of_the_image_is_one_of_the_examples() -> None:
    assert "examples/workers/*.py" in sources()
    assert "examples/deploy/worker.sh" in sources()
    assert os.access(EXAMPLES / "worker.sh", os.X_OK)
    for _, rest in instructions():
        if "worker.sh" in rest and rest.endswith("/srv/workers/"):
            break
    else:
        pytest.fail("worker.sh is not beside the workers")
    assert all_of("WORKDIR")[-1] == "/srv/workers"
    assert shlex.split(all_of("ENV")[0])[-1] == "VOICEGW_CONFIG=/etc/voicegateway/voicegw.yaml"
