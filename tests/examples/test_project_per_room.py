"""Which project pays for a call of `project_per_room.py`, by the metadata of its job."""

from __future__ import annotations

import contextvars
import importlib
import logging
from collections.abc import Iterator
from types import ModuleType

import pytest
from example_workers import WORKERS, Desk

from livekit_plugins_voicegateway import inference
from livekit_plugins_voicegateway.config import load_config
from livekit_plugins_voicegateway.gateway import Gateway, install


@pytest.fixture
def worker(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(WORKERS)
    gateway = Gateway(load_config(desk.config, env=desk.env), env=desk.env)
    previous = install(gateway)
    yield importlib.import_module("project_per_room")
    install(previous)
    gateway.close()


def project_for(worker: ModuleType, metadata: str) -> str:
    """The project that is active after the worker has looked at this metadata."""

    def choose() -> str:
        worker.choose_project(metadata)
        return inference.get_project()

    return contextvars.copy_context().run(choose)


def test_metadata_names_the_project(worker: ModuleType) -> None:
    assert project_for(worker, '{"project": "staging"}') == "staging"


def test_without_metadata_the_default_project_pays_and_nothing_is_logged(
    worker: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    assert project_for(worker, "") == "production"
    assert caplog.records == []


def test_a_project_that_does_not_exist_is_logged_with_those_that_do(
    worker: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert project_for(worker, '{"project": "stagging"}') == "production"

    (record,) = caplog.records
    assert "there is no project 'stagging'; did you mean 'staging'?" in record.getMessage()
    assert record.getMessage().endswith("This call is on production.")


@pytest.mark.parametrize("metadata", ["staging", "[]", "{}", '"staging"', '{"project": 7}', "null"])
def test_metadata_of_another_shape_is_logged_as_it_came(
    worker: ModuleType, caplog: pytest.LogCaptureFixture, metadata: str
) -> None:
    with caplog.at_level(logging.WARNING):
        assert project_for(worker, metadata) == "production"

    (record,) = caplog.records
    assert metadata in record.getMessage()
    assert '{"project": "staging"}' in record.getMessage()
