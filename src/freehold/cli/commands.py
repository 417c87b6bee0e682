"""The commands."""

import asyncio
import os
from collections.abc import Callable
from importlib.metadata import version as installed_version

import typer
from rich.markup import escape

from freehold.cli.call import call
from freehold.cli.counters import counters
from freehold.cli.credentials import invitations, keys
from freehold.cli.dev import dev
from freehold.cli.doctor import doctor
from freehold.cli.loading import load_application
from freehold.cli.log import log
from freehold.cli.manifest import manifest
from freehold.cli.migrate import migrate
from freehold.cli.options import AdministratorUrl, Json, Target, Url
from freehold.cli.organizations import members, organizations
from freehold.cli.output import console, failing, print_json
from freehold.cli.serve import serve
from freehold.cli.server import server
from freehold.cli.transfer import export_, import_
from freehold.cli.users import users
from freehold.database import Database
from freehold.errors import ConfigurationError
from freehold.postgres.connections import Address

__all__ = ["main"]

commands = typer.Typer(
    help="The multi-tenant data layer for Python on PostgreSQL.", no_args_is_help=True, add_completion=False
)

commands.add_typer(log, name="log")
commands.add_typer(migrate, name="migrate")
commands.add_typer(counters, name="counters")
commands.add_typer(manifest, name="manifest")
commands.add_typer(organizations, name="organization")
commands.add_typer(members, name="member")
commands.add_typer(users, name="user")
commands.add_typer(invitations, name="invitation")
commands.add_typer(keys, name="key")
commands.add_typer(server, name="server")
commands.command()(doctor)
commands.command()(call)
commands.command()(serve)
commands.command()(dev)
commands.command("import")(import_)
commands.command("export")(export_)

SEAL = "FREEHOLD_SEAL"
PASSWORD = "FREEHOLD_APPLICATION_PASSWORD"  # noqa: S105  # the variable's name


@commands.command()
def version() -> None:
    """Print Freehold's version."""
    console.print(installed_version("freehold"))


@commands.command()
def schema(target: Target, as_json: Json = False) -> None:
    """Print the SQL that makes the application's schema in an empty database."""
    with failing(as_json=as_json):
        statements = load_application(target).plan().statements()
        if as_json:
            print_json(statements)
        else:
            typer.echo(
                "begin;\n" + "".join(f"{statement.strip().rstrip(';')};\n" for statement in statements) + "commit;"
            )


@commands.command()
def setup(
    target: Target,
    url: AdministratorUrl,
    as_json: Json = False,
) -> None:
    """Create roles and schema in a database.

    The application role's password is read from the variable FREEHOLD_APPLICATION_PASSWORD, or asked for. Contexts are
    sealed with it, or with the secret in FREEHOLD_SEAL; the program must be started with the same.
    """
    with failing(as_json=as_json):
        application = load_application(target)
        password = os.environ.get(PASSWORD) or _asked_password(as_json)
        passwords = {application.roles.application: password}
        secret = os.environ.get(SEAL)
        changed = asyncio.run(application.setup(Address(url=url), passwords, secret=secret, report=_report(as_json)))
        if as_json:
            print_json({"changed": changed, "role": application.roles.application})
        elif changed:
            console.print(f"The schema is there. Connect as [bold]{application.roles.application}[/].")
        else:
            console.print("The schema is there already; nothing was changed.")


def _report(as_json: bool) -> Callable[[str], None]:
    """Prints what takes long, where a person reads."""
    return lambda text: None if as_json else console.print(f"  {escape(text)}", highlight=False)


def _asked_password(as_json: bool) -> str:
    if as_json or not os.isatty(0):
        raise ConfigurationError(
            "there is no password for the application role", hint=f"set {PASSWORD}, or run the command in a terminal"
        )
    return str(typer.prompt("Password of the application role", hide_input=True, confirmation_prompt=True))


@commands.command()
def check(
    target: Target,
    url: Url,
    as_json: Json = False,
) -> None:
    """Check that the application can serve from a database: role, schema, server."""

    async def opened() -> None:
        async with Database.open(url, load_application(target), size=1, secret=os.environ.get(SEAL)):
            pass

    with failing(as_json=as_json):
        asyncio.run(opened())
        if as_json:
            print_json({"ok": True})
        else:
            console.print("Isolation holds for this role, and the schema is there.")


def main() -> None:
    """Runs the command line."""
    commands()
