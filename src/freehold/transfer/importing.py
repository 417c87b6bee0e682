"""Import of files.

Authority: a chunk of rows is written in one transaction together with a note that it was (`freehold.transfer.chunks`). The note's id comes
from what is imported and how (organization, entity, options) and from the digest of all lines up to the chunk's end. So an
import that was killed at any point, between the commit and its reply too, goes on where it was when it is started again:
chunks that are noted are not written a second time, and their notes tell what became of their rows. Nothing about it is kept
beside the file.

Memory: one chunk is written while the next one is read; a chunk is bounded in rows and in bytes.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid5

from freehold.errors import FileError, Issue, ValidationError
from freehold.model.entity import Entity
from freehold.model.vocabulary import Vocabulary
from freehold.store.session import Session
from freehold.transfer.chunks import Answer, ChunkWriter, Work, chunk_writer
from freehold.transfer.formats import Format, format_of
from freehold.transfer.lookups import Lookups
from freehold.transfer.mapping import Mapped, Mapper
from freehold.transfer.records import OnDuplicate, write_records
from freehold.transfer.report import Refused, Report, report_to
from freehold.transfer.rows import Rows, rows_of
from freehold.transfer.source import Origin, Source

__all__ = ["ImportProgress", "ImportResult", "import_file"]

EntityT = TypeVar("EntityT", bound=Entity)

NAMESPACE = UUID("6f4d5b0e-6f0a-5c55-9a63-0d9b7a3a6c11")
MAXIMUM_CHUNK_BYTES = 4_000_000
SHOWN = 20
"""Refused rows that a result holds; the report has all."""


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import is.

    Args:
        rows: read and settled.
        refused: of them.
        repeated: of them, those that an earlier run had imported.
        position: bytes of the file that were read.
        size: bytes of the file; None where it is a pipe.
    """

    rows: int
    refused: int
    repeated: int
    position: int
    size: int | None


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What became of the rows of a file.

    Args:
        rows: all that were read: the sum of those that follow.
        created, updated, unchanged, skipped, superseded: see `Session.create_many`.
        refused: rows that were not imported.
        repeated: rows that an earlier run of this import had settled; they are counted above as it settled them.
        first_refused: the first 20 of the refused.
        left_out: columns that fill nothing.
        dry_run: whether nothing was written.
        request_id: in the log, of all that this run wrote.
    """

    rows: int
    created: int
    updated: int
    unchanged: int
    skipped: int
    superseded: int
    refused: int
    repeated: int
    first_refused: tuple[Refused, ...]
    left_out: tuple[str, ...]
    dry_run: bool
    request_id: str

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-able values."""
        told = {name: getattr(self, name) for name in self.__slots__ if name != "first_refused"}
        return told | {
            "left_out": list(self.left_out),
            "first_refused": [
                {"line": refused.line, "issues": [issue.as_dict() for issue in refused.issues]}
                for refused in self.first_refused
            ],
        }


@dataclass(frozen=True, slots=True)
class _Chunk:
    rows: Sequence[Mapped]
    unit: UUID
    position: int


@dataclass
class _Totals:
    rows: int = 0
    refused: int = 0
    repeated: int = 0
    actions: dict[str, int] = field(default_factory=dict)
    first_refused: list[Refused] = field(default_factory=list)

    def result(self, left_out: tuple[str, ...], request_id: str, *, dry_run: bool) -> ImportResult:
        names = ("created", "updated", "unchanged", "skipped", "superseded")
        return ImportResult(
            rows=self.rows,
            **{name: self.actions.get(name, 0) for name in names},
            refused=self.refused,
            repeated=self.repeated,
            first_refused=tuple(self.first_refused),
            left_out=left_out,
            dry_run=dry_run,
            request_id=request_id,
        )


async def import_file(
    session: Session,
    entity: type[EntityT],
    origin: Origin,
    *,
    form: Format | None = None,
    mapping: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    key: str | tuple[str, ...] | None = None,
    on_duplicate: OnDuplicate | None = None,
    dry_run: bool = False,
    errors: Path | str | None = None,
    run: str = "",
    chunk: int = 1_000,
    progress: Callable[[ImportProgress], None] | None = None,
    vocabulary: Vocabulary | None = None,
) -> ImportResult:
    """Imports the rows of a file as records of an entity. A row that breaks a rule is refused, and the rest goes in.

        result = await import_file(session, Customer, "customers.csv.gz", mapping={"No": "number"}, key="number", errors="refused.csv")

    An import that was interrupted goes on where it was when it is started again with the same file and options; one that was
    finished does nothing more.

    Args:
        session: of the organization that gets the records.
        entity: what the rows become.
        origin: a path, `-` for standard input, or an open binary file.
        form: the file's format; by default its name tells it.
        mapping: from columns to fields. `{"customer": "customer.number"}` looks a reference up by a unique field of the other entity,
            `{"remarks": ""}` leaves a column out. A column that is not named goes to the field of its name.
        constants: fields that are the same in all rows.
        key: the unique key by which a row is known; a record that has the row's key is updated.
        on_duplicate: what happens with a row whose key is there: `error` refuses it, `skip` leaves the record, `update` changes
            the fields that the file has. By default `update` where there is a key, else `error`.
        dry_run: everything happens, in one transaction, which is then rolled back.
        errors: a file for the refused rows: line, field, code, reason, row (`.csv` or `.jsonl`, each also with `.gz`).
        run: tells this import from an earlier one of the same file with the same options, which would be recognised otherwise.
        chunk: rows of one transaction, 1 to 10,000.
        progress: is told after each chunk.
        vocabulary: the fields and relations that may be named; None is all.

    Raises:
        FileError: the file cannot be read to its end. What stands before that is imported.
        ValidationError: an argument is wrong, or the header does not fit the entity; nothing was written.
    """
    store = session.store
    description = store.registry[entity]
    if isinstance(chunk, bool) or not isinstance(chunk, int) or not 1 <= chunk <= 10_000:
        raise ValidationError.single(("chunk",), "must be from 1 to 10,000 rows", "chunk", subject="import")
    form = form or format_of(str(getattr(origin, "name", origin)))
    told: OnDuplicate = on_duplicate or ("update" if key is not None else "error")
    options = [sorted((mapping or {}).items()), sorted((constants or {}).items()), key, told, chunk, run, repr(form)]
    options += [form.dates] if form.dates is not None else []
    options += [] if form.guard else ["unguarded"]
    identity = _identity(session, description.name, options)
    mapper = Mapper(description, vocabulary or store.registry, form, mapping or {}, constants)
    source = Source(origin, form)
    try:
        rows = await asyncio.to_thread(_begun, source, form, mapper, (key,) if isinstance(key, str) else key or ())
        lookups = Lookups()

        def work(rows: Sequence[Mapped]) -> Work:
            return lambda session: write_records(session, description, rows, lookups, key=key, on_duplicate=told)

        with report_to(errors) as report:
            async with chunk_writer(session, dry_run=dry_run, forget=lookups.forget) as writer:
                importing = _Import(source, rows, mapper, report, writer, work, identity, chunk, progress)
                await importing.run()
    finally:
        source.close()
    return importing.totals.result(mapper.left_out, session.context.request_id, dry_run=dry_run)


def _begun(source: Source, form: Format, mapper: Mapper, key: Sequence[str]) -> Rows:
    """The rows of a file whose header was read and fits, in a thread: it may be long, and a pipe may keep it waiting."""
    rows = rows_of(source, form)
    if rows.columns is not None:
        mapper.check(rows.columns, source.name, key)
    return rows


def _identity(session: Session, entity: str, options: Sequence[Any]) -> UUID:
    """What is imported and how; with a digest of the file it is known again."""
    told = [str(session.context.organization_id), entity, *options]
    return uuid5(NAMESPACE, json.dumps(told, default=repr))


@dataclass
class _Import:
    """One import under way: reads a chunk while the one before it is written."""

    source: Source
    rows: Rows
    mapper: Mapper
    report: Report
    writer: ChunkWriter
    work: Callable[[Sequence[Mapped]], Work]
    identity: UUID
    size: int
    progress: Callable[[ImportProgress], None] | None
    totals: _Totals = field(default_factory=_Totals)

    async def run(self) -> None:
        self._iterator = iter(self.rows)
        chunk = await asyncio.to_thread(self._read)
        while chunk is not None:
            reading = asyncio.create_task(asyncio.to_thread(self._read))
            try:
                answer, repeated = await self.writer(chunk.unit, self.work(chunk.rows))
                self._settle(chunk, answer, repeated=repeated)
                if answer.refused:
                    await asyncio.to_thread(self._tell, chunk, answer)
                if self.progress is not None:
                    counts = (self.totals.rows, self.totals.refused, self.totals.repeated)
                    self.progress(ImportProgress(*counts, chunk.position, self.source.size))
            except BaseException:
                reading.cancel()
                raise
            try:
                chunk = await reading
            except FileError as error:
                settled = f"the {self.totals.rows:,} rows before it are settled, and are not imported twice"
                error.hint = f"{error.hint}; {settled}" if error.hint else settled
                raise

    def _read(self) -> _Chunk | None:
        """The next chunk, in a thread: a pipe may keep it waiting. Its border depends on the file alone."""
        begun, rows = self.source.length, []
        for row in self._iterator:
            rows.append(self.mapper.map(row))
            if len(rows) == self.size or self.source.length - begun >= MAXIMUM_CHUNK_BYTES:
                break
        if not rows:
            return None
        return _Chunk(rows, uuid5(self.identity, self.source.digest.hex()), self.source.position)

    def _settle(self, chunk: _Chunk, answer: Answer, *, repeated: bool) -> None:
        totals = self.totals
        totals.rows += len(chunk.rows)
        totals.repeated += len(chunk.rows) if repeated else 0
        totals.refused += len(answer.refused)
        for action, count in answer.actions.items():
            totals.actions[action] = totals.actions.get(action, 0) + count

    def _tell(self, chunk: _Chunk, answer: Answer) -> None:
        """Reports the rows that were refused, in a thread: they may be long."""
        for place, issues in answer.refused:
            row = chunk.rows[place].row
            refused = Refused(
                row.line, [Issue(tuple(path), message, code) for path, message, code in issues], row.values
            )
            self.report.add(refused)
            if len(self.totals.first_refused) < SHOWN:
                self.totals.first_refused.append(refused)
