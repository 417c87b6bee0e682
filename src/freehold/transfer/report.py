"""The report of the rows that were refused: one entry for each thing that is wrong with a row."""

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, Protocol

from freehold.errors import FileError, Issue
from freehold.model.numbers import written as numbers
from freehold.transfer.formats import format_of, guarded

__all__ = ["Refused", "Report", "report_to"]

COLUMNS = ("line", "field", "code", "reason", "row")


class Refused:
    """A row that was not imported.

    Args:
        line: where it begins in the file.
        issues: what is wrong with it.
        values: the row as it was read, by column.
    """

    __slots__ = ("issues", "line", "values")

    def __init__(self, line: int, issues: Sequence[Issue], values: Mapping[str, Any]) -> None:
        self.line = line
        self.issues = tuple(issues)
        self.values = values

    def __repr__(self) -> str:
        return f"Refused(line {self.line}: {'; '.join(f'{issue.field}: {issue.message}' for issue in self.issues)})"


class Report(Protocol):
    """Takes rows that were refused, in the order of the file."""

    def add(self, refused: Refused) -> None:
        """Writes one row."""


class _FileReport:
    """A report in a file: CSV with the row as JSON in its last cell, or JSON Lines."""

    def __init__(self, file: IO[str], *, as_csv: bool) -> None:
        self._file = file
        self._csv = csv.writer(file) if as_csv else None
        if self._csv is not None:
            self._csv.writerow(COLUMNS)

    def add(self, refused: Refused) -> None:
        row = numbers(refused.values, ascii=True)
        for issue in refused.issues:
            told = (refused.line, issue.field, issue.code, issue.message)
            if self._csv is not None:
                self._csv.writerow([*told[:1], *map(guarded, told[1:]), row])
            else:
                entry = dict(zip(COLUMNS, told, strict=False))
                self._file.write(f'{json.dumps(entry)[:-1]}, "row": {row}}}\n')


class _NoReport:
    def add(self, refused: Refused) -> None:
        """Nobody asked."""


@contextmanager
def report_to(path: Path | str | None) -> Iterator[Report]:
    """The report in a file, whose name tells the format (`.csv`, `.jsonl`, each also with `.gz`); nowhere without a path.

    Raises:
        FileError: the file cannot be written.
        ValidationError: its name tells no format.
    """
    if path is None:
        yield _NoReport()
        return
    form = format_of(str(path))
    try:
        with (
            Path(path).open("wb") as raw,
            gzip.GzipFile(fileobj=raw, mode="wb") if form.compressed else nullcontext(raw) as packed,
            io.TextIOWrapper(packed, encoding="utf-8", newline="") as file,
        ):
            yield _FileReport(file, as_csv=form.name == "csv")
    except OSError as error:
        raise FileError(str(path), f"cannot be written: {(error.strerror or str(error)).lower()}") from None
