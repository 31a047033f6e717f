"""The gateway: what one process holds, and makes when it is first needed.

One process has one gateway: configuration, projects, router, prices, and the recorder that keeps
the ledger. It is made from the configuration file at its first use, never at import, and made
anew in a process that was forked. Tests make their own by hand and `install` it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401  (see _register_hooks)
import contextlib
import datetime
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .admission import Admission
from .bugs import never_raises, report_bug
from .concealing import environment
from .config import Config, load_config
from .errors import UnknownProjectError, UnpricedModelError
from .leases import Budgets, LeaseThread
from .log import logger
from .metering.courier import Courier, OutboxSink
from .metering.delivery import Delivery, RowSink
from .metering.ids import uuid7
from .metering.meter import Meter, RefusedMeter, Request
from .metering.recorder import Recorder
from .metering.rows import RowBuilder
from .metering.usage import Modality
from .pricing.book import PriceBook
from .project_watcher import ProjectWatcher
from .projects import Project, resolve_project
from .provider_options import MODALITIES
from .router import ModelSpec, Router, option_block, parse_model
from .turns import speech_id

if TYPE_CHECKING:
    from .alerts.notices import Notices
    from .budgets import Budget
    from .delegates import Delegates
    from .ledger import Ledger
    from .ledger.outbox import Outbox
    from .pricing.book import Price
    from .telemetry import RequestSpan

__all__ = ["Gateway", "current_gateway", "install"]

SHUTDOWN_FLUSH = 0.8
"""Seconds that a job's shutdown waits for the last rows at most; LiveKit allows 10."""


class Gateway:
    """Configuration and everything made from it, for one process.

    Args:
        config: The configuration; read from its usual places when it is left out.
        env: Environment variables.
        clock: Unix time in seconds.
        monotonic: Seconds that never step.
        new_id: Makes a UUIDv7.

    Attributes:
        config: The configuration, with the projects that were made at run time.
        pid: The process that it belongs to; it has no threads in a forked one.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        env: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.perf_counter,
        new_id: Callable[[], str] = uuid7,
    ) -> None:
        self.env = environment(env)
        self.pid = os.getpid()
        self.config = config if config is not None else load_config(env=env)
        self.clock = clock
        self.monotonic = monotonic
        self.new_id = new_id
        self.router = Router(self.config, env=self.env)
        self.prices = PriceBook(
            self.config.pricing,
            {project.id: project.pricing for project in self.config.projects.values()},
        )
        days = self.config.days
        tracking = self.config.cost_tracking
        owner = new_id()
        rows = RowBuilder(self.prices, new_id=new_id, day_of=days.day_of, owner=owner)
        self.expectations = rows.expectations
        self.budgets = Budgets(days, owner, clock=clock, wake=self._wake_leases)
        self.leases = LeaseThread(self.budgets, self._open_ledger_for_leases)
        self.budgets.on_near = never_raises("say that a budget is nearly spent", None)(
            self._on_near
        )
        self.admission = Admission(self.budgets, tracking.on_ledger_failure)
        self.courier = Courier(self._open_ledger, self._open_outboxes)
        delivery = Delivery(self._open_sink, self._open_fallback_outboxes)
        self.recorder = Recorder(
            delivery,
            rows,
            day_of=days.day_of,
            day_start=lambda day: days.bounds(day)[0],
            clock=clock,
        )
        self.watcher = ProjectWatcher(self.config, env=self.env, take_in=self._take_in)
        self._serving = self.config  # and the projects that were deleted while it runs
        self._delegates: weakref.WeakSet[Delegates[Any]] = weakref.WeakSet()
        self._delegates_lock = threading.Lock()
        self.notices = self._make_notices(rows, delivery, owner) if tracking.enabled else None
        self._jobs: weakref.WeakSet[Any] = weakref.WeakSet()

    def known_projects(self, project_id: str) -> Mapping[str, Project]:
        """All projects; ``project_id`` is looked for in the ledger if it is not among them."""
        if project_id not in self.config.projects:
            self.watcher.look_now()
        return self.config.projects

    def project(self, project_id: str) -> Project:
        """The project with this id.

        Raises:
            UnknownProjectError: There is none; names the known ones.
        """
        self.known_projects(project_id)
        return self.config.project(project_id)

    def active_project(self, chosen: str | None = None) -> Project:
        """The project that a request belongs to.

        One that was deleted goes on for those who have chosen it already, as it was.

        Args:
            chosen: The project that the model object was made for, if any.
        """
        try:
            return self._serving.project(resolve_project(chosen, self._serving, self.env))
        except UnknownProjectError as e:
            self.known_projects(e.project)
            return self.config.project(resolve_project(chosen, self.config, self.env))

    def register(self, delegates: Delegates[Any]) -> None:
        """Tell ``delegates`` from now on of projects that change."""
        with self._delegates_lock:
            self._delegates.add(delegates)

    def build(self, modality: Modality, spec: ModelSpec, project: Project) -> Any:
        """Make a plugin instance; see `Router.build`.

        Raises:
            UnpricedModelError: Nobody knows its price, and the configuration forbids such models.
        """
        instance = self.router.build(modality, spec, project)
        tracking = self.config.cost_tracking
        if tracking.enabled and tracking.unpriced == "block":
            model = spec.route.model or str(getattr(instance, "model", ""))
            price = never_raises("look up a price", spec)(self.price)
            if price(modality, spec, project, model=model) is None:
                raise UnpricedModelError(spec.route.requested)
        return instance

    def price(
        self, modality: Modality, spec: ModelSpec, project: Project, *, model: str
    ) -> Price | None:
        """What a model costs the project today. May block: the first LLM price imports a library.

        Args:
            modality: Which kind of model it is.
            spec: What the application asked for.
            project: Who pays.
            model: The model's name for the ledger.
        """
        return self.prices.find(
            modality,
            spec.route.provider,
            model,
            project=project.id,
            variant=self.router.language(spec) if modality == "stt" else None,
            day=datetime.date.fromisoformat(self.config.days.day_of(self.clock())),
        )

    def request(
        self,
        modality: Modality,
        spec: ModelSpec,
        project: Project,
        *,
        model: str,
        streaming: bool = True,
    ) -> Request:
        """Describe a request that begins now: who pays, for what, in which call and turn."""
        room, job_id = self._job()
        return Request(
            request_id=self.new_id(),
            project=project.id,
            modality=modality,
            provider=spec.route.provider,
            model=model,
            requested_model=spec.route.requested,
            variant=self.router.language(spec) if modality == "stt" else None,
            streaming=streaming,
            room=room,
            job_id=job_id,
            speech_id=speech_id() if modality != "stt" else None,
        )

    def track(self, meter: Meter, span: RequestSpan | None = None) -> None:
        """Record a meter from now on.

        Args:
            meter: What counts a request.
            span: The request's span, if somebody traces it: what it cost goes there, too.
        """
        if span is not None:
            self.trace(meter, span)
        if self.config.cost_tracking.enabled:
            self.recorder.track(meter)

    def trace(self, meter: Meter, span: RequestSpan) -> None:
        """Put on a span what a meter's rows cost; they are not known when nothing is metered."""
        if self.config.cost_tracking.enabled:
            span.follow(meter)

    def reject(self, request: Request, error: BaseException) -> None:
        """Record a request that a budget refused."""
        meter = RefusedMeter(request, clock=self.clock, monotonic=self.monotonic)
        meter.close("rejected", error)
        self.track(meter)

    def prewarm(self, *models: str) -> None:
        """Import the plugins of the configured providers, and load the local models that take over
        for projects that throttle, these in the background."""
        self.router.import_plugins()
        for project in self.config.projects.values():
            if project.daily_budget is not None and project.budget_action == "throttle":
                self._prewarm_fallbacks(project)
        for model in models:
            modality: Modality = "stt" if model.startswith("local/whisper") else "tts"
            spec = ModelSpec(parse_model(modality, model))
            self.router.build(modality, spec, self.active_project()).prewarm()

    def fallback(self, modality: Modality, project: Project) -> tuple[ModelSpec, Any] | None:
        """Make the model that takes over for a project; None when there is none, or it fails."""
        text = project.fallback.model(modality)
        if text is None:
            return None
        spec = ModelSpec(parse_model(modality, text))
        try:
            if self._weights_missing(spec, project):
                return None
            return spec, self.router.build(modality, spec, project)
        except Exception as e:
            logger.warning("%s cannot take over for project %r: %s", text, project.id, e)
            return None

    async def flush(self, timeout: float = SHUTDOWN_FLUSH) -> bool:
        """Write all usage that is known now.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether all of it is durable.
        """
        future = asyncio.wrap_future(self.recorder.flush())
        try:
            return await asyncio.wait_for(future, timeout)
        except TimeoutError:
            return False

    def close(self, timeout: float = 5.0) -> None:
        """Write all usage, give back all leases, and end all threads.

        Args:
            timeout: Seconds that it blocks at most.
        """
        deadline = time.monotonic() + timeout
        self.recorder.close(timeout)  # first: what is written is paid out of the leases
        self.courier.close(max(0.0, deadline - time.monotonic()))
        self.leases.close(max(0.0, deadline - time.monotonic()))
        self.watcher.close(max(0.0, deadline - time.monotonic()))
        if self.notices is not None:
            self.notices.close(max(0.0, deadline - time.monotonic()))

    def _take_in(self, config: Config) -> None:
        """Projects were made, changed or deleted; runs on the watcher's thread."""
        before = self.config.projects
        changed = [p for p in config.projects.values() if before.get(p.id) is not p]
        known = {**self._serving.projects, **config.projects}
        self.config = self.router.config = config
        self._serving = replace(config, projects=known)
        self.prices.change_projects({project.id: project.pricing for project in known.values()})
        with self._delegates_lock:
            users = list(self._delegates)
        for project in changed:
            self.budgets.changed(project)
            for delegates in users:
                delegates.changed(project)

    def _wake_leases(self) -> None:
        if self.config.cost_tracking.enabled:
            self.leases.wake()

    def _make_notices(self, rows: RowBuilder, delivery: Delivery, owner: str) -> Notices | None:
        if self.config.alerts.webhook_text is None:
            return None
        from .alerts.notices import make_notices

        notices = make_notices(
            self.config,
            self._open_ledger_for_leases,
            owner,
            clock=self.clock,
            new_id=self.new_id,
        )
        if notices is not None:
            alert = never_raises("say what an alert is about", None)
            self.budgets.on_spent = alert(notices.budget_spent)
            delivery.on_failure = alert(notices.ledger_failing)
            self.courier.on_failure = delivery.on_failure
            rows.on_unpriced = alert(notices.price_unknown)
        return notices

    def _on_near(self, budget: Budget) -> None:
        project = budget.project
        if self.notices is not None:
            self.notices.budget_near(budget)
        if project.budget_action == "throttle":
            # not on this thread: importing a model's library takes seconds, and leases have to be
            # renewed meanwhile
            threading.Thread(
                target=self._prewarm_fallbacks,
                args=(project,),
                name="voicegateway-prewarm",
                daemon=True,
            ).start()

    def _prewarm_fallbacks(self, project: Project) -> None:
        for modality in MODALITIES:
            text = project.fallback.model(modality)
            if text is None or not text.startswith("local/"):
                continue  # other plugins warm up on a call's event loop, and there is none here
            try:
                made = self.fallback(modality, project)
                if made is not None:
                    made[1].prewarm()
            except Exception:
                logger.warning("%s could not be loaded in advance", text, exc_info=True)

    def _weights_missing(self, spec: ModelSpec, project: Project) -> bool:
        if spec.route.provider != "local":
            return False
        from .local import missing_weights

        modality: Modality = "stt" if spec.route.model.startswith("whisper") else "tts"
        options = self.router.options(modality, project, option_block(spec.route))
        found = options.resolve(modality, self.env) if options is not None else {}
        missing = missing_weights(spec.route.model, found)
        if missing:
            logger.warning(
                "%s cannot take over for project %r: %s. Run `voicegw download-files %s`.",
                spec.route.requested,
                project.id,
                "; ".join(missing),
                spec.route.requested,
            )
        return bool(missing)

    async def _open_ledger_for_leases(self) -> Ledger:
        from .ledger import open_ledger

        return await open_ledger(self.config.database_url, clock=self.clock)

    async def _open_ledger(self) -> Ledger:
        # here and not at import: only a process that records needs a database driver
        from .ledger import open_ledger

        ledger = await open_ledger(self.config.database_url, clock=self.clock)
        try:
            await ledger.housekeeping(
                retention_days=self.config.cost_tracking.retention_days,
                today=self.config.days.day_of(self.clock()),
            )
            if self.notices is not None and await ledger.next_alert() is not None:
                self.notices.look()  # somebody died before it was sent
        except Exception:
            await ledger.close()
            raise
        return ledger

    async def _open_sink(self) -> RowSink:
        if self.config.has_remote_ledger:
            return OutboxSink(self._open_outboxes(), self.courier.wake)
        return await self._open_ledger()

    def _open_outboxes(self) -> Sequence[Outbox]:
        from .ledger.outbox import open_outboxes

        return open_outboxes(self.config)

    def _open_fallback_outboxes(self) -> Sequence[Outbox]:
        return () if self.config.has_remote_ledger else self._open_outboxes()

    def _job(self) -> tuple[str | None, str | None]:
        from livekit.agents import get_job_context

        context = get_job_context(required=False)
        if context is None:
            return None, None
        if context not in self._jobs:
            self._jobs.add(context)
            context.add_shutdown_callback(self._flush_at_shutdown)
        return context.job.room.name or None, context.job.id or None

    async def _flush_at_shutdown(self) -> None:
        # best effort: rows are durable as they happen, and another callback that raises ends
        # the process without waiting for this one (ipc/job_proc_lazy_main.py)
        try:
            await self.flush()
        except Exception as e:
            report_bug("write usage at the end of a job", e)


_gateway: Gateway | None = None
_lock = threading.Lock()
_hooks_registered = False


def current_gateway() -> Gateway:
    """The gateway of this process; made from the configuration at the first call.

    Raises:
        ConfigError: The configuration is wrong.
    """
    global _gateway
    gateway = _gateway
    if gateway is None:
        with _lock:
            if _gateway is None:
                _register_hooks()
                _gateway = Gateway()
            gateway = _gateway
    gateway.watcher.start()
    return gateway


def install(gateway: Gateway | None) -> Gateway | None:
    """Make ``gateway`` the one of this process, for tests and for programs that build their own.

    Args:
        gateway: None to make one anew at the next use.

    Returns:
        The gateway that was there before; it is not closed.
    """
    global _gateway
    with _lock:
        _register_hooks()
        previous, _gateway = _gateway, gateway
    return previous


def _register_hooks() -> None:
    global _hooks_registered
    if _hooks_registered:
        return
    _hooks_registered = True
    # Earlier than atexit, and in a job's process too, which runs no atexit handlers: the last rows
    # may still need a thread to open the ledger, and threads cannot be started later. Handlers run
    # in reverse order, so concurrent.futures, imported above, ends its own threads after this one.
    threading._register_atexit(_close_at_exit)  # type: ignore[attr-defined]
    os.register_at_fork(after_in_child=_forget_after_fork)


def _close_at_exit() -> None:
    gateway = _gateway
    if gateway is not None:
        with contextlib.suppress(Exception):
            gateway.close(timeout=2.0)


def _forget_after_fork() -> None:
    """A forked process has none of the parent's threads: it makes a gateway of its own."""
    global _gateway, _lock
    _lock = threading.Lock()
    if _gateway is not None:
        logger.debug("a forked process makes its own VoiceGateway")
        _gateway = None
