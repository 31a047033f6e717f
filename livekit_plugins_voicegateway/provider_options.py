"""What voicegw.yaml says of one provider: keys, addresses and options of its plugin.

The router asks for these options when it builds a plugin instance. Strings with variables are
filled then, from the environment of that moment, and not kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .concealing import HoldsKeys, environment
from .config_file.variables import Template

if TYPE_CHECKING:
    from .metering.usage import Modality

__all__ = ["MODALITIES", "Option", "ProviderOptions", "fault_of_key", "normalise_ollama_url"]

MODALITIES: Final[tuple[Modality, ...]] = ("stt", "llm", "tts")


@dataclass(frozen=True, slots=True)
class Option(HoldsKeys):
    """One option, as it is written.

    Attributes:
        name: The argument of the plugin's constructor.
        value: Plain data; a `Template` wherever a string has variables.
        key_path: As a user would say it, ``providers.deepgram.stt.base_url``.
        line: Line in the file, from 1.
        modality: The block it stands in; None when it is for all classes that take it.
    """

    name: str
    value: object = field(repr=False)
    key_path: str
    line: int
    modality: Modality | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ProviderOptions(HoldsKeys):
    """The options of one provider, for a project or for all. Shows names, never values.

    Attributes:
        path: The key of the whole, ``projects.prod.providers.openai``.
        general: Options for each of the plugin's classes that takes them, by name.
        blocks: Options for one class only: those in the blocks ``stt``, ``llm`` and ``tts``.
        line: Line of the provider's key, from 1; 0 when it stands in no file.
        unusable: Why the options cannot be used, although their names are known: they are sealed,
            and this process does not have the key. Empty when they can.
    """

    path: str
    general: Mapping[str, Option] = field(default_factory=dict)
    blocks: Mapping[Modality, Mapping[str, Option]] = field(default_factory=dict)
    line: int = 0
    unusable: str = ""

    def keys(self, modality: Modality) -> frozenset[str]:
        """Return the names of the options that stand for ``modality``."""
        return frozenset((*self.general, *self.blocks.get(modality, ())))

    def options(self) -> Iterator[Option]:
        """Give each option as it is written, the general ones first."""
        yield from self.general.values()
        for block in self.blocks.values():
            yield from block.values()

    @property
    def lines(self) -> Mapping[str, int]:
        """The line of each option by name; of the first, where a name stands more than once."""
        lines: dict[str, int] = {}
        for option in self.options():
            lines.setdefault(option.name, option.line)
        return lines

    def key_path(self, name: str) -> str:
        """Return the key path of an option, as `lines` has its line.

        Args:
            name: Any name; for one that is not written, the path is where it would stand.
        """
        written = (option.key_path for option in self.options() if option.name == name)
        return next(written, f"{self.path}.{name}")

    def resolve(
        self, modality: Modality, env: Mapping[str, str], *, without: Collection[str] = ()
    ) -> dict[str, object]:
        """Return the options for ``modality``, a block's over the general ones, variables filled.

        What a variable contributes is text, whatever it looks like.

        Args:
            modality: Which class of the plugin they are for.
            env: Environment variables.
            without: Names that are not wanted; their variables need not be set.

        Raises:
            UnsetVariableError: An option needs an environment variable that is not set.
        """
        env = environment(env)
        merged = {**self.general, **self.blocks.get(modality, {})}
        return {
            name: _filled(option.value, env)
            for name, option in merged.items()
            if name not in without
        }

    def over(self, base: ProviderOptions | None) -> ProviderOptions:
        """Return these options, with those of ``base`` wherever these say nothing.

        A general option of these goes before an option of a block of ``base``: the project knows
        better than the top level.
        """
        if base is None:
            return self
        blocks = {
            modality: {
                **{
                    name: option
                    for name, option in base.blocks.get(modality, {}).items()
                    if name not in self.general
                },
                **self.blocks.get(modality, {}),
            }
            for modality in MODALITIES
        }
        general = {**base.general, **self.general}
        return ProviderOptions(self.path, general, blocks, self.line, self.unusable)

    def __repr__(self) -> str:
        names = (option.key_path.removeprefix(f"{self.path}.") for option in self.options())
        return f"<ProviderOptions {self.path}: {', '.join(names) or 'none'}>"


def normalise_ollama_url(url: str) -> str:
    """Return the address of Ollama's OpenAI-compatible API, whose path is ``/v1``.

    Args:
        url: With or without ``/v1`` and with or without ``http://``, as ``OLLAMA_HOST`` has it.
    """
    url = url.strip().rstrip("/")
    if "://" not in url:
        url = f"http://{url}"
    return url if url.endswith("/v1") else f"{url}/v1"


def fault_of_key(name: str, value: object) -> str | None:
    """Return what is wrong with a key; None when it may be one. Shows nothing of it.

    A key with a line break at its end, as files and secret stores like to give them, would be
    quoted in full by the HTTP library that refuses to send it.

    Args:
        name: The argument that it is given as.
        value: The key.
    """
    if not isinstance(value, str) or name.startswith("credentials"):
        return None
    if not value.strip():
        return "is empty"
    if not value.isascii() or not value.isprintable() or " " in value:
        return "holds a blank, a line break or another character that no key has"
    return None


def _filled(value: object, env: Mapping[str, str]) -> object:
    if isinstance(value, Template):
        return value.fill(env)
    if isinstance(value, list):
        return [_filled(item, env) for item in value]
    if isinstance(value, dict):
        return {name: _filled(item, env) for name, item in value.items()}
    return value
