"""The commands that import and export files of records."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from freehold.app import Application
from freehold.cli.loading import load_application
from freehold.cli.options import Json, Target, Url
from freehold.cli.output import console, failing, print_json
from freehold.database import Database
from freehold.errors import ConfigurationError, ValidationError
from freehold.model.entity import Entity
from freehold.model.numbers import parsed
from freehold.model.registry import suggestion
from freehold.store.session import Session
from freehold.transfer import ExportResult, ImportProgress, ImportResult, export_file, format_of, import_file

__all__ = ["export_", "import_"]

REFUSED = 3
"""The exit code where rows were refused and the rest is in."""
SHOWN = 5

EntityName = Annotated[str, typer.Argument(metavar="ENTITY", help="The entity's name, such as Customer.")]
Organization = Annotated[
    str, typer.Option("--organization", help="The organization's slug.", envvar="FREEHOLD_ORGANIZATION")
]
User = Annotated[
    str,
    typer.Option("--user", help="The member on whose behalf it is done: an e-mail address.", envvar="FREEHOLD_USER"),
]
FileFormat = Annotated[str | None, typer.Option("--format", help="csv or jsonl, where the file's name does not tell.")]
Encoding = Annotated[str, typer.Option("--encoding", help="Of the text, such as latin-1.")]
Delimiter = Annotated[str | None, typer.Option("--delimiter", help="Between the cells of CSV: one character.")]
Null = Annotated[
    str | None, typer.Option("--null", help="The cell of CSV that stands for null; without it, an empty one.")
]

Guard = Annotated[
    bool,
    typer.Option(
        "--guard/--no-guard",
        help="Whether texts of CSV that a spreadsheet would run as formulas stand behind an apostrophe.",
    ),
]


class OnDuplicate(StrEnum):
    """What happens with a row whose key is there."""

    error = "error"
    skip = "skip"
    update = "update"


def import_(
    target: Target,
    entity: EntityName,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="CSV or JSON Lines, also with gzip; - for standard input.")
    ],
    url: Url,
    organization: Organization,
    user: User,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="COLUMN=FIELD", help="Which field a column fills; may be repeated."),
    ] = None,
    constants: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field's value in all rows; may be repeated."),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="The unique field, or fields with commas, by which records are updated.")
    ] = None,
    on_duplicate: Annotated[
        OnDuplicate | None, typer.Option("--on-duplicate", help="What happens with a row whose key is there.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything, and undo it.")] = False,
    errors: Annotated[
        Path | None, typer.Option("--errors", metavar="FILE", help="Where refused rows are told.")
    ] = None,
    run: Annotated[
        str, typer.Option("--run", metavar="NAME", help="Tells this import from an earlier one of the same file.")
    ] = "",
    format: FileFormat = None,
    encoding: Encoding = "utf-8",
    delimiter: Delimiter = None,
    null: Null = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", help="Of moments that are written without one, such as Europe/London.")
    ] = None,
    dates: Annotated[
        str | None, typer.Option("--dates", metavar="FORMAT", help="How dates are written, such as %d/%m/%Y.")
    ] = None,
    guard: Guard = True,
    as_json: Json = False,
) -> None:
    """Import the rows of a file as records of an entity.

    A row that breaks a rule is refused, and the rest goes in; the exit code is then 3. An import that was interrupted goes on
    where it was when the same command is given again.
    """

    async def imported(application: Application, bars: "_Bars") -> ImportResult:
        form = format_of(
            file,
            format=format,
            encoding=encoding,
            delimiter=delimiter,
            null=null,
            timezone=timezone,
            guard=guard,
            dates=dates,
        )
        async with _session(application, url, organization, user, "import") as session:
            return await import_file(
                session, _entity(application, entity), file, form=form, mapping=_pairs(mapping, "--map"),
                constants=_pairs(constants, "--set"), key=_key(key), on_duplicate=_told(on_duplicate),
                dry_run=dry_run, errors=errors, run=run, progress=bars.advance,
            )  # fmt: skip

    with failing(as_json=as_json):
        application = load_application(target)
        try:
            with _Bars(f"Importing {entity}", quiet=as_json) as bars:
                result = asyncio.run(imported(application, bars))
        except KeyboardInterrupt:
            Console(stderr=True).print("Interrupted. Give the same command again, and it goes on where it was.")
            raise typer.Exit(130) from None
        _tell(result, errors, as_json=as_json)
    if result.refused:
        raise typer.Exit(REFUSED)


def export_(
    target: Target,
    entity: EntityName,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="CSV or JSON Lines, also with gzip; - for standard output.")
    ],
    url: Url,
    organization: Organization,
    user: User,
    fields: Annotated[
        str | None,
        typer.Option("--fields", help="The columns, with commas; customer.number reaches across a reference."),
    ] = None,
    where: Annotated[str | None, typer.Option("--where", help="A filter, as JSON.")] = None,
    order_by: Annotated[
        str | None, typer.Option("--order-by", help="Field names with commas; - before one to descend.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Private fields too.")] = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="Deleted records too.")] = False,
    format: FileFormat = None,
    encoding: Encoding = "utf-8",
    delimiter: Delimiter = None,
    null: Null = None,
    guard: Guard = True,
    as_json: Json = False,
) -> None:
    """Export the records of an entity, as import reads them."""

    async def exported(application: Application, bars: "_Bars") -> ExportResult:
        form = format_of(file, format=format, encoding=encoding, delimiter=delimiter, null=null, guard=guard)
        async with _session(application, url, organization, user, "export") as session:
            return await export_file(
                session, _entity(application, entity), file, form=form, fields=_names(fields), where=_filter(where),
                order_by=_names(order_by), private=private, deleted=deleted, progress=bars.count,
            )  # fmt: skip

    with failing(as_json=as_json):
        if as_json and file == "-":
            raise ConfigurationError("--json and the records would both go to standard output", hint="name a file")
        application = load_application(target)
        with _Bars(f"Exporting {entity}", quiet=as_json) as bars:
            result = asyncio.run(exported(application, bars))
        if as_json:
            print_json({"records": result.records, "columns": result.columns})
        elif file != "-":
            console.print(f"{result.records:,} records in {escape(file)}.")


@asynccontextmanager
async def _session(
    application: Application, url: str, organization: str, user: str, what: str
) -> AsyncIterator[Session]:
    async with Database.open(url, application, size=2, secret=os.environ.get("FREEHOLD_SEAL")) as database:
        system = database.system(reason=f"freehold {what}")
        context = await system.context(organization=organization, user=user, user_agent=f"freehold {what}")
        async with database.session(context) as session:
            yield session


def _entity(application: Application, name: str) -> type[Entity]:
    found = application.registry.entities.get(name)
    if found is None:
        raise ConfigurationError(
            f"{name!r:.80} is no entity of {application.name}{suggestion(name, application.registry.entities)}"
        )
    return found.cls


def _pairs(given: Sequence[str] | None, option: str) -> Mapping[str, str]:
    pairs = {}
    for text in given or ():
        # From the right: a column's name may have an equals sign, a field's has none.
        name, equals, value = text.rpartition("=") if option == "--map" else text.partition("=")
        if not equals or not name:
            raise ValidationError.single((option,), f"must be NAME=VALUE, not {text!r:.80}", "option", subject="import")
        pairs[name] = value
    return pairs


def _key(given: str | None) -> str | tuple[str, ...] | None:
    names = _names(given)
    return None if names is None else names[0] if len(names) == 1 else tuple(names)


def _told(given: OnDuplicate | None) -> Literal["error", "skip", "update"] | None:
    return None if given is None else given.value


def _names(given: str | None) -> list[str] | None:
    return None if given is None else [name.strip() for name in given.split(",") if name.strip()]


def _filter(given: str | None) -> Mapping[str, Any] | None:
    if given is None:
        return None
    try:
        where = parsed(given)
    except ValueError as error:
        raise ValidationError.single(("--where",), f"is no JSON: {error}", "json_invalid", subject="export") from None
    if not isinstance(where, dict):
        raise ValidationError.single(("--where",), "must be a JSON object", "json_type", subject="export")
    return where


def _tell(result: ImportResult, errors: Path | None, *, as_json: bool) -> None:
    if as_json:
        print_json(result.as_dict())
        return
    counts = {
        name: getattr(result, name) for name in ("created", "updated", "unchanged", "skipped", "superseded", "refused")
    }
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "nothing"
    console.print(
        f"{result.rows:,} rows: {told}." + (" Nothing was written." if result.dry_run else ""), highlight=False
    )
    if result.repeated:
        console.print(
            f"{result.repeated:,} of them were settled by an earlier run of this import; --run NAME imports them again.",
            style="dim",
        )
    if result.left_out:
        console.print(f"Columns that were left out: {escape(', '.join(result.left_out))}.", style="dim")
    for refused in result.first_refused[:SHOWN]:
        reasons = "; ".join(
            f"{issue.field}: {issue.message}" if issue.path else issue.message for issue in refused.issues
        )
        console.print(f"[red]line {refused.line}[/] {escape(reasons)}", highlight=False)
    if result.refused > SHOWN:
        more = f"all are in {escape(str(errors))}" if errors else "--errors FILE tells all"
        console.print(f"... and {result.refused - SHOWN:,} more; {more}.", style="dim")


class _Bars:
    """The progress bar, on standard error."""

    def __init__(self, title: str, *, quiet: bool) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rows]:,} rows"),
            TextColumn("{task.fields[rate]:,.0f}/s"), TimeRemainingColumn(),
        )  # fmt: skip
        self._bars = Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True)
        self._task = self._bars.add_task(title, total=None, rows=0, rate=0.0)

    def __enter__(self) -> "_Bars":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def advance(self, so_far: ImportProgress) -> None:
        """Shows how far an import is."""
        self._show(so_far.rows, so_far.position, so_far.size)

    def count(self, records: int) -> None:
        """Shows how far an export is; nobody knows how far that will be."""
        self._show(records, None, None)

    def _show(self, rows: int, position: int | None, size: int | None) -> None:
        elapsed = self._bars.tasks[0].elapsed or 0
        self._bars.update(
            self._task, completed=position, total=size, rows=rows, rate=rows / elapsed if elapsed else 0.0
        )
