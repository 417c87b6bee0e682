"""Files for the tests of imports."""

import gzip
import io
from collections.abc import Sequence
from pathlib import Path

from freehold.transfer.formats import Format
from freehold.transfer.rows import Row, rows_of
from freehold.transfer.source import Source


def rows(data: bytes, name: str = "csv", **options: str) -> list[Row]:
    """The rows of a file with these bytes."""
    form = Format(name, **options)  # type: ignore[arg-type]  # one of the two names
    return list(rows_of(Source(io.BytesIO(data), form), form))


def written(folder: Path, lines: Sequence[str], name: str = "rows.csv") -> Path:
    """A file of lines; compressed where its name says so."""
    path = folder / name
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path
