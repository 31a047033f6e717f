"""From a command to an answer: configuration, ledger and reports, opened to read and closed again.

What is read is never made: a ledger that does not exist yet is an empty one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from ..config import Config
    from ..ledger import Ledger
    from ..reports import Reports

__all__ = ["ask", "ask_ledger", "ask_prices", "nothing_recorded", "quiet", "with_managed"]

Answer = TypeVar("Answer")

_SQLITE: Final = "sqlite:///"


def ask(
    path: Path | None, question: Callable[[Reports], Awaitable[Answer]]
) -> tuple[Config, Answer]:
    """Ask one question of the reports.

    Args:
        path: The configuration that was named on the command line, or None.
        question: What to ask.

    Returns:
        The configuration, and the answer.

    Raises:
        VoiceGatewayError: The configuration is wrong, the ledger cannot be read, or the question
            cannot be answered.
    """
    from ..reports import Reports

    return ask_ledger(path, lambda config, ledger: question(Reports(config, ledger)))


def ask_ledger(
    path: Path | None, question: Callable[[Config, Ledger], Awaitable[Answer]]
) -> tuple[Config, Answer]:
    """Ask something of the ledger that is no report; arguments, answer and errors as `ask`."""
    import asyncio

    from ..config import load_config
    from ..ledger import make_ledger

    config = load_config(path)

    async def answer() -> tuple[Config, Answer]:
        async with make_ledger(config.database_url, read_only=True) as ledger:
            all_projects = await with_managed(config, ledger)
            return all_projects, await question(all_projects, ledger)

    return asyncio.run(answer())


async def with_managed(config: Config, ledger: Ledger) -> Config:
    """Return a configuration with the projects that were made at run time in it.

    Args:
        config: As the file has it.
        ledger: Where they are kept; open.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    if not (await ledger.managed_projects()).rows:
        return config  # most have none, and need not wait until what reads them is imported
    from ..managed import ProjectCatalogue

    quiet()
    catalogue = ProjectCatalogue(config, ledger, env=config.env)
    await catalogue.refresh()
    return catalogue.config


def quiet() -> None:
    """Keep what workers and servers log from standard error: a shell need not have their keys."""
    import logging

    from ..log import logger

    logger.addHandler(logging.NullHandler())


def ask_prices(
    path: Path | None, question: Callable[[Reports], Coroutine[Any, Any, Answer]]
) -> Answer:
    """Ask a question about prices, which needs no ledger; one that is broken is no hindrance.

    Args:
        path: The configuration that was named on the command line, or None.
        question: What to ask.
    """
    import asyncio

    from ..config import load_config
    from ..errors import LedgerError
    from ..ledger import make_ledger
    from ..reports import Reports

    config = load_config(path)

    async def answer() -> Answer:
        ledger = make_ledger(config.database_url, read_only=True)
        try:
            async with ledger:
                all_projects = await with_managed(config, ledger)
        except LedgerError:
            all_projects = config
        return await question(Reports(all_projects, ledger))

    return asyncio.run(answer())


def nothing_recorded(config: Config, what: str) -> str:
    """Explain an empty answer.

    Args:
        config: Says where the ledger is.
        what: What was looked for, ``no request``, and where it stands.
    """
    url = config.database_url
    path = Path(url.removeprefix(_SQLITE))
    if url.startswith(_SQLITE) and not path.exists():
        return (
            f"Nothing recorded yet: there is no ledger at {path}.\n"
            "The first call through the gateway makes it. `voicegw demo` holds one, with its own "
            "ledger."
        )
    return f"Nothing recorded: {what}."
