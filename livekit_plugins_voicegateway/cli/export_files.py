"""The files that ``voicegw export`` writes: CSV, lines of JSON, and Parquet.

Money is exact in all of them: the ledger's nano-dollars as a decimal number of dollars, never by
way of a float. Times are ISO 8601 in UTC; what nobody knows is empty or null, and never 0.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from ..errors import VoiceGatewayError
from ..metering.usage import NANOS_PER_DOLLAR
from ..times import to_iso

if TYPE_CHECKING:
    from ..exports import Column, Kind, Value

__all__ = ["EXPORT_FORMATS", "ExportFormat", "Sink", "Writer", "make_writer"]

ExportFormat = Literal["csv", "jsonl", "parquet"]

Page = Sequence[Sequence["Value"]]

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""How a text begins that spreadsheets take for a formula; the wide ones where they are typed so."""

_SPECIAL: Final = re.compile('[",\r\n]')
"""What makes quotation marks necessary in CSV."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Sink(Protocol):
    """Where the bytes of an export go."""

    def write(self, data: bytes, /) -> object:
        """Take some bytes."""


class Writer(ABC):
    """Writes the rows of an export to a sink."""

    @abstractmethod
    def write(self, page: Page) -> None:
        """Write some rows, each in the order of the columns."""

    @abstractmethod
    def close(self) -> None:
        """Write what comes after the last row. Leaves the sink open."""


class CsvWriter(Writer):
    """CSV in UTF-8 with a line of names, lines ending with a newline, what is unknown empty.

    A text that is empty, and not unknown, is ``""``.

    A text that a spreadsheet would take for a formula begins with an apostrophe: names of rooms and
    texts of errors come from outside, and must not run on the desk of whoever opens the file.
    """

    def __init__(self, columns: Sequence[Column], sink: Sink) -> None:
        self._shown = [_CSV.get(column.kind, repr) for column in columns]
        self._sink = sink
        self._write([",".join(column.name for column in columns)])

    def write(self, page: Page) -> None:
        self._write(map(self._line, page))

    def close(self) -> None:
        pass

    def _line(self, row: Sequence[Value]) -> str:
        return ",".join(
            "" if value is None else show(value)
            for show, value in zip(self._shown, row, strict=True)
        )

    def _write(self, lines: Iterable[str]) -> None:
        self._sink.write("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))


class JsonlWriter(Writer):
    """One JSON object in a line, as the HTTP API has it, its money with all nine decimals."""

    def __init__(self, columns: Sequence[Column], sink: Sink) -> None:
        self._columns = columns
        self._sink = sink
        self._encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

    def write(self, page: Page) -> None:
        self._sink.write("".join(map(self._line, page)).encode("utf-8", "replace"))

    def close(self) -> None:
        pass

    def _line(self, row: Sequence[Value]) -> str:
        entry: dict[str, Value] = {}
        money = []
        for column, value in zip(self._columns, row, strict=True):
            if value is not None and column.kind == "money":
                # not by way of the encoder, which knows no exact numbers
                money.append(f', "{column.name}": {_dollars(value)}')
            elif value is not None and column.kind == "time":
                entry[column.name] = to_iso(float(value))
            else:
                entry[column.name] = value
        return f"{self._encode(entry)[:-1]}{''.join(money)}}}\n"


class ParquetWriter(Writer):
    """Parquet: money as decimal128(38, 9), times as timestamps in UTC, days as dates.

    Args:
        columns: What is written.
        sink: Where to.

    Raises:
        VoiceGatewayError: pyarrow is not installed.
    """

    def __init__(self, columns: Sequence[Column], sink: Sink) -> None:
        try:
            import pyarrow  # type: ignore[import-untyped]
            import pyarrow.parquet  # type: ignore[import-untyped]
        except ImportError:
            raise VoiceGatewayError(
                "Parquet needs pyarrow: run `pip install 'livekit-plugins-voicegateway[parquet]'`, "
                "or export with --format csv or jsonl"
            ) from None
        types: Mapping[Kind, Any] = {
            "text": pyarrow.string(),
            "day": pyarrow.date32(),
            "time": pyarrow.timestamp("ms", tz="UTC"),
            "money": pyarrow.decimal128(38, 9),
            "count": pyarrow.int64(),
            "number": pyarrow.float64(),
            "flag": pyarrow.bool_(),
        }
        self._arrow = pyarrow
        self._columns = columns
        self._schema = pyarrow.schema([(column.name, types[column.kind]) for column in columns])
        self._file = pyarrow.parquet.ParquetWriter(
            pyarrow.PythonFile(_Counted(sink), mode="w"), self._schema, compression="zstd"
        )

    def write(self, page: Page) -> None:
        arrays = []
        for column, field, values in zip(
            self._columns, self._schema, zip(*page, strict=True), strict=True
        ):
            convert = _ARROW.get(column.kind, _plain)
            converted = [None if value is None else convert(value) for value in values]
            arrays.append(self._arrow.array(converted, type=field.type))
        self._file.write_batch(self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        self._file.close()


EXPORT_FORMATS: Final[Mapping[ExportFormat, type[CsvWriter | JsonlWriter | ParquetWriter]]] = {
    "csv": CsvWriter,
    "jsonl": JsonlWriter,
    "parquet": ParquetWriter,
}


def make_writer(form: ExportFormat, columns: Sequence[Column], sink: Sink) -> Writer:
    """Begin a file.

    Args:
        form: Its format.
        columns: What is written.
        sink: Where to.

    Raises:
        VoiceGatewayError: The format needs something that is not installed.
    """
    return EXPORT_FORMATS[form](columns, sink)


class _Counted:
    """A sink that knows how many bytes it took: Parquet says where its parts are, a pipe cannot."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._bytes = 0

    def write(self, data: bytes) -> int:
        self._sink.write(bytes(data))
        self._bytes += len(data)
        return len(data)

    def tell(self) -> int:
        return self._bytes

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def _dollars(nanos: Value) -> str:
    whole, rest = divmod(abs(int(nanos or 0)), NANOS_PER_DOLLAR)
    return f"{'-' if int(nanos or 0) < 0 else ''}{whole}.{rest:09d}"


def _plain(value: Any) -> Any:
    return value


def _csv_text(text: str) -> str:
    # not with the csv module: it leaves a lone carriage return unquoted, which readers take for
    # the end of a line, and does not tell an empty text from none
    inert = f"'{text}" if text.startswith(_FORMULA) else text
    if inert and not _SPECIAL.search(inert):
        return inert
    return '"' + inert.replace('"', '""') + '"'


_CSV: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    "text": _csv_text,
    "day": str,
    "time": to_iso,
    "money": _dollars,
    "flag": lambda yes: "true" if yes else "false",
}

_ARROW: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    "text": lambda text: text.encode("utf-8", "replace").decode(),
    "day": date.fromisoformat,
    "time": lambda moment: _EPOCH + timedelta(milliseconds=round(moment * 1000)),
    "money": lambda nanos: Decimal(nanos).scaleb(-9),
}
