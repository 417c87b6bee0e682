"""The options that commands share."""

from typing import Annotated

import typer

__all__ = ["AdministratorUrl", "Json", "OwnTarget", "Target", "Url", "Yes"]

Target = Annotated[str, typer.Argument(metavar="APPLICATION", help="Where the application is: package.module:name.")]
OwnTarget = Annotated[
    str | None,
    typer.Argument(
        metavar="APPLICATION",
        help="Where the application is; by default the one of FREEHOLD_APPLICATION or of pyproject.toml.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Url = Annotated[str, typer.Option("--url", help="postgresql:// URL of the application role.", envvar="FREEHOLD_URL")]
AdministratorUrl = Annotated[
    str,
    typer.Option(
        "--url", help="URL of an administrator: superuser, or owner with CREATEROLE.", envvar="FREEHOLD_ADMIN_URL"
    ),
]
