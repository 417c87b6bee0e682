"""The command that calls a function as somebody, through the same stages as the server."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from freehold.app import Application
from freehold.cli.loading import VARIABLE, default_application, load_application
from freehold.cli.options import Json, Url
from freehold.cli.output import failing
from freehold.cli.results import print_result
from freehold.database import Database
from freehold.errors import ConfigurationError, FreeholdError, InternalError, ValidationError
from freehold.functions.arguments import Arguments
from freehold.functions.declaration import Function
from freehold.functions.pipeline import Call
from freehold.identity.principal import Origin, Principal

__all__ = ["call"]

AGENT = "freehold call"


def call(
    name: Annotated[str, typer.Argument(metavar="FUNCTION", help="The function's name, such as customers.list.")],
    url: Url,
    values: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Its arguments.", show_default=False)
    ] = None,
    application: Annotated[
        str | None,
        typer.Option(
            "--application",
            metavar="MODULE:NAME",
            help="Where the application is; by default the one of pyproject.toml.",
            envvar=VARIABLE,
        ),
    ] = None,
    organization: Annotated[
        str | None, typer.Option("--organization", help="The organization's slug.", envvar="FREEHOLD_ORGANIZATION")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", help="The member who calls: an e-mail address.", envvar="FREEHOLD_USER")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="An API key; it counts more than a user.", envvar="FREEHOLD_KEY")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", metavar="CONDITION", help="status=active, total.gte=100, or a filter in JSON; may be repeated."
        ),
    ] = None,
    order: Annotated[
        str | None, typer.Option("--order", help="Fields to sort by, with commas; - before one to descend.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="How many records at most.")] = None,
    include: Annotated[str | None, typer.Option("--include", help="Relations that come along, with commas.")] = None,
    select: Annotated[str | None, typer.Option("--select", help="Only these fields, with commas.")] = None,
    arguments: Annotated[
        str | None,
        typer.Option(
            "--arguments",
            metavar="JSON",
            help="All arguments as a JSON object; @FILE to read one, - for standard input.",
        ),
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="A repeated call with it is not done again.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Call a function of the application as a member or with an API key.

    The call goes through the same stages as one over HTTP: limits aside, its arguments are checked, its permission is asked for, and
    the log tells who did it.
    """
    options = {"order": order, "limit": limit, "include": include, "select": select}
    with failing(as_json=as_json):
        found = load_application(application or default_application())
        function = found.functions[name]
        given = _arguments(values, where, options, arguments)
        caller = _Caller(organization, user, key)
        try:
            asyncio.run(_called(found, function, url, caller, given, idempotency_key, as_json=as_json))
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


class _Caller:
    """Who calls, as the command line names them."""

    def __init__(self, organization: str | None, user: str | None, key: str | None) -> None:
        self._organization = organization
        self._user = user
        self._key = key

    async def principal(self, database: Database, function: Function) -> Principal | None:
        """The caller; None for nobody, who may call what is public.

        Raises:
            ConfigurationError: nobody is named.
            AuthenticationError, ForbiddenError: the key is not valid, or not for this organization.
            NotFoundError: there is no such organization, user or membership.
        """
        if function.public:
            return None
        if self._key is not None:
            authenticator = database.authenticator()
            try:
                return await authenticator.authenticate(f"Bearer {self._key}", self._organization)
            finally:
                await authenticator.close()
        if self._organization is None or self._user is None:
            raise ConfigurationError(
                f"{function.name} is called by somebody", hint="give --organization and --user, or --key"
            )
        system = database.system(reason=AGENT)
        context = await system.context(organization=self._organization, user=self._user)
        permissions = database.application.grants.permissions(context.role)
        return Principal(context.organization_id, context.user_id, context.role, permissions, f"user:{context.user_id}")


async def _called(
    application: Application,
    function: Function,
    url: str,
    caller: _Caller,
    arguments: Arguments,
    key: str | None,
    *,
    as_json: bool,
) -> None:
    async with Database.open(url, application, size=2, secret=os.environ.get("FREEHOLD_SEAL")) as database:
        principal = await caller.principal(database, function)
        made = Call(function, arguments, principal, Origin(user_agent=AGENT), key)
        try:
            answer = await database.pipeline().run(made)
            if answer.stream is None:
                print_result(answer, as_json=as_json)
                return
            async for item in answer.stream:
                sys.stdout.write(item.decode() + "\n")
                sys.stdout.flush()
        except FreeholdError:
            raise
        except Exception as error:  # the function's own, told in one line
            raise InternalError(f"{function.name} raised {type(error).__name__}: {error}"[:500]) from error


def _arguments(
    values: Sequence[str] | None, where: Sequence[str] | None, options: dict[str, Any], given: str | None
) -> Arguments:
    """What is given on the command line: all in JSON, or as texts by name."""
    texts: dict[str, list[str]] = {}
    for text in values or ():
        name, value = _pair(text, "an argument")
        texts.setdefault(name, []).append(value)
    for text in where or ():
        if text.lstrip().startswith("{"):
            texts.setdefault("where", []).append(text)
        else:
            name, value = _pair(text, "--where")
            texts.setdefault(f"where.{name}", []).append(value)
    for name, value in options.items():
        if value is not None:
            texts.setdefault(name, []).append(str(value))
    if given is None:
        return Arguments.of_texts(texts)
    if texts:
        raise ConfigurationError(
            "--arguments has all arguments, and there are others beside it", hint="write them all in the JSON"
        )
    return Arguments.of_json(_read(given) or b"{}")


def _read(given: str) -> bytes:
    if given == "-":
        return sys.stdin.buffer.read()
    if not given.startswith("@"):
        return given.encode()
    try:
        return Path(given[1:]).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{given[1:]!r:.200} cannot be read: {error.strerror}") from None


def _pair(text: str, what: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValidationError.single((what,), f"must be NAME=VALUE, not {text!r:.80}", "option", subject=AGENT)
    return name, value
