"""The compose file and the Kubernetes example, against what the software takes and asks for.

Neither is started here: that needs Docker, or a cluster. What they hand to server and workers is
given to the real ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from deploy_files import (
    EXAMPLES,
    ROOT,
    blocks,
    drain_timeout,
    load,
    named_in,
    seconds,
    variables_of,
)
from support.command_line import COMMAND
from support.postgres import PostgresServer
from support.web_server import TOKEN, plain_environment, web_server

from livekit_plugins_voicegateway.cli.app import app
from livekit_plugins_voicegateway.cli.inspection import Findings, inspect_config
from livekit_plugins_voicegateway.config import load_config

CONFIG = EXAMPLES / "voicegw.yaml"
COMPOSE = load("compose.yaml")
CLUSTER = [
    one
    for one in yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8"))
    if one is not None
]
LIVEKIT = {"LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"}
LIVEKIT_PORT = 8081

OURS = {"VOICEGW_CONFIG", "VOICEGW_DATABASE_URL", "VOICEGW_TOKEN", "VOICEGW_INGEST_TOKEN"}
OURS |= {"VOICEGW_SECRET_KEY"}


def of_kind(kind: str) -> dict[str, Any]:
    """The objects of a kind, by name."""
    return {one["metadata"]["name"]: one for one in CLUSTER if one["kind"] == kind}


def pod(name: str) -> Any:
    return of_kind("Deployment")[name]["spec"]["template"]["spec"]


def container(name: str) -> Any:
    (found,) = pod(name)["containers"]
    return found


def variables_in_cluster(name: str) -> set[str]:
    """The environment variables of a pod, from wherever."""
    there = container(name)
    found = {one["name"] for one in there.get("env", ())}
    for source in there.get("envFrom", ()):
        found |= set(of_kind("Secret")[source["secretRef"]["name"]]["stringData"])
    return found


ENVIRONMENTS = {
    "compose server": set(COMPOSE["services"]["server"]["environment"]) | {"VOICEGW_CONFIG"},
    "compose worker": set(COMPOSE["services"]["worker"]["environment"]) | {"VOICEGW_CONFIG"},
    "cluster server": variables_in_cluster("voicegateway-server"),
    "cluster worker": variables_in_cluster("voicegateway-worker"),
}


def check(path: Path, home: Path, names: Iterable[str]) -> Findings:
    """What ``voicegw check`` finds with these variables, and no others of ours."""
    given = dict.fromkeys(names, "0123456789abcdef")
    given |= {"VOICEGW_DATABASE_URL": f"sqlite:///{home}/ledger.db", "VOICEGW_SECRET_KEY": ""}
    env = {**plain_environment(home), **given}
    return inspect_config(load_config(path, env=env), env)


@pytest.mark.parametrize("who", ENVIRONMENTS)
def test_the_variables_are_those_that_are_read(who: str) -> None:
    documented = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    asked = variables_of(CONFIG.read_text(encoding="utf-8"))
    ours = {name for name in ENVIRONMENTS[who] if name.startswith("VOICEGW_")}
    assert [name for name in ours if f"| `{name}` |" not in documented] == []
    assert ENVIRONMENTS[who] - ours - LIVEKIT <= asked
    assert "VOICEGW_DATABASE_URL" in ours
    if who.endswith("worker"):
        assert LIVEKIT | asked - {"VOICEGW_TOKEN"} <= ENVIRONMENTS[who]
        assert "VOICEGW_TOKEN" not in ours  # a worker needs no key to the server
    else:
        assert {"VOICEGW_TOKEN", "VOICEGW_SECRET_KEY"} <= ours


def test_a_worker_with_these_variables_has_all_its_keys(tmp_path: Path) -> None:
    found = check(CONFIG, tmp_path, ENVIRONMENTS["compose worker"])
    assert (found.ok, found.notes) == (True, [])
    states = {key.provider: key.state for key in found.keys["production"]}
    assert states == dict.fromkeys(("openai", "deepgram", "cartesia"), "set")


def test_the_server_is_satisfied_with_its_own(tmp_path: Path) -> None:
    found = check(CONFIG, tmp_path, ENVIRONMENTS["compose server"])
    assert (found.ok, found.notes) == (True, [])


def test_the_map_of_the_cluster_is_the_configuration_of_compose() -> None:
    (config,) = of_kind("ConfigMap").values()
    assert config["data"] == {"voicegw.yaml": CONFIG.read_text(encoding="utf-8")}


def test_compose_declares_what_it_uses() -> None:
    services = COMPOSE["services"]
    volumes = [one for service in services.values() for one in service.get("volumes", ())]
    for volume in volumes:
        source = volume.split(":")[0]
        assert (
            (EXAMPLES / source).is_file()
            if source.startswith(".")
            else (source in COMPOSE["volumes"])
        ), volume
    used = [one for service in services.values() for one in service.get("secrets", ())]
    assert set(used) == set(COMPOSE["secrets"])
    (name,) = used
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"] == f"/run/secrets/{name}"
    build = services["server"]["build"]
    assert (EXAMPLES / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()


def test_each_variable_that_compose_wants_is_in_the_example_and_no_other() -> None:
    text = (EXAMPLES / "compose.yaml").read_text(encoding="utf-8")
    assert variables_of(text) == named_in(EXAMPLES / "env.example")
    assert COMPOSE["secrets"]["db_password"]["environment"] in named_in(EXAMPLES / "env.example")


def test_the_secrets_are_in_no_file_that_is_committed() -> None:
    for name in ("env.example", "systemd/environment.example"):
        lines = (EXAMPLES / name).read_text(encoding="utf-8").splitlines()
        assert [one for one in lines if "=" in one and one[0] != "#" and one[-1] != "="] == []
    for secret in of_kind("Secret").values():
        assert set(secret["stringData"].values()) == {""}
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert ".env" in ignored


def test_workers_of_compose_have_time_to_let_calls_end_and_one_outbox_with_the_server() -> None:
    worker, server = COMPOSE["services"]["worker"], COMPOSE["services"]["server"]
    assert seconds(worker["stop_grace_period"]) >= drain_timeout(worker["command"]) + 30
    assert seconds(server["stop_grace_period"]) > 3
    state = [one for one in worker["volumes"] if one.endswith(":/var/lib/voicegateway")]
    assert state == [one for one in server["volumes"] if one.endswith(":/var/lib/voicegateway")]
    outbox = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["database"]["outbox"]
    assert outbox.startswith("/var/lib/voicegateway/")
    for service in (worker, server):
        assert service["read_only"] is True
        assert service["depends_on"]["postgres"] == {"condition": "service_healthy"}
    assert COMPOSE["services"]["postgres"]["healthcheck"]["test"][1] == "pg_isready"


def test_the_server_is_reached_at_the_port_that_it_listens_on() -> None:
    port = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["server"]["port"]
    assert COMPOSE["services"]["server"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert COMPOSE["services"]["proxy"]["environment"]["VOICEGW_UPSTREAM"] == f"server:{port}"
    (ours,) = container("voicegateway-server")["ports"]
    assert ours["containerPort"] == port


def test_the_cluster_declares_what_it_uses() -> None:
    secrets = {name: set(one["stringData"]) for name, one in of_kind("Secret").items()}
    for name, deployment in of_kind("Deployment").items():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels
        there, volumes = container(name), {one["name"]: one for one in pod(name)["volumes"]}
        assert {one["name"] for one in there["volumeMounts"]} == set(volumes)
        assert volumes["config"]["configMap"]["name"] in of_kind("ConfigMap")
        mounts = {one["name"]: one["mountPath"] for one in there["volumeMounts"]}
        values = {one["name"]: one.get("value") for one in there["env"]}
        assert values["VOICEGW_CONFIG"] == f"{mounts['config']}/voicegw.yaml"
        assert mounts["state"] == "/var/lib/voicegateway"
        for one in there["env"]:
            wanted = one.get("valueFrom", {}).get("secretKeyRef")
            assert wanted is None or wanted["key"] in secrets[wanted["name"]]
        ports = {one["name"] for one in there["ports"]}
        for probe in ("readinessProbe", "livenessProbe"):
            assert there[probe]["httpGet"]["port"] in ports
    (service,) = of_kind("Service").values()
    (port,) = service["spec"]["ports"]
    server = of_kind("Deployment")["voicegateway-server"]["spec"]["template"]
    assert service["spec"]["selector"] == server["metadata"]["labels"]
    assert port["targetPort"] in {one["name"] for one in container("voicegateway-server")["ports"]}
    (ingress,) = of_kind("Ingress").values()
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"] == {
        "name": service["metadata"]["name"],
        "port": {"name": port["name"]},
    }


def test_nothing_in_the_cluster_is_root_and_nothing_can_be_written_but_its_volumes() -> None:
    for name in of_kind("Deployment"):
        assert pod(name)["securityContext"]["runAsNonRoot"] is True
        assert f"USER {pod(name)['securityContext']['runAsUser']}:" in (
            EXAMPLES / "Dockerfile"
        ).read_text(encoding="utf-8")
        assert container(name)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod(name)["automountServiceAccountToken"] is False


def test_workers_of_the_cluster_have_time_to_let_calls_end() -> None:
    grace = pod("voicegateway-worker")["terminationGracePeriodSeconds"]
    assert grace >= drain_timeout(container("voicegateway-worker")["command"]) + 30
    assert pod("voicegateway-server")["terminationGracePeriodSeconds"] > 3


def test_the_probes_of_the_server_answer_as_they_are_meant_to(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Both while all is well; with PostgreSQL away the server is not ready, and not restarted."""
    probes = container("voicegateway-server")
    ready = probes["readinessProbe"]["httpGet"]["path"]
    live = probes["livenessProbe"]["httpGet"]["path"]
    (config,) = of_kind("ConfigMap").values()
    (tmp_path / "voicegw.yaml").write_text(
        config["data"]["voicegw.yaml"].replace("/var/lib/voicegateway", str(tmp_path))
    )
    url = postgres_server.fresh_database()
    env = {"VOICEGW_TOKEN": TOKEN, "VOICEGW_DATABASE_URL": url}
    with web_server(tmp_path, "--host", "127.0.0.1", env=env) as server:
        # as kubelet asks, and as a proxy does: the pod's address, and for whom
        by_kubelet = {"Host": "10.1.2.3:8080", "User-Agent": "kube-probe/1.31"}
        by_proxy = {"Host": "voicegw.example.com", "X-Forwarded-For": "203.0.113.7"}
        with server.client() as client:
            for path in (ready, live):
                assert client.get(path, headers=by_kubelet).status_code == 200
            token = {"Authorization": f"Bearer {TOKEN}"}
            assert client.get("/v1/costs", headers=by_proxy | token).status_code == 200
            assert client.get("/v1/costs", headers=by_proxy).status_code == 401
            postgres_server.stop()
            try:
                assert client.get(ready, headers=by_kubelet).status_code == 503
                assert client.get(live, headers=by_kubelet).status_code == 200
                another = [COMMAND, "serve", "--port", "0"]
                given = {**plain_environment(tmp_path), **env}
                ended = subprocess.run(another, cwd=tmp_path, env=given, capture_output=True)
                assert ended.returncode == 1  # and is started again by whoever keeps it running
                assert b"Traceback" not in ended.stderr
            finally:
                postgres_server.start()


def test_empty_secrets_start_no_server_and_it_says_why(tmp_path: Path) -> None:
    (secret,) = (one for name, one in of_kind("Secret").items() if "VOICEGW_TOKEN" in str(one))
    env: Mapping[str, str] = {**plain_environment(tmp_path), **secret["stringData"]}
    done = subprocess.run(
        [COMMAND, "serve", "--host", "0.0.0.0", "--port", "0", "--config", str(CONFIG)],
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "VOICEGW_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("who", ["compose", "cluster"])
def test_the_commands_of_workers_are_commands(who: str) -> None:
    command = (
        COMPOSE["services"]["worker"]["command"]
        if who == "compose"
        else container("voicegateway-worker")["command"]
    )
    assert command[:2] == ["./worker.sh", "python"]
    assert (ROOT / "examples" / "workers" / command[2]).is_file()
    assert command[3] == "start"


def test_a_worker_takes_the_options_that_it_is_given_and_answers_where_it_is_asked() -> None:
    """LiveKit's own: how long calls may go on, and where its health is."""
    worker = ROOT / "examples" / "workers" / "single_project.py"
    said = subprocess.run(
        [sys.executable, "-W", "ignore", worker, "start", "--help"],
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
    ).stdout
    assert "--drain-timeout" in said

    from livekit.agents.worker import ServerOptions

    (port,) = (one.default for one in fields(ServerOptions) if one.name == "port")
    assert port.prod_default == LIVEKIT_PORT
    (livekit,) = container("voicegateway-worker")["ports"]
    assert livekit["containerPort"] == LIVEKIT_PORT
    assert str(LIVEKIT_PORT) in COMPOSE["services"]["worker"]["healthcheck"]["test"][-1]


def test_commands_of_ours_in_the_page_are_commands() -> None:
    """Those that only containers run; the others are run."""
    for block in blocks():
        for line in block.text.splitlines():
            _, found, rest = line.partition("-- voicegw ")
            if not found and line.startswith("docker compose exec server voicegw "):
                rest = line.partition(" voicegw ")[2]
            if rest:
                name = rest.split()[0]
                context = click.Context(app, info_name="voicegw")
                assert app.get_command(context, name) is not None
