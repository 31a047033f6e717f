"""Targets that are asked directly: the configuration, model strings, cursors, project fields."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final

from livekit_plugins_voicegateway.config import Config
from livekit_plugins_voicegateway.config_file.schema import read_config
from livekit_plugins_voicegateway.cursors import read_cursor, write_cursor
from livekit_plugins_voicegateway.errors import (
    ConfigError,
    InvalidQueryError,
    UnknownModelError,
    VoiceGatewayError,
)
from livekit_plugins_voicegateway.ledger import open_ledger
from livekit_plugins_voicegateway.ledger.base import Position
from livekit_plugins_voicegateway.managed import ProjectAdmin, ProjectCatalogue
from livekit_plugins_voicegateway.metering.usage import Quantities
from livekit_plugins_voicegateway.pricing.book import PriceBook
from livekit_plugins_voicegateway.provider_options import MODALITIES
from livekit_plugins_voicegateway.reports import Reports

from .examples import HOSTILE, YAML_WORDS, bodies, configurations, json_words, model_strings
from .stage import site
from .statements import watched_statements
from .target import Broken, Check, Outcome, Target, no_errors_logged

__all__ = ["TARGETS"]

_SECRET: Final = "marked-secret-of-the-environment"

_ENV: Final = {"SET": _SECRET, "EMPTY": "", "NUMBER": "5", "A": "b"}

_DAY: Final = date(2027, 1, 15)

_CHECKED: Final = ("deepgram", "openai", "cartesia", "local", "ollama")

_USED: Final = Quantities(audio_seconds=60.0, input_tokens=10, output_tokens=3, characters=5)


@contextmanager
def _configuration() -> Iterator[Check]:
    path = Path("/nowhere/voicegw.yaml")

    def check(content: bytes) -> Outcome:
        config, problems = read_config(content, path, _ENV)
        if problems:
            _check_refusal(ConfigError(str(path), problems))
            return "refused"
        _use(config)
        return "accepted"

    yield check


@contextmanager
def _variables() -> Iterator[Check]:
    path = Path("/nowhere/voicegw.yaml")
    content = b"\n".join(
        (
            b'default_project: "${A}"',
            b'timezone: "${B:-UTC}"',
            b'database: {url: "${C:-sqlite:///x.db}"}',
            b"projects:",
            b'  p: {name: "${D:-n}", daily_budget: "${E:-1}", tags: ["${F:-t}"]}',
            b'  "b": {providers: {openai: {api_key: "${A:-k}", base_url: "${B:-u}"}}}',
            b'fallback: {llm: "${D:-ollama/x}"}',
            b'server: {host: "${E:-h}", port: "${F:-80}", token: "${C:-t}"}',
            b'alerts: {webhook: "${B:-}", secret: "${D:-}"}',
            b'pricing: {a/b: {input: "${E:-1}", output: 1, per: 1000000}}',
        )
    )

    def check(data: bytes) -> Outcome:
        # as the operating system hands them on: any bytes but NUL
        values = [part.decode("utf-8", "surrogateescape") for part in data.split(b"\0")]
        env = dict(zip("ABCDEF", values, strict=False))
        config, problems = read_config(content, path, env)
        if problems:
            _check_refusal(ConfigError(str(path), problems))
            return "refused"
        _use(config)
        return "accepted"

    yield check


def _check_refusal(error: ConfigError) -> None:
    if not all(problem.found and problem.expected for problem in error.problems):
        raise Broken(f"a fault without a reason: {error}")
    if len(error.problems) > 101:
        raise Broken(f"{len(error.problems)} faults are named")
    if _SECRET in str(error):
        raise Broken(f"what a variable holds is shown: {error}")
    str(error).encode()


def _use(config: Config) -> None:
    """Ask a configuration for all that is worked out when it is needed."""
    for ask in (
        lambda: config.database_url,
        lambda: config.server.token,
        lambda: config.alerts.endpoint,
        lambda: config.days.day_of(1_800_014_400.0),
    ):
        _answered(ask)
    repr(config)
    prices = {project.id: project.pricing for project in config.projects.values()}
    book = PriceBook(config.pricing, prices)
    for project in config.projects.values():
        json.dumps([project.id, project.name, project.description, project.accent], allow_nan=False)
        "\n".join((project.id, project.name, project.description, *project.tags)).encode()
        if project.budget_nanos is not None and not 0 <= project.budget_nanos <= 10**18:
            raise Broken(f"a budget of {project.budget_nanos}")
        for provider in (*project.providers, *config.providers):
            options = config.provider_options(project.id, provider)
            assert options is not None
            for modality in MODALITIES:
                _answered(partial(options.resolve, modality, _ENV))
        for model in (*project.pricing, *config.pricing):
            quote = book.find_any(model, _USED, project=project.id, day=_DAY)
            if quote.cost_nanos is not None and quote.cost_nanos < 0:
                raise Broken(f"{model} costs {quote.cost_nanos}")


def _answered(ask: Callable[[], object]) -> None:
    try:
        ask()
    except VoiceGatewayError as error:
        if not str(error):
            raise Broken("refused without a reason") from error


@contextmanager
def _model() -> Iterator[Check]:
    # 2 s, and only for this target: it brings livekit-agents
    from livekit_plugins_voicegateway.plugin_classes import installed
    from livekit_plugins_voicegateway.router import Router, parse_model

    router = Router(Config())
    book = PriceBook({}, {})
    known: set[tuple[str, str]] = set()

    def check(data: bytes) -> Outcome:
        try:
            text = data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            text = data.decode("utf-8", "surrogateescape")
        outcome: Outcome = "refused"
        for modality in MODALITIES:
            try:
                route = parse_model(modality, text)
            except UnknownModelError as error:
                _says_why(error)
                continue
            if not route.provider:
                raise Broken(f"{text!r} has no provider")
            if (modality, route.provider) in known:
                continue  # it is not asked about the model
            if route.provider not in _CHECKED and installed(route.provider):
                continue  # each takes seconds to import
            if route.provider != "local":
                known.add((modality, route.provider))
            try:
                router.check(modality, route)
            except VoiceGatewayError as error:
                _says_why(error)
            else:
                outcome = "accepted"
        try:
            # prices are kept by the book for the models that there are, which are not a million
            book.change_projects({"": {}} if len(data) % 2 else {})
            book.find_any(text, _USED, project=None, day=_DAY)
        except UnknownModelError as error:
            _says_why(error)
        return outcome

    yield check


def _says_why(error: VoiceGatewayError) -> None:
    if not str(error):
        raise Broken("refused without a reason")


@contextmanager
def _cursor() -> Iterator[Check]:
    with watched_statements() as watch, site() as config, asyncio.Runner() as runner:
        ledger = runner.run(open_ledger(config.database_url))
        reports = Reports(config, ledger)

        async def ask(cursor: str) -> Outcome:
            outcome: Outcome = "refused"
            for question, kind in ((reports.logs, "logs"), (reports.calls, "calls")):
                try:
                    await question(cursor=cursor)
                    outcome = "accepted"
                except InvalidQueryError:
                    if read_cursor(kind, cursor) is not None:
                        raise
            return outcome

        def check(data: bytes) -> Outcome:
            text = data.decode("utf-8", "surrogateescape")
            # somebody who knows how they are made, and somebody who does not
            made = write_cursor("logs", Position(text[:30], text[30:]))
            for cursor in (made, text):
                for kind in ("logs", "calls"):
                    position = read_cursor(kind, cursor)
                    if position is not None and write_cursor(kind, position) != cursor:
                        raise Broken(f"{cursor!r} is read as another one's position")
            if len(data) % 8:
                return "refused" if read_cursor("logs", text) is None else "accepted"
            # one of eight goes all the way
            runner.run(ask(made))
            outcome = runner.run(ask(text))
            watch.check()
            return outcome

        try:
            yield check
        finally:
            runner.run(ledger.close())


def _cursors() -> tuple[bytes, ...]:
    made = [
        write_cursor(kind, Position("2027-01-15T12:00:00.000Z", key)).encode()
        for kind in ("logs", "calls")
        for key in ("0199-1", "a/b c", "'; DROP TABLE usage; --", "\ud800")
    ]
    return (*made, b"2027-01-15T12:00:00.000Z\x00\x00' OR 1=1", b"~" * 40)


@contextmanager
def _project() -> Iterator[Check]:
    with (
        watched_statements() as watch,
        no_errors_logged() as logged,
        site() as config,
        asyncio.Runner() as runner,
    ):
        ledger = runner.run(open_ledger(config.database_url))
        catalogue = ProjectCatalogue(config, ledger, env=config.env)
        admin = ProjectAdmin(catalogue, ledger, env=config.env)
        runner.run(admin.create({"project_id": "lab"}, front="http"))

        async def change(fields: dict[str, object]) -> Outcome:
            try:
                if "project_id" in fields:
                    made = (await admin.create(fields, front="http")).id
                else:
                    made = (await admin.update("lab", fields, front="http")).id
            except VoiceGatewayError as error:
                _says_why(error)
                if catalogue.notes:
                    raise Broken(f"refused, and noted: {catalogue.notes}") from error
                return "refused"
            # what one process has taken every other one has to understand
            other = ProjectCatalogue(config, ledger, env=config.env)
            await other.refresh()
            if other.notes or made not in other.config.projects:
                raise Broken(f"taken, and not understood: {other.notes}")
            if other.config.projects[made] != catalogue.config.projects[made]:
                raise Broken(f"{made} is something else to another process")
            await admin.changes(1)
            if made != "lab":
                await admin.delete(made, front="http")
            return "accepted"

        def check(data: bytes) -> Outcome:
            try:
                fields = json.loads(data, parse_float=Decimal)
            except (ValueError, RecursionError, ArithmeticError):
                return "refused"
            if not isinstance(fields, dict):
                return "refused"
            outcome = runner.run(change(fields))
            watch.check()
            logged()
            return outcome

        try:
            yield check
        finally:
            runner.run(ledger.close())


TARGETS: Final = (
    Target(
        "yaml", "voicegw.yaml", _configuration, configurations, (*YAML_WORDS, *HOSTILE), 420_000
    ),
    Target(
        "variables",
        "environment variables in voicegw.yaml",
        _variables,
        lambda: (b"p\0Europe/Berlin\0sqlite:///y.db\0n\x00012.5\x0080", b"b\0\0\0\0\0"),
        (*YAML_WORDS, *HOSTILE, "\udcff"),
        30_000,
    ),
    Target("model", "model strings", _model, model_strings, ("/", ":", *HOSTILE), 130_000),
    Target("cursor", "cursors", _cursor, _cursors, HOSTILE, 220_000),
    Target("project", "fields of a project", _project, bodies, (*json_words(), *HOSTILE), 50_000),
)
"""With the inputs that each gets in the long form; those that are quick get more."""
