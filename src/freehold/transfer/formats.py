"""What a file of records looks like: its format, its encoding, and how it writes what is not there."""

import codecs
import re
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal, cast
from zoneinfo import ZoneInfo

from freehold.errors import ValidationError

__all__ = ["Format", "FormatName", "format_of", "guarded", "unguarded"]

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
        guard: whether a text in CSV that a spreadsheet would run as a formula is written with an apostrophe before it, and read without:
            see `guarded`.
        dates: how dates are written in what is read, as `strptime` has it: `%d/%m/%Y`. Without it, as ISO 8601 has them.

    Raises:
        ValidationError: an option has a value that makes no sense.
    """

    name: FormatName = "csv"
    encoding: str = "utf-8"
    delimiter: str = ","
    null: str | None = None
    timezone: str | None = None
    compressed: bool = False
    # Not in the repr, which is a part of an import's identity: one that the release before began goes on.
    guard: bool = field(default=True, repr=False)
    dates: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.name not in ("csv", "jsonl"):
            raise _refused("format", f"must be 'csv' or 'jsonl', not {self.name!r}")
        if not isinstance(self.delimiter, str) or len(self.delimiter) != 1 or self.delimiter in '"\r\n\0':
            raise _refused("delimiter", "must be one character, and no quote or line break")
        try:
            b"".decode(self.encoding)
            ",".encode(self.encoding)
            if codecs.lookup(self.encoding).name.replace("-", "_") in _NO_FILES:
                raise LookupError
        except (LookupError, TypeError, ValueError):
            raise _refused("encoding", f"{self.encoding!r:.60} is no encoding of text that Python knows") from None
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (OSError, ValueError, TypeError):  # ZoneInfoNotFoundError is a KeyError, below
                raise _refused("timezone", f"{self.timezone!r:.60} is no time zone such as Europe/London") from None
            except KeyError:
                raise _refused("timezone", f"{self.timezone!r:.60} is no time zone such as Europe/London") from None

        if self.dates is not None and not _is_date_format(self.dates):
            raise _refused(
                "dates",
                f"{self.dates!r:.60} is no format of dates such as %d/%m/%Y: a day, a month and a year, each once",
            )

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
    guard: bool = True,
    dates: str | None = None,
) -> Format:
    """The format of a file, from its name where it is not given: `.csv`, `.tsv`, `.jsonl`, `.ndjson`, each also with `.gz`.

    Args:
        name: of the file; `-` for standard input or output.
        format, encoding, delimiter, null, timezone, guard, dates: see `Format`.

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
    return Format(cast("FormatName", told), encoding, separator, null, timezone, compressed, guard, dates)


_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""What a spreadsheet takes for the beginning of a formula, in the full width of East Asian texts too; also after apostrophes."""
_PLAIN = re.compile("[+-][0-9]{1,400}([.,][0-9]{1,400})?")


def guarded(text: str) -> str:
    """A text as a cell that no spreadsheet runs: an apostrophe before what it would take for a formula. Plain numbers stay.

    Where apostrophes stand before such a beginning already, one more comes before them, so that `unguarded` gives back every text.
    """
    return f"'{text}" if _FORMULA.match(text) and not _PLAIN.fullmatch(text) else text


def unguarded(cell: str) -> str:
    """The text of a cell that `guarded` has made."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


_NO_FILES = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf_7"})
"""Encodings of Python that are for other things than files, and slow or ambiguous."""
_DATE_PARTS = re.compile("%(.?)")


def _is_date_format(text: object) -> bool:
    if not isinstance(text, str) or len(text) > 40 or "\0" in text:
        return False
    parts = [part for part in _DATE_PARTS.findall(text) if part != "%"]
    kinds = sorted(
        {"d": "day", "m": "month", "b": "month", "B": "month", "y": "year", "Y": "year"}.get(p, p) for p in parts
    )
    return kinds == ["day", "month", "year"]


def _refused(option: str, message: str) -> ValidationError:
    return ValidationError.single((option,), message, option, subject="file")
