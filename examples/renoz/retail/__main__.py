"""`python -m examples.renoz.retail [FILE] [--path DIR] [--errors FILE] [--json]`: the import by itself."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from examples.renoz.entities import application
from examples.renoz.printing import FOLDER, make_console, print_error
from examples.renoz.retail.importing import Imported, import_retail
from examples.renoz.retail.printing import Bars, as_dict, print_imported
from examples.renoz.retail.sample import retail_file
from freehold import Database, FreeholdError


async def run(file: Path, folder: Path, errors: Path | None, bars: Bars) -> Imported:
    """Imports a file into the database of a folder."""
    async with Database.embedded(folder, application) as database:
        return await import_retail(database, file, errors=errors, progress=bars.advance)


def main(
    file: Annotated[
        Path | None, typer.Argument(help="The file; by default the real one, or a sample of its shape.")
    ] = None,
    path: Annotated[Path, typer.Option("--path", metavar="DIR", help="The server's folder.")] = FOLDER,
    errors: Annotated[
        Path | None, typer.Option("--errors", metavar="FILE", help="Where refused lines are told.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the totals as JSON, and nothing else.")] = False,
) -> None:
    """Import the Online Retail data: an organization for each country."""
    console = make_console(quiet=json_)
    found = file or retail_file(path.parent)[0]
    try:
        with Bars(console) as bars:
            imported = asyncio.run(run(found, path, errors, bars))
    except FreeholdError as error:
        print_error(make_console(stderr=True), error)
        raise typer.Exit(1) from None
    if json_:
        typer.echo(json.dumps(as_dict(imported), indent=2))
    print_imported(console, imported, found)
    if not imported.adds_up:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
