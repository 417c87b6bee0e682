"""What a file of records looks like: its format, its encoding, and how it writes what is not there."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, cast
from zoneinfo import ZoneInfo

from freehold.errors import ValidationError

__all__ = ["Format", "FormatName", "format_of"]

FormatName = Literal["csv", "jsonl"]

_SUFFIXES: dict[str, FormatName] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@dataclass(frozen=True, slots=True)
class Format:
    """How a file is read or written.

    Args:
        name: `csv` (RFC 4180, with a header) or `jsonl` (JSON Lines).
        encoding: of the text, as Python names it.
        delimiter: between the cells of CSV, one character.
        null: the cell that stands for null in CSV. Without one, an empty cell does.
        timezone: of moments that are written without one; without it they are refused.
        compressed: whether what is written is compressed by gzip. What is read tells it by itself.

    Raises:
        ValidationError: an option has a value that makes no sense.
    """

    name: FormatName = "csv"
    encoding: str = "utf-8"
    delimiter: str = ","
    null: str | None = None
    timezone: str | None = None
    compressed: bool = False

    def __post_init__(self) -> None:
        if self.name not in ("csv", "jsonl"):
            raise _refused("format", f"must be 'csv' or 'jsonl', not {self.name!r}")
        if not isinstance(self.delimiter, str) or len(self.delimiter) != 1 or self.delimiter in '"\r\n\0':
            raise _refused("delimiter", "must be one character, and no quote or line break")
        try:
            b"".decode(self.encoding)
            ",".encode(self.encoding)
        except (LookupError, TypeError, ValueError):
            raise _refused("encoding", f"{self.encoding!r:.60} is no encoding of text that Python knows") from None
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (OSError, ValueError, TypeError):  # ZoneInfoNotFoundError is a KeyError, below
                raise _refused("timezone", f"{self.timezone!r:.60} is no time zone such as Europe/London") from None
            except KeyError:
                raise _refused("timezone", f"{self.timezone!r:.60} is no time zone such as Europe/London") from None

    @property
    def line_wise(self) -> bool:
        """Whether the encoding's line breaks are those of ASCII, so that each line can be decoded for itself."""
        return '\n,"'.encode(self.encoding) == b'\n,"'


def format_of(
    name: str,
    *,
    format: str | None = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    null: str | None = None,
    timezone: str | None = None,
) -> Format:
    """The format of a file, from its name where it is not given: `.csv`, `.tsv`, `.jsonl`, `.ndjson`, each also with `.gz`.

    Args:
        name: of the file; `-` for standard input or output.
        format, encoding, delimiter, null, timezone: see `Format`.

    Raises:
        ValidationError: the name does not tell the format, or an option makes no sense.
    """
    path = PurePath(name)
    compressed = path.suffix == ".gz"
    suffix = (PurePath(path.stem) if compressed else path).suffix.lower()
    told = format if format is not None else _SUFFIXES.get(suffix)
    if told is None:
        named = "" if name == "-" else "end its name in .csv or .jsonl, or "
        raise _refused("format", f"{path.name!r:.80} does not tell the format; {named}give csv or jsonl")
    separator = delimiter if delimiter is not None else "\t" if suffix == ".tsv" else ","
    return Format(cast("FormatName", told), encoding, separator, null, timezone, compressed)


def _refused(option: str, message: str) -> ValidationError:
    return ValidationError.single((option,), message, option, subject="file")
