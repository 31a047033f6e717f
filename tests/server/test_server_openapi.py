"""The OpenAPI document: that it is true, and that nothing it allows breaks the server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography.fernet import Fernet
from support.command_line import Book
from support.machine import PATIENCE
from support.web_server import TOKEN, plain_environment, web_server

from livekit_plugins_voicegateway.server.app import create_app

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


@pytest.fixture(scope="module")
def document(book: Book) -> dict[str, Any]:
    found: dict[str, Any] = create_app(book.config).openapi()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_operation_is_described_with_an_example_and_its_problems(
    document: dict[str, Any],
) -> None:
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        (good,) = (answer for code, answer in operation["responses"].items() if code[0] == "2")
        (content,) = good["content"].values()
        assert content["example"], name
        if name == "GET /health":
            continue
        for code in ("401", "403", "422"):
            problem = operation["responses"][code]["content"]["application/problem+json"]
            assert problem["schema"]["$ref"].endswith("/Problem"), name
        for parameter in operation.get("parameters", []):
            assert parameter["description"], name


def test_every_example_is_what_its_schema_says_and_has_no_other_key(
    document: dict[str, Any],
) -> None:
    for name, operation in operations(document):
        for code, answer in operation["responses"].items():
            content = answer.get("content", {}).get("application/json", {})
            if code[0] != "2" or "example" not in content:
                continue
            schema = {**content["schema"], "components": document["components"]}
            jsonschema.validate(content["example"], strict(schema))
            assert content["example"] is not None, name


def test_a_new_projects_example_can_be_made(document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/projects"]["post"]["requestBody"]["content"]["application/json"]
    jsonschema.validate(body["example"], body["schema"])


def strict(schema: Any) -> Any:
    """A schema in which an object has the keys that are named, and no other."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if "properties" in found and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


def test_everything_that_the_reports_answer_is_in_the_schemas_and_nothing_else(
    book: Book, document: dict[str, Any], open_server: Any
) -> None:
    with open_server.client() as client:
        for path, operation in (
            ("/v1/costs?period=all", "/v1/costs"),
            ("/v1/projects", "/v1/projects"),
            ("/v1/projects/prod", "/v1/projects/{project_id}"),
            ("/v1/logs", "/v1/logs"),
            ("/v1/calls", "/v1/calls"),
            ("/v1/calls/call-17", "/v1/calls/{room}"),
            ("/v1/prices", "/v1/prices"),
            ("/v1/price?model=deepgram/nova-3&audio_seconds=60", "/v1/price"),
            ("/v1/verify", "/v1/verify"),
            ("/v1/changes", "/v1/changes"),
            ("/health", "/health"),
        ):
            answer = client.get(path)
            assert answer.status_code == 200
            content = document["paths"][operation]["get"]["responses"]["200"]["content"]
            schema = {**content["application/json"]["schema"], "components": document["components"]}
            jsonschema.validate(answer.json(), strict(schema))


@pytest.mark.timeout(300)
def test_nothing_that_the_document_allows_or_forbids_breaks_the_server(
    book: Book, folder: Path, tmp_path: Path
) -> None:
    env = {"VOICEGW_TOKEN": TOKEN, "VOICEGW_SECRET_KEY": Fernet.generate_key().decode()}
    with web_server(folder, env=env) as server:
        done = subprocess.run(
            [
                SCHEMATHESIS,
                "run",
                f"{server.url}/openapi.json",
                "--header",
                f"Authorization: Bearer {TOKEN}",
                "--checks=all",
                # what a cursor or a price may be is more than a schema can say
                "--exclude-checks=positive_data_acceptance",
                # a stream has no end
                "--exclude-path=/v1/events",
                "--max-examples=5",
                f"--request-timeout={PATIENCE}",
                "--seed=20260531",
                "--no-color",
            ],
            cwd=tmp_path,
            env=plain_environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert server.stop() == 0
        assert "Traceback" not in server.log()
