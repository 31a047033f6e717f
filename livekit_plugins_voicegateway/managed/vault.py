"""Seals the provider options of projects made at run time, with ``VOICEGW_SECRET_KEY``.

The variable holds Fernet keys, separated by commas. The first seals; any of them opens, so that a
new key can be put in front of the old one while everything is sealed anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..concealing import environment
from ..errors import SecretKeyError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

__all__ = ["VARIABLE", "Vault"]

VARIABLE: Final = "VOICEGW_SECRET_KEY"

Options = dict[str, dict[str, object]]
"""Provider options as they were given, by provider."""


class Vault:
    """Seals and opens; reads the variable each time, and keeps no key.

    Args:
        env: Environment variables.
    """

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = environment(env)

    def seal(self, project_id: str, providers: Options) -> str:
        """Return the options as a text that only holders of the key can read.

        Args:
            project_id: Whose options they are; opened as another project's they are refused.
            providers: The options.

        Raises:
            SecretKeyError: The variable is not set, or wrong.
        """
        content = json.dumps({"project": project_id, "providers": providers})
        return self._keys()[0].encrypt(content.encode()).decode()

    def open(self, project_id: str, sealed: str) -> Options:
        """Return what was sealed.

        Args:
            project_id: Whose options they are.
            sealed: What `seal` returned.

        Raises:
            SecretKeyError: The variable is not set, or wrong, or it was another key that sealed.
        """
        content = _opened(self._keys(), sealed)
        if content is None:
            raise SecretKeyError(
                f"{VARIABLE} does not open the provider keys of project {project_id!r}",
                "set it to the key that they were sealed with (behind the new one and a comma, if "
                "there is a new one), or give the provider keys again",
            )
        found = json.loads(content)
        if found["project"] != project_id:
            raise SecretKeyError(
                f"what is kept as the provider keys of project {project_id!r} was sealed for "
                f"project {found['project']!r}",
                "give the provider keys again",
            )
        providers: Options = found["providers"]
        return providers

    def is_current(self, sealed: str) -> bool:
        """Return whether the first key has sealed it.

        Raises:
            SecretKeyError: The variable is not set, or wrong.
        """
        return _opened(self._keys()[:1], sealed) is not None

    def check(self) -> None:
        """Make sure that there is a key to seal with.

        Raises:
            SecretKeyError: The variable is not set, or wrong.
        """
        self._keys()

    def _keys(self) -> list[Fernet]:
        given = self._env.get(VARIABLE, "")
        texts = [text.strip() for text in given.split(",") if text.strip()]
        if not texts:
            raise SecretKeyError(
                f"provider keys of projects made at run time are kept sealed, and "
                f"{VARIABLE} is not set"
            )
        try:
            # 35 ms, and only for projects that have keys of their own
            from cryptography.fernet import Fernet
        except ImportError:
            raise SecretKeyError(
                "provider keys of projects made at run time are kept sealed, and the library that "
                "does it is not installed",
                "run `pip install 'livekit-plugins-voicegateway[server]'`",
            ) from None
        keys = []
        for position, text in enumerate(texts, start=1):
            try:
                keys.append(Fernet(text))
            except ValueError:
                which = f"the key number {position} in " if len(texts) > 1 else ""
                fault = f"{which}{VARIABLE} is no Fernet key (32 bytes in base64)"
                # outside of the handler: the exception may quote what it could not decode
                break
        else:
            return keys
        raise SecretKeyError(fault)


def _opened(keys: list[Fernet], sealed: str) -> bytes | None:
    from cryptography.fernet import InvalidToken

    for key in keys:
        try:
            return key.decrypt(sealed.encode())
        except InvalidToken:
            continue
    return None
