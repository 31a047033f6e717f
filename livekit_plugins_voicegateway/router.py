"""From "provider/model" and a project to a live instance of the installed LiveKit plugin.

Any plugin that is installed is used: which arguments its class takes is read off the constructor,
and what cannot be read there stands in `providers`. The router decides whose key pays.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .concealing import Arguments, conceal, environment, note_keys
from .config import Config
from .errors import (
    ConfigError,
    ConfigProblem,
    MissingCredentialsError,
    ProviderNotInstalledError,
    UnknownModelError,
    UnsetVariableError,
    VoiceGatewayError,
    did_you_mean,
)
from .livekit_headers import strip_livekit_headers
from .log import logger
from .metering.usage import Modality
from .model_strings import KIND, ModelSpec, Route, parse_model
from .plugin_classes import (
    accepted_by,
    argument_meant,
    constructors,
    import_plugin,
    installed,
    installed_plugins,
    parameters,
)
from .provider_options import MODALITIES, ProviderOptions, fault_of_key, normalise_ollama_url
from .providers import (
    ARGUMENT_NAMES,
    EXTRA_NAMES,
    KEY_ARGUMENTS,
    KEY_VARIABLES,
    KNOWN_PLUGINS,
    LOCAL_OPTIONS,
    OPENAI_CONSTRUCTORS,
    PREFERRED_ARGUMENTS,
)

if TYPE_CHECKING:
    from .projects import Project

__all__ = ["ModelSpec", "Route", "Router", "option_block", "parse_model"]

_LOCAL = {
    "stt": "local/whisper-<size>, for example local/whisper-base",
    "llm": "ollama/<model>, for example ollama/qwen2.5:3b",
    "tts": "local/kokoro",
}


class Router:
    """Builds plugin instances for projects.

    Args:
        config: Whose providers' options and keys are used.
        env: Environment variables.
    """

    def __init__(self, config: Config, *, env: Mapping[str, str] = os.environ) -> None:
        self.config = config
        self._env = environment(env)
        self._checked: set[str] = set()

    def build(self, modality: Modality, spec: ModelSpec, project: Project) -> Any:
        """Make the plugin instance that serves ``spec`` with the keys of ``project``.

        Returns:
            An instance of the plugin's ``STT``, ``LLM`` or ``TTS``.

        Raises:
            UnknownModelError: The provider does not exist, or has no such class.
            ProviderNotInstalledError: The plugin is not installed.
            MissingCredentialsError: Nobody says whose key pays.
            ConfigError: The configuration names options that the plugin does not take.
        """
        construct = self._constructor(modality, spec.route)
        block = option_block(spec.route)
        self._check_options(block, project)
        accepted = parameters(construct)
        arguments = self._configured(modality, block, accepted, spec, project)
        self._apply(arguments, construct, modality, spec)
        self._require_key(arguments, accepted, modality, spec, project)
        note_keys(arguments[name] for name in arguments.keys() & KEY_ARGUMENTS)
        try:
            instance = construct(**arguments)
        except Exception as e:
            conceal(e)
            # the plugin's own frames have the key among their variables
            traceback.clear_frames(e.__traceback__)
            raise
        strip_livekit_headers(instance)
        return instance

    def check(self, modality: Modality, route: Route) -> None:
        """Make sure that a model can be served at all, whoever will pay.

        Raises:
            UnknownModelError: The provider does not exist, or has no such class.
            ProviderNotInstalledError: The plugin is not installed.
        """
        self._constructor(modality, route)

    def language(self, spec: ModelSpec) -> str | None:
        """The language that an STT model is asked to hear, as far as the application said."""
        language = spec.arguments.get("language") or spec.route.suffix
        return str(language) if language else None

    def same_class(self, modality: Modality, route: Route, other: Route) -> bool:
        """Whether one class of one plugin serves both models."""
        return route.provider == other.provider and (
            self._constructor(modality, route) == self._constructor(modality, other)
        )

    def update_arguments(
        self, modality: Modality, spec: ModelSpec, changes: Mapping[str, Any], update: Any
    ) -> dict[str, Any] | None:
        """The arguments of a plugin's ``update_options`` that make it serve ``spec``.

        Args:
            modality: Which class of the plugin it is.
            spec: What is asked for from now on.
            changes: What differs from before, by the names of ``livekit.agents.inference``.
            update: The plugin's bound ``update_options``, or None when it has none.

        Returns:
            None when the plugin cannot take one of the changes.
        """
        if update is None:
            return None
        accepted = parameters(update)
        names = EXTRA_NAMES.get((spec.route.provider, modality), {})
        arguments: dict[str, Any] = {}
        wanted = dict(changes)
        if "model" in wanted:
            wanted["model"] = spec.route.model
            for name in ("language", "voice"):
                if spec.route.suffix is not None and name in spec.arguments:
                    wanted.setdefault(name, spec.arguments[name])
        for name, value in wanted.items():
            target = _argument(spec.route, modality, names.get(name, name), accepted)
            if target is None or (name == "model" and not value):
                return None
            arguments[target] = _spelled(target, value)
        return arguments

    def import_plugins(self) -> None:
        """Import the plugins of all providers in the configuration that are installed.

        The first import of a plugin takes some tenths of a second: better in a worker's
        ``setup_fnc`` than on a call's event loop.
        """
        providers = {*self.config.providers}
        for project in self.config.projects.values():
            providers.update(project.providers)
        for provider in sorted(providers - LOCAL_OPTIONS):
            import_plugin(provider)

    def unknown_options(self, provider: str) -> list[ConfigProblem]:
        """Options in the configuration file that no class of the installed plugin takes.

        An option in a block ``stt``, ``llm`` or ``tts`` is for that class alone.
        """
        return self._unknown_options(provider, self._blocks(provider))

    def unknown_options_of(self, project: Project, provider: str) -> list[ConfigProblem]:
        """The same of a project that was made at run time; none of any other."""
        own = project.providers.get(provider)
        if own is None or project.source != "managed":
            return []
        return self._unknown_options(provider, [own])

    def _unknown_options(
        self, provider: str, blocks: Iterable[ProviderOptions]
    ) -> list[ConfigProblem]:
        of_class = {modality: [*constructors(modality, provider)] for modality in MODALITIES}
        of_any = [construct for classes in of_class.values() for construct in classes]
        if not of_any:
            return []
        problems: list[ConfigProblem] = []
        for options in blocks:
            for option in options.options():
                modality = option.modality
                constructs = of_any if modality is None else of_class[modality]
                if option.name in accepted_by(constructs):
                    continue
                kind = "class" if modality is None else f"{KIND[modality]} class"
                problems.append(
                    ConfigProblem(
                        option.key_path,
                        f"an option that no {kind} of {provider} takes",
                        argument_meant(option.name, constructs)
                        if constructs
                        else f"nothing: {provider} has no {kind}",
                        option.line,
                    )
                )
        return problems

    def _blocks(self, provider: str) -> Iterator[ProviderOptions]:
        for providers in (
            self.config.providers,
            *(p.providers for p in self.config.projects.values() if p.source == "yaml"),
        ):
            if (options := providers.get(provider)) is not None:
                yield options

    def options(
        self, modality: Modality, project: Project, provider: str
    ) -> ProviderOptions | None:
        """What the configuration says of a provider for a project: its own options over the shared.

        Those of a project made at run time stand on their own if they are more than a key: who may
        make one says where they are sent, and nothing of the file's goes there with them.
        """
        own = project.providers.get(provider)
        shared = self.config.providers.get(provider)
        if own is None:
            return shared
        alone = _is_apart(own, modality, project) and own.keys(modality) - KEY_ARGUMENTS
        return own if alone else own.over(shared)

    def _check_options(self, provider: str, project: Project) -> None:
        if provider not in self._checked:
            if problems := self.unknown_options(provider):
                raise ConfigError(str(self.config.path or "the configuration"), problems)
            self._checked.add(provider)
        # no other project is to suffer from what is wrong with one that was made at run time
        if problems := self.unknown_options_of(project, provider):
            raise ConfigError(f"project {project.id!r}, made at run time,", problems)

    def _constructor(self, modality: Modality, route: Route) -> Callable[..., Any]:
        for construct in constructors(modality, route.provider, route.model):
            return construct
        if route.provider in OPENAI_CONSTRUCTORS and modality == "llm":
            raise ProviderNotInstalledError(route.provider, "livekit-plugins-openai")
        if modality in KNOWN_PLUGINS.get(route.provider, ()) and not installed(route.provider):
            raise ProviderNotInstalledError(
                route.provider, f"livekit-plugins-{route.provider.replace('_', '-')}"
            )
        if route.provider == "local":
            raise UnknownModelError(
                f"{route.requested!r}: the local {KIND[modality]} model is {_LOCAL[modality]}"
            )
        known = {*KNOWN_PLUGINS, *OPENAI_CONSTRUCTORS, *installed_plugins()}
        if route.provider in known:
            raise UnknownModelError(
                f"{route.requested!r}: {route.provider!r} has no {KIND[modality]} models. "
                f"{_providers_of(modality)}"
            )
        raise UnknownModelError(
            f"{route.requested!r}: there is no provider {route.provider!r}"
            f"{did_you_mean(route.provider, known)} {_providers_of(modality)}"
        )

    def _configured(
        self,
        modality: Modality,
        block: str,
        accepted: frozenset[str],
        spec: ModelSpec,
        project: Project,
    ) -> Arguments:
        """The options of the configuration that the class takes, the project's over the shared."""
        own = project.providers.get(block)
        if own is not None and own.unusable:
            raise MissingCredentialsError(project.id, block, own.unusable)
        apart = _is_apart(own, modality, project)
        options = self.options(modality, project, block)
        if apart and _given_keys(spec):
            # nor does the application's key go where the project says
            options = self.config.providers.get(block)
        if options is None:
            return Arguments()
        without = options.keys(modality) - accepted
        own_keys = own.keys(modality) & KEY_ARGUMENTS & accepted if own is not None else frozenset()
        if _given_keys(spec):
            without |= KEY_ARGUMENTS
        elif own_keys or apart:
            # a project that names its own key has nothing to do with any key of the top level
            without |= KEY_ARGUMENTS - own_keys
        try:
            arguments = Arguments(options.resolve(modality, self._env, without=without))
        except UnsetVariableError as e:
            if e.key_path.rpartition(".")[2] in KEY_ARGUMENTS:
                raise MissingCredentialsError(
                    project.id, block, f"{e.variable} is not set ({e.source} line {e.line})"
                ) from None
            raise VoiceGatewayError(f"project {project.id!r}, provider {block!r}: {e}") from None
        for name in arguments.keys() & KEY_ARGUMENTS:
            if fault := fault_of_key(name, arguments[name]):
                raise MissingCredentialsError(
                    project.id, block, f"{options.key_path(name)} {fault}"
                )
        if block == "ollama" and isinstance(base_url := arguments.get("base_url"), str):
            arguments["base_url"] = normalise_ollama_url(base_url)
        return arguments

    def _apply(
        self,
        arguments: Arguments,
        construct: Callable[..., Any],
        modality: Modality,
        spec: ModelSpec,
    ) -> None:
        """Put what the application gave over what the configuration says."""
        route, accepted = spec.route, parameters(construct)
        given = Arguments(spec.arguments)
        if route.model:
            given["model"] = route.model
        if route.suffix is not None:
            given.setdefault("language" if modality == "stt" else "voice", route.suffix)
        for name in given:
            target = _argument(route, modality, name, accepted)
            if target is not None:
                arguments[target] = _spelled(target, given[name])
            elif name in ("api_key", "base_url"):
                raise UnknownModelError(
                    f"{route.requested!r}: the plugin {route.provider!r} takes no {name}="
                )
            elif name not in ("model", "http_session", "vad", "encoding"):
                logger.warning(
                    "%s takes no %s; %r has no effect", route.requested, name, given[name]
                )
        names = EXTRA_NAMES.get((route.provider, modality), {})
        for key in spec.extra:
            name = names.get(key, key)
            if name not in accepted:
                raise UnknownModelError(
                    f"{route.requested!r} takes no option {key!r}: it must be "
                    f"{argument_meant(key, [construct])}"
                )
            arguments[name] = spec.extra[key]

    def _require_key(
        self,
        arguments: Mapping[str, Any],
        accepted: frozenset[str],
        modality: Modality,
        spec: ModelSpec,
        project: Project,
    ) -> None:
        provider = spec.route.provider
        given = _given_keys(spec)
        for name in given:
            if fault := fault_of_key(name, given[name]):
                raise MissingCredentialsError(project.id, provider, f"the {name}= argument {fault}")
        variables = KEY_VARIABLES.get(provider, ())
        own = project.providers.get(provider)
        named = own.keys(modality) & KEY_ARGUMENTS if own is not None else frozenset()
        takes = accepted & KEY_ARGUMENTS
        apart = _is_apart(own, modality, project) and not _given_keys(spec)
        # what the environment has for it would be sent along where such a project says
        main = next((name for name in ARGUMENT_NAMES["api_key"] if apart and name in accepted), "")
        if arguments.keys() & ({main} if main else KEY_ARGUMENTS) or not (takes or apart):
            return
        if own is not None and named:
            raise MissingCredentialsError(
                project.id,
                provider,
                f"its {KIND[modality]} models take "
                f"{main or ' or '.join(sorted(takes)) or 'no key'}"
                f" where {own.path} has {' and '.join(sorted(named))}",
            )
        if not variables or not takes:
            return
        for variable in variables:
            if self._env.get(variable):
                if fault := fault_of_key("api_key", self._env[variable]):
                    raise MissingCredentialsError(project.id, provider, f"{variable} {fault}")
                note_keys([self._env[variable]])
                return
        raise MissingCredentialsError(
            project.id,
            provider,
            f"set {' or '.join(variables)}, or put `{provider}: {{api_key: …}}` under "
            f"projects.{project.id}.providers in voicegw.yaml",
        )


def _given_keys(spec: ModelSpec) -> Arguments:
    """The keys that the application itself gave: they go before any of the configuration."""
    return Arguments(
        {
            name: value
            for name, value in (*spec.arguments.items(), *spec.extra.items())
            if name in KEY_ARGUMENTS
        }
    )


def _is_apart(own: ProviderOptions | None, modality: Modality, project: Project) -> bool:
    """Whether a project made at run time has options of its own for these models."""
    return own is not None and project.source == "managed" and bool(own.keys(modality))


def _argument(route: Route, modality: Modality, name: str, accepted: frozenset[str]) -> str | None:
    """The plugin's own name for an argument, or None when it takes no such one."""
    preferred = PREFERRED_ARGUMENTS.get((route.provider, modality, name))
    if name == "language" and "language_hint" in accepted:
        preferred = PREFERRED_ARGUMENTS.get((route.provider, modality, "language:flux"))
    names = (preferred,) if preferred else ARGUMENT_NAMES.get(name, (name,))
    return next((candidate for candidate in names if candidate in accepted), None)


def _spelled(name: str, value: Any) -> Any:
    """``value`` as the plugin's argument wants it: some take several languages."""
    return [value] if name in ("languages", "language_hint") else value


def option_block(route: Route) -> str:
    """The key under ``providers:`` where the options of a model stand."""
    if route.provider == "local":
        return route.model.partition("-")[0]
    return route.provider


def _providers_of(modality: Modality) -> str:
    names = {name for name, kinds in KNOWN_PLUGINS.items() if modality in kinds}
    if modality == "llm":
        names |= OPENAI_CONSTRUCTORS.keys()
    return f"Providers of {KIND[modality]} models: {', '.join(sorted(names))}."
