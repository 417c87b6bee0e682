"""The commands about the manifest: what an application declares, and what of a change breaks its callers."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from freehold.cli.loading import default_application, load_application
from freehold.cli.options import Json, OwnTarget
from freehold.cli.output import console, failing, print_json
from freehold.errors import ConfigurationError
from freehold.functions.differences import Difference, differences
from freehold.functions.manifest import manifest_bytes

__all__ = ["manifest"]

BREAKING = 3
"""The exit code where callers can break."""


class _Shown(TyperGroup):
    """A group whose first command need not be named: `freehold manifest APPLICATION`."""

    def parse_args(
        self, ctx: Any, args: list[str]
    ) -> list[str]:  # Any: Typer has its own class for it, which is private
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


manifest = typer.Typer(
    help="All that an application declares, as JSON: what generators read, and nothing else.", cls=_Shown
)


@manifest.callback()
def about() -> None:
    """All that an application declares, as JSON: what generators read, and nothing else."""


@manifest.command()
def show(
    target: OwnTarget = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write it there instead of printing it.")
    ] = None,
) -> None:
    """Print the manifest: entities, functions, schemas, permissions, roles, errors. The same declarations give the same bytes."""
    with failing(as_json=True):
        written = manifest_bytes(_declared(target))
        if output is None:
            sys.stdout.write(written.decode())
            return
        try:
            output.write_bytes(written)
        except OSError as error:
            raise ConfigurationError(f"{output} cannot be written: {error.strerror}") from None


@manifest.command()
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The manifest that callers know, as a file.")],
    new: Annotated[
        str | None,
        typer.Argument(
            metavar="NEW",
            help="The new one: a file, or an application; by default the one of FREEHOLD_APPLICATION or of pyproject.toml.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what of a change breaks callers, and what does not. The exit code is 3 where something does."""
    with failing(as_json=as_json):
        found = differences(_read(old), _declared(new) if new is None or not Path(new).is_file() else _read(new))
        breaking = [each for each in found if each.breaking]
        if as_json:
            print_json({"breaking": bool(breaking), "differences": [each.as_dict() for each in found]})
        else:
            _tell(found)
    if breaking:
        raise typer.Exit(BREAKING)


def _declared(target: str | None) -> Mapping[str, Any]:
    return load_application(target or default_application()).manifest()


def _read(name: str) -> Any:
    try:
        return json.loads(Path(name).read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"{name!r:.200} cannot be read: {error.strerror}", hint="write one with freehold manifest --output FILE"
        ) from None
    except ValueError:
        raise ConfigurationError(
            f"{name!r:.200} is no JSON", hint="write one with freehold manifest --output FILE"
        ) from None


def _tell(found: Sequence[Difference]) -> None:
    if not found:
        console.print("Nothing that callers see has changed.")
        return
    for breaking, title in ((True, "Breaks callers"), (False, "Does not break callers")):
        rows = [each for each in found if each.breaking is breaking]
        if rows:
            table = Table("where", "path", "change", title=title, title_justify="left", title_style="bold")
            for each in rows:
                table.add_row(each.where, each.path, each.change)
            console.print(table, markup=False)
