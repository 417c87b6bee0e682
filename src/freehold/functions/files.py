"""The import and the export that entities offer: files of CSV or JSON Lines, at constant memory."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from freehold.errors import ForbiddenError, RequestError, ValidationError
from freehold.functions.declaration import LONGEST_TIMEOUT, Function
from freehold.functions.inclusion import Where
from freehold.functions.offering import Names, function, refused, words
from freehold.functions.reading import WHERE, check_deleted, conditions, narrowing, texts_of
from freehold.functions.results import Answer, result_of
from freehold.model.context import Context
from freehold.model.description import EntityDescription
from freehold.model.permissions import permits
from freehold.model.registry import Registry
from freehold.model.vocabulary import offered
from freehold.store.session import Session
from freehold.transfer.exporting import export_parts
from freehold.transfer.formats import Format
from freehold.transfer.importing import import_file

__all__ = ["Imported", "RefusedRow", "export", "import_"]

MEDIA = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
MAXIMUM_BYTES = 200_000_000
"""Of a file that is imported from outside. Larger ones are for `freehold import`, which reads them where they are."""

_FormatName = Literal["csv", "jsonl"]
_GUARD = Field(
    default=True,
    description="Whether a text of CSV that a spreadsheet would run as a formula stands behind an apostrophe.",
)
_FORMAT = Field(default="csv", description="Of the file: csv (with a header) or jsonl (JSON Lines).")


class RowIssue(BaseModel):
    """What is wrong with a row."""

    path: list[str | int]
    message: str
    code: str


class RefusedRow(BaseModel):
    """A row that was not imported."""

    line: int = Field(description="Where it begins in the file.")
    issues: list[RowIssue]


class Imported(BaseModel):
    """What became of the rows of a file."""

    model_config = ConfigDict(frozen=True)

    rows: int = Field(description="All that were read: the sum of those that follow.")
    created: int
    updated: int
    unchanged: int
    skipped: int
    superseded: int = Field(description="Rows whose key a later row of the file has too.")
    refused: int
    repeated: int = Field(description="Rows that an earlier run of this import had settled.")
    first_refused: list[RefusedRow] = Field(description="The first 20 of those that were refused.")
    left_out: list[str] = Field(description="Columns that fill nothing.")
    dry_run: bool
    request_id: str


def import_(entity: EntityDescription, registry: Registry) -> Function:
    """`customers.import(format, key, map, on_duplicate, dry_run, run)`, with a file."""

    async def call(
        session: Session,
        content: AsyncIterator[bytes],
        format: _FormatName,
        key: list[str] | None,
        map: Mapping[str, str],
        on_duplicate: Literal["error", "skip", "update"] | None,
        dry_run: bool,
        run: str,
        guard: bool,
        encoding: str,
        dates: str | None,
        timezone: str | None,
    ) -> Answer:
        _check_update(entity, session.context, key, on_duplicate)
        vocabulary = offered(registry, session.context.permissions)
        unknown = [name for name in key or () if name not in vocabulary.fields[entity.name]]
        if unknown:
            told = f"{unknown[0]!r:.80} is no field of {entity.name}"
            raise ValidationError.single(("key",), told, "unknown_field", subject=f"{entity.table}.import")
        form = Format(format, encoding, guard=guard, dates=dates, timezone=timezone)
        # The whole file first: an upload that breaks off imports nothing, and a slow one holds no connection.
        with tempfile.TemporaryFile() as file:
            size = 0
            async for part in content:
                size += len(part)
                if size > MAXIMUM_BYTES:
                    raise RequestError(
                        f"the file is larger than {MAXIMUM_BYTES:,} bytes", status=413, hint="import it in parts"
                    )
                await asyncio.to_thread(file.write, part)
            file.seek(0)
            result = await import_file(
                session, entity.cls, file, form=form, mapping=map, key=tuple(key) if key else None,
                on_duplicate=on_duplicate, dry_run=dry_run, run=run, vocabulary=vocabulary,
            )  # fmt: skip
        return Answer(to_json(result.as_dict()))

    many = words(entity, many=True)
    told = {
        "key": "The unique key by which a row is known; a record that has the row's key is updated.",
        "map": 'From columns to fields: {"No": "number", "customer": "customer.number", "remarks": ""}.',
        "on_duplicate": "What happens with a row whose key is there: error refuses it, skip leaves the record, update changes it.",
        "dry_run": "Everything is tried, and nothing is kept.",
        "run": "Tells this import from an earlier one of the same file, which would be recognised otherwise.",
    }
    parameters: dict[str, Any] = {
        "format": (_FormatName, _FORMAT),
        "key": (Names | None, Field(default=None, description=told["key"])),
        "map": (dict[str, str], Field(default={}, max_length=1_000, description=told["map"])),
        "on_duplicate": (
            Literal["error", "skip", "update"] | None,
            Field(default=None, description=told["on_duplicate"]),
        ),
        "dry_run": (bool, Field(default=False, description=told["dry_run"])),
        "run": (Annotated[str, Field(max_length=200)], Field(default="", description=told["run"])),
        "guard": (bool, _GUARD),
        "encoding": (
            Annotated[str, Field(max_length=40)],
            Field(default="utf-8", description="Of the text; over HTTP, the charset of Content-Type says it too."),
        ),
        "dates": (
            Annotated[str, Field(max_length=40)] | None,
            Field(default=None, description="How dates are written, such as %d/%m/%Y; without it, as 2026-06-15."),
        ),
        "timezone": (
            Annotated[str, Field(max_length=60)] | None,
            Field(default=None, description="Of moments that are written without one, such as Europe/London."),
        ),
    }
    return function(
        entity, "import", call, "command", result_of(Imported), parameters, f"Imports {many} from a file.",
        "A row that breaks a rule is refused, and the rest goes in. Repeated with the same file, it goes on where it was. "
        f"To change records by a key needs the permission `{entity.exposed.get('update', f'{entity.table}.update')}` too.",
        content=True, idempotent=True, timeout=LONGEST_TIMEOUT,
    )  # fmt: skip


def _check_update(
    entity: EntityDescription, context: Context, key: Sequence[str] | None, on_duplicate: str | None
) -> None:
    """Who may only import makes records; to change those that are there takes the permission to update them.

    Raises:
        ForbiddenError: the caller has it not.
    """
    if (on_duplicate or ("update" if key else "error")) != "update":
        return
    needed = entity.exposed.get("update", f"{entity.table}.update")
    if needed is not None and not permits(context.permissions, needed):
        raise ForbiddenError(
            f"to update {words(entity, many=True)} by an import needs the permission {needed}",
            hint="import with on_duplicate=skip or on_duplicate=error",
        )


def export(entity: EntityDescription, registry: Registry) -> Function:
    """`customers.export(format, fields, where, search, order, deleted)`."""
    name = f"{entity.table}.export"

    async def call(
        session: Session,
        format: _FormatName,
        fields: list[str] | None,
        where: Mapping[str, Any] | None,
        order: list[str] | None,
        search: str | None = None,
        deleted: bool = False,
        guard: bool = True,
    ) -> Answer:
        vocabulary = offered(registry, session.context.permissions)
        if deleted:
            check_deleted(entity, session.context)
        parts = export_parts(
            session, entity.cls, Format(format, guard=guard), fields=fields, where=where, search=search, order_by=order,
            deleted=deleted, vocabulary=vocabulary,
        )  # fmt: skip
        try:
            first = await anext(parts)
        except ValidationError as error:
            raise refused(name, conditions(entity, vocabulary, where, order), error) from None
        return Answer(b"", media=MEDIA[format], stream=_after(first, parts))

    many = words(entity, many=True)
    parameters: dict[str, Any] = {
        "format": (_FormatName, _FORMAT),
        "fields": (
            Names | None,
            Field(
                default=None,
                description="The columns; customer.number is a field of the record that a reference leads to.",
            ),
        ),
        "where": (Where, WHERE),
        "order": (Names | None, Field(default=None, description="Fields to sort by; - before one for descending.")),
        **narrowing(entity),
        "guard": (bool, _GUARD),
    }
    return function(
        entity, "export", call, "query", result_of(None), parameters, f"All {many} that match, as a file.",
        "In the form that import reads. Pages are read as the file is taken.",
        texts=texts_of(entity, registry, parameters), media=tuple(MEDIA.values()), timeout=LONGEST_TIMEOUT,
    )  # fmt: skip


async def _after(first: bytes, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The first part, which was read to see whether there is anything wrong, and the others."""
    try:
        yield first
        async for part in parts:
            yield part
    finally:
        await parts.aclose()  # type: ignore[attr-defined]  # it is a generator
