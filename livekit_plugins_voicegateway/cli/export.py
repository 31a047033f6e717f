"""``voicegw export``: every request, or every day's totals, as a file for other programs."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, get_args

import click

from .asking import ask_ledger
from .options import config_option, period_option, project_option
from .terminal import emit, reader_left

if TYPE_CHECKING:
    from ..config import Config
    from ..exports import Column
    from ..ledger import Ledger
    from .export_files import ExportFormat

__all__ = ["export"]

What = Literal["requests", "costs"]

_STANDARD_OUTPUT: Final = Path("-")

_BY_SUFFIX: Final[dict[str, ExportFormat]] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


@click.command()
@click.option(
    "--what",
    type=click.Choice(get_args(What)),
    default="requests",
    show_default=True,
    help="Single requests, or the totals of each day, project and model.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl", "parquet"]),
    help="Without it: what the name of the --output says, or csv.",
)
@period_option
@project_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    default=_STANDARD_OUTPUT,
    metavar="FILE",
    help="Where to write; - or nothing for standard output.",
)
@click.option("--force", is_flag=True, help="Replace the --output if it exists.")
@config_option
def export(
    what: What,
    form: ExportFormat | None,
    period: str,
    project: str | None,
    output: Path,
    force: bool,
    config: Path | None,
) -> None:
    """Write requests or totals to a file, for other programs.

    Oldest first, with exact amounts. A file is there when it is complete, or not at all.
    """
    chosen = form or _BY_SUFFIX.get(output.suffix.lower(), "csv")
    if output == _STANDARD_OUTPUT:
        if chosen == "parquet" and sys.stdout.isatty():
            raise click.UsageError("Parquet is not for a terminal: name a file with --output.")
        with suppress(_ReaderLeftError):
            _export(config, what, chosen, period, project, _Standard())
        return
    with _file(output, replace=force) as file:
        rows = _export(config, what, chosen, period, project, file)

    from .formats import plural

    emit(f"{plural(rows, 'request' if what == 'requests' else 'total')} in {output}\n")


def _export(
    config: Path | None,
    what: What,
    form: ExportFormat,
    period: str,
    project: str | None,
    sink: BinaryIO | _Standard,
) -> int:
    """Write everything, and return how many rows it was."""
    from ..exports import COSTS, REQUESTS, Exports
    from .export_files import make_writer

    async def pass_on(loaded: Config, ledger: Ledger) -> int:
        exports = Exports(loaded, ledger)
        columns: Sequence[Column] = REQUESTS if what == "requests" else COSTS
        ask_for = exports.requests if what == "requests" else exports.costs
        pages = ask_for(period, project)
        # the first page before anything is written: what is wrong in the question comes up with it
        page = await anext(pages, None)
        writer = make_writer(form, columns, sink)
        rows = 0
        while page is not None:
            writer.write(page)
            rows += len(page)
            page = await anext(pages, None)
        writer.close()
        return rows

    return ask_ledger(config, pass_on)[1]


class _ReaderLeftError(Exception):
    """Whoever read standard output has all that they wanted."""


class _Standard:
    """Standard output, for bytes."""

    def write(self, data: bytes) -> None:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            reader_left(sys.stdout)
            raise _ReaderLeftError from None


@contextmanager
def _file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Open a file that takes its name when all is written; nothing is left of one that failed.

    Only its owner may read it, as with the ledger.
    """
    path = path.resolve()
    with suppress(FileNotFoundError):
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise click.UsageError(f"{path} is a directory: name a file in it.")
        if not stat.S_ISREG(kind):
            # a device or a named pipe: there is nothing in it to replace
            with path.open("wb") as file:
                yield file
            return
        if not replace:
            raise _exists(path)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(name, path)
            return
        try:
            # a link, unlike a new name, fails where somebody else has made the file meanwhile
            os.link(name, path)
        except FileExistsError:
            raise _exists(path) from None
        except OSError:
            os.rename(name, path)  # on a file system without links
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _exists(path: Path) -> click.ClickException:
    return click.ClickException(f"{path} exists, and was left as it is; --force replaces it.")
