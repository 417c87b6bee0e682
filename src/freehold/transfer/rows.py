"""Rows of a file, read one at a time.

A row that cannot be read is a row with a problem: it is refused with its line, and the next one is read. Only what makes
the rest of the file meaningless is an error: compressed data that ends too early, a quote that never closes.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from freehold.errors import FileError, Issue
from freehold.transfer.formats import Format
from freehold.transfer.source import MAXIMUM_LINE, Line, Source

__all__ = ["MAXIMUM_COLUMNS", "CsvRows", "JsonRows", "Row", "Rows", "rows_of"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Args:
        line: where it begins, from 1 on.
        values: by column: text in CSV, JSON values in JSON Lines.
        problem: why it could not be read; `values` then holds the line as it is, under the empty name.
    """

    line: int
    values: Mapping[str, Any]  # Any: JSON values
    problem: Issue | None = None


class CsvRows:
    """The rows of CSV (RFC 4180) with a header. Blank lines are passed over, and so are columns without a name.

    Args:
        source: the file.
        form: its delimiter.

    Raises:
        FileError: there is no header, or it cannot be read.
    """

    def __init__(self, source: Source, form: Format) -> None:
        # The module's own bound is 131,072 characters, for the whole process; a field may be longer, and a line is bounded.
        csv.field_size_limit(max(csv.field_size_limit(), MAXIMUM_LINE))
        self._source = source
        self._lines = _Lines(source)
        self._reader = csv.reader(self._lines, delimiter=form.delimiter, strict=True)
        self.columns: tuple[str, ...] | None = tuple(self._header())

    def __iter__(self) -> Iterator[Row]:
        columns, width, lines = self.columns or (), len(self.columns or ()), self._lines
        named = [(place, name) for place, name in enumerate(columns) if name]
        plain = len(named) == width
        while True:
            lines.begin()
            try:
                cells = next(self._reader, None)
            except csv.Error as error:
                yield self._broken(_csv_problem(str(error)))
                continue
            if cells is None:
                return
            if lines.problem is not None:
                yield self._broken(lines.problem)
            elif len(cells) == width:
                # strict=False: the lengths were just compared
                values = dict(zip(columns, cells, strict=False)) if plain else {n: cells[p] for p, n in named}
                yield Row(lines.first, values)
            elif cells:
                yield self._broken((self._ragged(len(cells)), "ragged"))

    def _header(self) -> list[str]:
        try:
            cells = next(self._reader, None)
            while cells == [] and self._lines.problem is None:
                cells = next(self._reader, None)
        except csv.Error as error:
            raise FileError(self._source.name, f"the header {_csv_problem(str(error))[0]}", line=1) from None
        if self._lines.problem is not None:
            raise FileError(self._source.name, f"the header {self._lines.problem[0]}", line=self._lines.first)
        if cells is None:
            raise FileError(self._source.name, "is empty; its first line must name the columns")
        names = [cell.strip() for cell in cells]
        if len(names) > MAXIMUM_COLUMNS:
            told = f"the header has {len(names):,} columns, and may have {MAXIMUM_COLUMNS:,}"
            raise FileError(
                self._source.name, told, line=1, hint="is the delimiter right, and is the first line the header?"
            )
        repeated = next((name for name, count in Counter(names).items() if name and count > 1), None)
        if repeated is not None:
            raise FileError(self._source.name, f"the header names the column {repeated!r:.80} twice", line=1)
        return names

    def _ragged(self, width: int) -> str:
        cut = "" if self._lines.last.endswith(("\n", "\r")) else "; the file ends here and may have been cut off"
        return f"has {width} cells where the header has {len(self.columns or ())}{cut}"

    def _broken(self, problem: tuple[str, str]) -> Row:
        return _broken(self._lines.first, self._lines.text, problem)


class JsonRows:
    """The rows of JSON Lines: an object on each line. Blank lines are passed over.

    Args:
        source: the file.
    """

    columns: tuple[str, ...] | None = None
    """Each row names its own."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __iter__(self) -> Iterator[Row]:
        first = True
        while (line := self._source.next_line()) is not None:
            text = line.text.strip()
            if not text and line.problem is None:
                continue
            if first and text.startswith("["):
                hint = "write one object on each line: jq -c '.[]'"
                raise FileError(self._source.name, "is a JSON array and not JSON Lines", line=line.number, hint=hint)
            first = False
            yield _json_row(line, text)


Rows = CsvRows | JsonRows


def rows_of(source: Source, form: Format) -> Rows:
    """The rows of a file in its format."""
    return CsvRows(source, form) if form.name == "csv" else JsonRows(source)


class _Lines:
    """The lines as the csv module takes them, with what it took for the row under way."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.begin()

    def begin(self) -> None:
        """A new row begins with the next line that is not blank."""
        self.first = 0
        self.text = self.last = ""
        self.problem: tuple[str, str] | None = None
        self._size = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._source.next_line()
        if line is None:
            raise StopIteration
        self.first = self.first or line.number
        self.problem = self.problem or line.problem
        self.last = line.text
        self._size += len(line.text)
        if self._size > MAXIMUM_LINE:
            raise FileError(
                self._source.name,
                f"the row is longer than {MAXIMUM_LINE:,} characters; a quote that opens in it is probably never closed",
                line=self.first,
            )
        if len(self.text) < MAXIMUM_SHOWN:
            self.text += line.text
        return line.text


MAXIMUM_COLUMNS = 1_000
"""Columns of a file: of the header of CSV, and different ones in JSON Lines."""
MAXIMUM_SHOWN = 10_000
"""Characters that are told of a row that cannot be read."""


def _broken(line: int, text: str, problem: tuple[str, str]) -> Row:
    return Row(line, {"": text[:MAXIMUM_SHOWN].rstrip("\r\n")}, Issue((), *problem))


def _csv_problem(message: str) -> tuple[str, str]:
    """What the csv module found, in this program's words."""
    if "unexpected end of data" in message:
        return "opens a quote that is never closed; the file may have been cut off", "quote_not_closed"
    if "expected after" in message:
        return "has text after a closing quote; a quote inside of a quoted cell is written twice", "quote_misplaced"
    if "new-line character" in message:
        return "has a carriage return outside of quotes; lines end with a line feed", "carriage_return"
    return f"is no CSV: {message}", "csv_invalid"


def _json_row(line: Line, text: str) -> Row:
    if line.problem is not None:
        return _broken(line.number, line.text, line.problem)
    try:
        value = json.loads(text, parse_float=_number, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        return _broken(
            line.number, text, (f"is no JSON: {error.msg.lower()} at character {error.colno}", "json_invalid")
        )
    except (ValueError, RecursionError) as error:
        reason = "is nested too deep" if isinstance(error, RecursionError) else f"is no JSON: {error}"
        return _broken(line.number, text, (reason, "json_invalid"))
    if not isinstance(value, dict):
        return _broken(line.number, text, (f"is a {type(value).__name__} and no object", "json_type"))
    return Row(line.number, value)


def _number(text: str) -> Decimal | float:
    """As exact as it is written; a float where the exponent is beyond one, since such a Decimal may be endless to work with."""
    number = Decimal(text)
    return number if abs(number.adjusted()) < 400 else float(text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
