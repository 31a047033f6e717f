"""Delegates: the plugin instances behind one of our model objects, one for each project.

`Delegates` is what `stt.STT`, `llm.LLM` and `tts.TTS` of this package have in common. It chooses
the project, builds its instance once, and passes the instance's events on as they come, so that
listeners see what they would see on the plugin itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions
from livekit.agents.utils import is_given

from .accounts import Accounts, Delegate
from .adapters import as_stream
from .bugs import never_raises
from .concealing import conceal
from .errors import VoiceGatewayError
from .gateway import Gateway, current_gateway
from .log import logger
from .metering.usage import Modality
from .projects import Project, get_project
from .router import ModelSpec, option_block, parse_model

__all__ = [
    "Delegate",
    "Delegates",
    "connect_options",
    "fallback_models",
    "given",
    "make_spec",
    "note_without_effect",
    "respell",
]

M = TypeVar("M")

# the members of an adapter are for its project, even if that was deleted meanwhile
_assembling: ContextVar[bool] = ContextVar("voicegateway_assembling", default=False)


class Delegates(Accounts[M]):
    """Chooses and keeps the delegates of one model object.

    Args:
        owner: The model object: an event emitter whose listeners get the delegates' events.
        modality: Which class of the plugin is built.
        spec: What the application asked for.
        project: The ``project=`` argument.
        assemble: Makes the instance, for a spec and a project; by default the router does.
        prepare: Told of each delegate when it is made.
    """

    def __init__(
        self,
        owner: Any,
        modality: Modality,
        spec: ModelSpec,
        project: str | None,
        *,
        assemble: Callable[[ModelSpec, Project], M] | None = None,
        prepare: Callable[[Delegate[M]], None] | None = None,
    ) -> None:
        self._owner = owner
        self._modality: Modality = modality
        self._assemble = assemble
        self._prepare = prepare
        self._built: dict[str, Delegate[M]] = {}
        self._lock = threading.Lock()
        self._making_fallback = threading.Lock()
        self._served: Delegate[M] | None = None
        self._fallbacks: dict[str, Delegate[M] | None] = {}
        self._outdated: list[Delegate[M]] = []
        self._gateway = current_gateway()
        self._gateway.register(self)
        self.spec = spec
        chosen = project if project is not None else get_project()
        if project is not None and not _assembling.get():
            self.gateway.project(project)
        self.project = chosen
        if chosen is not None:
            self.current()
        else:
            self.gateway.router.check(modality, spec.route)

    @property
    def gateway(self) -> Gateway:
        """The gateway that this was made with; in a forked process, that process's own."""
        if self._gateway.pid != os.getpid():
            self._gateway = current_gateway()
            self._gateway.register(self)
        return self._gateway

    def current(self) -> Delegate[M]:
        """The delegate that serves a request made now, in this context."""
        project = self.gateway.active_project(self.project)
        delegate = self._built.get(project.id)
        if delegate is None:
            with self._lock:
                delegate = self._built.get(project.id)
                if delegate is None:
                    delegate = self._build(project)
                    self._built[project.id] = delegate
        if delegate.project is not project:
            # asked anew: it may have been changed, and changed here, since it was asked above
            self.changed(self.gateway.active_project(self.project))
        return delegate

    def changed(self, project: Project) -> None:
        """Serve later requests as ``project`` says, which was changed at run time.

        Budget, action, fallback and prices hold at once. With other keys or options the instance
        is made anew on another thread, and serves when it is there; a request keeps its own.
        """
        with self._lock:
            delegate = self._built.get(project.id)
            if delegate is None or delegate.project is project:
                return
            before, delegate.project = delegate.project, project
            fallback = self._fallbacks.get(project.id)
            if fallback is not None:
                fallback.project = project
            if (before.fallback, before.providers) != (project.fallback, project.providers):
                self._fallbacks.pop(project.id, None)
                if fallback is not None:
                    self._outdated.append(fallback)
        block = option_block(delegate.spec.route)
        # the members of an adapter are told themselves
        if delegate.metered and before.providers.get(block) != project.providers.get(block):
            self.gateway.watcher.submit(partial(self._renew, delegate))
        self._count(delegate)

    def all(self) -> list[Delegate[M]]:
        """Every delegate that was built, for each project: the chosen model's, the fallback's."""
        fallbacks = filter(None, self._fallbacks.values())
        return [*self._built.values(), *fallbacks, *self._outdated]

    @property
    def served(self) -> Delegate[M]:
        """The delegate that served last, or the one that serves next when none has."""
        return self._served if self._served is not None else self.current()

    def serves(self, delegate: Delegate[M]) -> None:
        """Note that ``delegate`` serves a request."""
        self._served = delegate

    def fallback(self, delegate: Delegate[M]) -> Delegate[M] | None:
        """The local model that takes over from ``delegate``; None when there is none."""
        project = delegate.project
        with suppress(KeyError):
            return self._fallbacks[project.id]
        with self._making_fallback:  # once, though many requests need it in the same moment
            fallback = self._fallbacks.get(project.id)
            if fallback is None and (made := self.gateway.fallback(self._modality, project)):
                spec, instance = made
                instance = as_stream(self._modality, instance)
                self._listen(instance)
                fallback = Delegate(instance, spec, project, stands_in=True)
                if self._prepare is not None:
                    self._prepare(fallback)
            with self._lock:
                if delegate.project is project:
                    self._fallbacks[project.id] = fallback
                elif fallback is not None:  # the project was changed meanwhile
                    self._outdated.append(fallback)
            return fallback

    def update(self, spec: ModelSpec, changes: Mapping[str, Any]) -> list[Delegate[M]]:
        """Serve later requests as ``spec`` says, and running ones if the plugin can.

        Args:
            spec: What is asked for from now on.
            changes: What differs, by the names of ``livekit.agents.inference``.

        Returns:
            The delegates that are out of use: none when the plugin took the changes.

        Raises:
            VoiceGatewayError: It cannot be built; then nothing has changed.
        """
        if spec == self.spec:
            return []
        updates: list[tuple[Any, dict[str, Any]]] = []
        router = self.gateway.router
        if self._assemble is None and router.same_class(
            self._modality, spec.route, self.spec.route
        ):
            for delegate in self._built.values():
                update = getattr(delegate.instance, "update_options", None)
                options = router.update_arguments(self._modality, spec, changes, update)
                if options is None:
                    break
                updates.append((update, options))
        if len(updates) < len(self._built):
            return self._rebuild(spec)
        renamed = spec.route.model != self.spec.route.model
        for update, options in updates:
            before = update.__self__.model
            update(**options)
            if renamed and update.__self__.model == before:
                # it takes the argument and keeps its model (plugins/cartesia/stt.py)
                return self._rebuild(spec)
        self.spec = spec
        for delegate in self._built.values():
            delegate.spec = spec
            if delegate.price is not None:
                self.gateway.recorder.submit(partial(self._find_price, delegate))
        return []

    def _rebuild(self, spec: ModelSpec) -> list[Delegate[M]]:
        old_spec, old_built = self.spec, self._built
        self.spec, self._built = spec, {}
        try:
            for project_id, delegate in old_built.items():
                self._built[project_id] = self._build(delegate.project)
        except Exception:
            self.spec, self._built = old_spec, old_built
            raise
        return list(old_built.values())

    async def aclose(self) -> None:
        """Stop listening to the delegates, and close them."""
        built, self._built = self._built, {}
        fallbacks, self._fallbacks = self._fallbacks, {}
        outdated, self._outdated = self._outdated, []
        for delegate in (*built.values(), *fallbacks.values(), *outdated):
            if delegate is not None:
                await self.retire(delegate)

    async def retire(self, delegate: Delegate[M]) -> None:
        """Stop listening to a delegate, and close it."""
        instance: Any = delegate.instance
        await instance.aclose()
        instance.off("metrics_collected", self._forward_metrics)
        instance.off("error", self._forward_error)

    def _build(self, project: Project) -> Delegate[M]:
        delegate = self._make(project)
        self._count(delegate)
        return delegate

    def _renew(self, delegate: Delegate[M]) -> None:
        """Give a delegate an instance with its project's present keys and options."""
        try:
            made = self._make(delegate.project)
        except Exception as e:
            logger.error(
                "%s goes on with the keys that project %r had before: %s",
                delegate.spec.route.requested,
                delegate.project.id,
                e if isinstance(e, VoiceGatewayError) else type(e).__name__,
            )
            return
        with self._lock:
            if self._built.get(delegate.project.id) is not delegate:
                return
            if made.spec is delegate.spec:
                delegate.instance, made.instance = made.instance, delegate.instance
                self._outdated.append(made)
            else:  # the application has changed the model meanwhile
                self.gateway.watcher.submit(partial(self._renew, delegate))

    def _make(self, project: Project) -> Delegate[M]:
        if self._assemble is not None:
            context = copy_context()
            context.run(_assembling.set, True)
            instance: Any = context.run(self._assemble, self.spec, project)
        else:
            instance = self.gateway.build(self._modality, self.spec, project)
        self._listen(instance)
        delegate: Delegate[M] = Delegate(
            instance, self.spec, project, metered=self._assemble is None
        )
        if self._prepare is not None:
            self._prepare(delegate)
        return delegate

    @never_raises("get ready to ask a budget", None)
    def _count(self, delegate: Delegate[M]) -> None:
        """Get ready to ask the project's budget, if it has one."""
        if delegate.project.daily_budget is not None and delegate.metered:
            self.gateway.budgets.of(delegate.project)
            self.gateway.recorder.submit(partial(self._find_price, delegate))

    def _find_price(self, delegate: Delegate[M]) -> None:
        delegate.price = self.gateway.price(
            self._modality, delegate.spec, delegate.project, model=delegate.model
        )

    def _listen(self, instance: Any) -> None:
        instance.on("metrics_collected", self._forward_metrics)
        instance.on("error", self._forward_error)

    def _forward_metrics(self, *args: Any) -> None:
        self._owner.emit("metrics_collected", *args)

    def _forward_error(self, *args: Any) -> None:
        for event in args:
            # of a request that is no stream; streams have theirs looked at in metering/attempts.py
            if isinstance(error := getattr(event, "error", None), BaseException):
                conceal(error)
        self._owner.emit("error", *args)


def given(**arguments: Any) -> dict[str, Any]:
    """The arguments that were given: neither NOT_GIVEN nor None."""
    return {
        name: value for name, value in arguments.items() if is_given(value) and value is not None
    }


def make_spec(
    modality: Modality, model: Any, arguments: dict[str, Any], extra: dict[str, Any] | None
) -> ModelSpec:
    """Make a spec from a constructor's arguments."""
    return ModelSpec(parse_model(modality, model), arguments, dict(extra or {}))


def respell(spec: ModelSpec, modality: Modality, model: str) -> ModelSpec:
    """``spec`` with another model; a suffix of the new model replaces language or voice.

    A model of another provider gets nothing that belongs to the old one: no key, no address.
    """
    route = parse_model(modality, model)
    name = "language" if modality == "stt" else "voice"
    arguments = dict(spec.arguments)
    if route.provider != spec.route.provider:
        for of_provider in ("api_key", "base_url", "encoding", "voice"):
            arguments.pop(of_provider, None)
        spec = replace(spec, extra={})
        if modality == "tts" and spec.route.suffix is not None:
            spec = replace(spec, route=replace(spec.route, suffix=None))
    if route.suffix is not None:
        arguments[name] = route.suffix
    elif spec.route.suffix is not None:
        arguments.setdefault(name, spec.route.suffix)
    return replace(spec, route=route, arguments=arguments)


def fallback_models(fallback: Any) -> list[dict[str, Any]]:
    """The ``fallback=`` argument as a list of ``{"model": …, "voice": …, "extra_kwargs": …}``."""
    if not is_given(fallback) or not fallback:
        return []
    models = fallback if isinstance(fallback, list) else [fallback]
    return [{"model": model} if isinstance(model, str) else dict(model) for model in models]


def connect_options(own: APIConnectOptions | None, called: APIConnectOptions) -> APIConnectOptions:
    """Which connection options an attempt uses.

    The constructor's, unless the call brings some that are not LiveKit's defaults: an
    AgentSession passes its own with every call, and they are the defaults unless it was told.
    """
    if own is None or called != DEFAULT_API_CONNECT_OPTIONS:
        return called
    return own


_noted: set[str] = set()


def note_without_effect(**arguments: Any) -> None:
    """Say once for each argument that only LiveKit's own cloud understands it."""
    for name in given(**arguments):
        if name not in _noted:
            _noted.add(name)
            logger.warning(
                "%s= is understood by LiveKit's own cloud only; it has no effect with VoiceGateway",
                name,
            )
