"""Export of records: page by page in keyset order, at constant memory.

A page ends by its bytes (`AnswerBounds.page`), so that large records come in short pages, one by one at last. It is made and written in a
thread: others need not wait for it.
"""

import asyncio
import codecs
import csv
import gzip
import io
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from freehold.errors import FileError, Issue, ValidationError
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.entity import Entity
from freehold.model.numbers import parsed, written
from freehold.model.pages import Include, IncludeLike, OrderBy
from freehold.model.registry import Registry, suggestion
from freehold.model.vocabulary import Vocabulary
from freehold.store.reads import Reads
from freehold.transfer.formats import Format, format_of, guarded

__all__ = ["ExportResult", "export_file", "export_parts"]

FIRST_PAGE, LARGEST_PAGE = 10, 1_000
"""Records of pages. The first one is short: how large records are is not known yet, and PostgreSQL reads all of a page."""

Target = Path | str | IO[bytes]
"""Where records go: a path, `-` for standard output, or an open binary file."""
_Write = Callable[[dict[str, Any]], None]
"""Writes one record, as JSON values."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was exported.

    Args:
        records: how many.
        columns: what each has.
    """

    records: int
    columns: tuple[str, ...]


async def export_file(
    reads: Reads,
    entity: type[Entity],
    target: Target,
    *,
    form: Format | None = None,
    fields: Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
    order_by: OrderBy = None,
    private: bool = False,
    deleted: bool = False,
    progress: Callable[[int], None] | None = None,
) -> ExportResult:
    """Exports the records of an entity that match, as `import_file` reads them.

        await export_file(session, Customer, "customers.csv.gz", where={"status": "active"}, order_by="name")

    Pages are read one after the other: a record that changes meanwhile is told as its page found it. A session of `as_of` tells one moment.
    A file is written beside its place and moved there at the end, so that no half one is ever found.

    Args:
        reads: a session, of now or of the past.
        entity: whose records.
        target: a path, `-` for standard output, or an open binary file.
        form: the file's format; by default its name tells it.
        fields: the columns, in order; `customer.number` is a field of the record that a reference leads to. By default the id, then all
            fields that the entity declares.
        where: a filter, as in `list`.
        order_by: as in `list`.
        private: whether private fields are among the default columns, and may be named.
        deleted: whether deleted records are in.
        progress: is told the number of records so far, after each page.

    Raises:
        ValidationError: a field, the filter or the order is wrong.
        FileError: the file cannot be written.
    """
    store = reads.reader.store
    description = store.registry[entity]
    if form is None:
        form = format_of(str(getattr(target, "name", target)))
    columns = _columns(description, store.registry, fields, private=private)
    select, include = _asked(columns)
    count = 0
    with _opened(target, form) as file:
        write = _writer(file, form, columns, _fields(description, store.registry, columns))
        pages = _pages(write, reads, entity, where, order_by, select, include, private=private, deleted=deleted)
        async for records in pages:
            count += records
            if progress is not None:
                progress(count)
    return ExportResult(count, tuple(".".join(column) for column in columns))


async def export_parts(
    reads: Reads,
    entity: type[Entity],
    form: Format,
    *,
    fields: Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
    search: str | None = None,
    order_by: OrderBy = None,
    deleted: bool = False,
    vocabulary: Vocabulary | None = None,
) -> AsyncIterator[bytes]:
    """The same file in parts, each from one page: the next page is read when a part was taken.

    Args:
        reads, entity, form, fields, where, order_by, deleted: as in `export_file`. It is not compressed.
        search: only records in which these words are found.
        vocabulary: the fields and relations that may be named; None is all.

    Raises:
        ValidationError: a field, the filter or the order is wrong. It is raised before the first part.
    """
    store = reads.reader.store
    columns = _columns(store.registry[entity], vocabulary or store.registry, fields, private=False)
    select, include = _asked(columns)
    sink = _Sink(form.encoding)
    write = _writer(sink, form, columns, _fields(store.registry[entity], store.registry, columns))
    pages = _pages(
        write,
        reads,
        entity,
        where,
        order_by,
        select,
        include,
        private=False,
        deleted=deleted,
        search=search,
        vocabulary=vocabulary,
    )
    async for _ in pages:
        yield sink.taken()


class _Sink:
    """Text that is written, as the bytes of a file.

    Args:
        encoding: of the file.
    """

    def __init__(self, encoding: str) -> None:
        self._encoder = codecs.getincrementalencoder(encoding)()
        self._parts: list[bytes] = []

    def write(self, text: str) -> int:
        """Adds a text."""
        self._parts.append(self._encoder.encode(text))
        return len(text)

    def taken(self) -> bytes:
        """What was written since it was taken last."""
        made = b"".join(self._parts)
        self._parts.clear()
        return made


def _write_page(write: _Write, page: bytes) -> int:
    """Writes the records of a page, and says how many there were."""
    records: list[dict[str, Any]] = parsed(page)
    for record in records:
        write(record)
    return len(records)


async def _pages(
    write: _Write,
    reads: Reads,
    entity: type[Entity],
    where: Mapping[str, Any] | None,
    order_by: OrderBy,
    select: Sequence[str],
    include: Mapping[str, IncludeLike],
    *,
    private: bool,
    deleted: bool,
    search: str | None = None,
    vocabulary: Vocabulary | None = None,
) -> AsyncIterator[int]:
    """Writes the records page by page, and says how many there were in each. The pages' length follows from how large the records are."""
    after, limit, most = None, FIRST_PAGE, reads.reader.store.bounds.page
    while True:
        page = await reads.reader.list(
            entity, where=where, search=search, order_by=order_by, select=select, include=include, private=private,
            deleted=deleted, limit=limit, after=after, before=None, with_total=False, as_json=True, vocabulary=vocabulary,
            most=most,
        )  # fmt: skip
        text, after = page.json or b"[]", page.next
        count, size = await asyncio.to_thread(_write_page, write, text), len(text)
        del page, text  # nothing is held of it while the next one is read
        yield count
        if after is None:
            return
        limit = max(1, min(LARGEST_PAGE, limit * 4, most * max(count, 1) // size))


def _columns(
    entity: EntityDescription, vocabulary: Vocabulary, fields: Sequence[str] | None, *, private: bool
) -> list[tuple[str, ...]]:
    """The columns as paths of one or two names."""
    known = vocabulary.fields[entity.name]
    if fields is None:
        return [("id",), *((field.name,) for field in entity.given if private or not field.private)]
    issues: list[Issue] = []
    columns = []
    for place, name in enumerate(fields):
        first, point, second = name.partition(".")
        relation = vocabulary.relations[entity.name].get(first) if point else None
        source = known if not point else None
        if relation is not None and not relation.many:
            source = vocabulary.fields[relation.target.name]
        field = None if source is None else source.get(second if point else first)
        if field is None:
            told = suggestion(name, source or known, told=len(issues))
            issues.append(Issue((place,), f"{name!r:.80} is no field of {entity.name}{told}", "unknown_field"))
        elif field.private and not private:
            issues.append(Issue((place,), f"{name} is private; ask for private fields", "private_field"))
        else:
            columns.append((first, second) if point else (first,))
    if not fields:
        issues.append(Issue((), "names no field", "too_short"))
    if issues:
        raise ValidationError(issues, subject="fields")
    return list(dict.fromkeys(columns))


def _asked(columns: Sequence[tuple[str, ...]]) -> tuple[list[str], dict[str, IncludeLike]]:
    """What a read has to bring for columns."""
    related: dict[str, list[str]] = {}
    for column in columns:
        if len(column) == 2:
            related.setdefault(column[0], []).append(column[1])
    own = [column[0] for column in columns if len(column) == 1]
    return own or ["id"], {name: Include(select=names) for name, names in related.items()}


def _fields(
    entity: EntityDescription, registry: Registry, columns: Sequence[tuple[str, ...]]
) -> list[FieldDescription]:
    """The fields that columns show."""
    relations = registry.relations[entity.name]
    return [
        entity.fields[column[0]] if len(column) == 1 else relations[column[0]].target.fields[column[1]]
        for column in columns
    ]


def _writer(
    file: IO[str] | _Sink, form: Format, columns: Sequence[tuple[str, ...]], fields: Sequence[FieldDescription]
) -> _Write:
    names = [".".join(column) for column in columns]
    if form.name == "jsonl":

        def write_json(record: dict[str, Any]) -> None:
            values = {name: _value(record, column) for name, column in zip(names, columns, strict=True)}
            file.write(written(values) + "\n")

        return write_json
    writer = csv.writer(
        file, delimiter=form.delimiter
    )  # lines end as RFC 4180 says, so that any line break in a cell is quoted
    writer.writerow(names)
    null = form.null or ""
    cells = [(column, _cells_of(field, form)) for column, field in zip(columns, fields, strict=True)]

    def write_csv(record: dict[str, Any]) -> None:
        writer.writerow([null if (value := _value(record, column)) is None else cell(value) for column, cell in cells])

    return write_csv


def _value(record: dict[str, Any], column: tuple[str, ...]) -> Any:
    value = record[column[0]]
    return value if len(column) == 1 or value is None else value[column[1]]


def _cells_of(field: FieldDescription, form: Format) -> Callable[[Any], Any]:
    """What writes the values of a field as `freehold.transfer.cells` reads them."""
    kind = field.kind
    if kind.many or kind.name == "json":
        return written
    if kind.name == "text" and form.guard:
        return guarded
    return _cell


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


@contextmanager
def _opened(target: Target, form: Format) -> Iterator[IO[str]]:
    """The file to write in, as text. A path gets it when it is whole."""
    path = Path(target) if isinstance(target, Path) or (isinstance(target, str) and target != "-") else None
    part = None if path is None else path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        raw: IO[bytes] = (
            part.open("wb") if part is not None else sys.stdout.buffer if isinstance(target, str | Path) else target
        )
        try:
            with _text(raw, form) as file:
                yield file
            raw.flush()
            if part is not None and path is not None:
                os.fsync(raw.fileno())
                part.replace(path)
        finally:
            if part is not None:
                raw.close()
                part.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(
            str(path or "the output"), f"cannot be written: {(error.strerror or str(error)).lower()}"
        ) from None
    except UnicodeEncodeError as error:
        raise FileError(
            str(path or "the output"),
            f"{form.encoding} has no character {error.object[error.start]!r}",
            hint="write UTF-8",
        ) from None


@contextmanager
def _text(raw: IO[bytes], form: Format) -> Iterator[IO[str]]:
    packed = gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") if form.compressed else raw
    file = io.TextIOWrapper(packed, encoding=form.encoding, newline="")
    try:
        yield file
        file.flush()
    finally:
        file.detach()
        if packed is not raw:
            packed.close()
