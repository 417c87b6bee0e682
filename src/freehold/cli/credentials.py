"""The commands about invitations and API keys."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from freehold.cli.directory import (
    After,
    Email,
    Limit,
    OrganizationSlug,
    found_organization,
    found_user,
    perform,
    tell,
    tell_list,
)
from freehold.cli.options import Json, Target, Url
from freehold.errors import NotFoundError
from freehold.identity.credentials import Invitation, Key, MadeInvitation, MadeKey
from freehold.identity.records import Listing, Membership
from freehold.identity.system import System
from freehold.model.moments import jsonable

__all__ = ["invitations", "keys"]

invitations = typer.Typer(help="Invitations to an organization.", no_args_is_help=True)
keys = typer.Typer(help="API keys of an organization.", no_args_is_help=True)

RecordT = TypeVar("RecordT", Key, Invitation)


@invitations.command("create")
def create_invitation(
    target: Target,
    email: Email,
    url: Url,
    organization: OrganizationSlug,
    role: Annotated[str, typer.Option("--role", help="That the member will have.")] = "member",
    days: Annotated[int, typer.Option("--days", min=1, max=90, help="How long it may be accepted.")] = 7,
    as_json: Json = False,
) -> None:
    """Invite whoever has an address. The token is printed this once; send it to the address."""

    async def work(system: System) -> MadeInvitation:
        id = (await found_organization(system, organization)).id
        return await system.invitations.create(id, email=email, role=role, lifetime=timedelta(days=days))

    made = perform(target, url, "invitation create", work, as_json=as_json)
    told = {**jsonable(made.invitation), "token": made.token}
    tell(
        told,
        f"{made.invitation.email} may become {role} of {organization} with this token, shown once:",
        as_json=as_json,
    )
    if not as_json:
        typer.echo(made.token)


@invitations.command("list")
def list_invitations(
    target: Target,
    url: Url,
    organization: OrganizationSlug,
    limit: Limit = 100,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List the invitations of an organization, also those that have ended."""

    async def work(system: System) -> Listing[Invitation]:
        id = (await found_organization(system, organization)).id
        return await system.invitations.list(id, limit=limit, after=after)

    columns = ("id", "email", "role", "expires_at", "accepted_at", "revoked_at")
    found = perform(target, url, "invitation list", work, as_json=as_json)
    tell_list("invitations", found, columns, as_json=as_json)


@invitations.command("revoke")
def revoke_invitation(
    target: Target,
    invitation: Annotated[str, typer.Argument(metavar="INVITATION", help="Its id, or the address that is invited.")],
    url: Url,
    organization: OrganizationSlug,
    as_json: Json = False,
) -> None:
    """End an invitation that was not accepted."""

    async def work(system: System) -> dict[str, Any]:
        id = (await found_organization(system, organization)).id
        found = await _chosen(
            lambda after: system.invitations.list(id, limit=1_000, after=after),
            lambda one: (
                str(one.id) == invitation
                or (one.email == invitation.lower() and not (one.accepted_at or one.revoked_at))
            ),
        )
        if found is None or not await system.invitations.revoke(found.id):
            raise NotFoundError("Invitation", invitation, hint="'freehold invitation list' tells which there are")
        return {"revoked": True, "id": str(found.id)}

    told = perform(target, url, "invitation revoke", work, as_json=as_json)
    tell(told, f"The invitation of {invitation} is revoked.", as_json=as_json)


@invitations.command("accept")
def accept_invitation(
    target: Target,
    token: Annotated[
        str, typer.Argument(metavar="TOKEN", help="As the invitation was made with.", envvar="FREEHOLD_INVITATION")
    ],
    url: Url,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the user, where there is none with the address.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the user with the invited address a member, and make the user first where there is none."""

    async def work(system: System) -> Membership:
        return await system.invitations.accept(token, name=name)

    made = perform(target, url, "invitation accept", work, as_json=as_json)
    tell(made, f"The user {made.user_id} is {made.role} of the organization {made.organization_id}.", as_json=as_json)


@keys.command("create")
def create_key(
    target: Target,
    name: Annotated[str, typer.Argument(metavar="NAME", help="For people: what the key is for.")],
    url: Url,
    organization: OrganizationSlug,
    user: Annotated[
        str | None, typer.Option("--user", help="The member on whose behalf it acts, with the member's role.")
    ] = None,
    role: Annotated[str | None, typer.Option("--role", help="Of a key of the organization itself.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="A permission or pattern that it is narrowed to; may be repeated."),
    ] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, max=3_650, help="After which it is refused.")] = None,
    as_json: Json = False,
) -> None:
    """Make an API key, of a member (--user) or of the organization (--role). It is printed this once."""

    async def work(system: System) -> MadeKey:
        id = (await found_organization(system, organization)).id
        member = None if user is None else (await found_user(system, user)).id
        until = None if days is None else datetime.now(UTC) + timedelta(days=days)
        return await system.keys.create(
            id, name=name, user_id=member, role=role, scopes=scope or None, expires_at=until
        )

    made = perform(target, url, "key create", work, as_json=as_json)
    tell({**jsonable(made.key), "secret": made.secret}, f"The key {name}, shown once:", as_json=as_json)
    if not as_json:
        typer.echo(made.secret)


@keys.command("list")
def list_keys(
    target: Target,
    url: Url,
    organization: OrganizationSlug,
    limit: Limit = 100,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List the keys of an organization, also those that are revoked or have expired."""

    async def work(system: System) -> Listing[Key]:
        id = (await found_organization(system, organization)).id
        return await system.keys.list(id, limit=limit, after=after)

    columns = ("prefix", "name", "user_id", "role", "scopes", "expires_at", "last_used_at", "revoked_at")
    found = perform(target, url, "key list", work, as_json=as_json)
    tell_list("keys", found, columns, as_json=as_json)


@keys.command("revoke")
def revoke_key(
    target: Target,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id, or its first characters: fh_ and eight more.")],
    url: Url,
    organization: OrganizationSlug,
    as_json: Json = False,
) -> None:
    """Refuse a key from now on, within a second on every process."""

    async def work(system: System) -> dict[str, Any]:
        id = (await found_organization(system, organization)).id
        found = await _chosen(
            lambda after: system.keys.list(id, limit=1_000, after=after), lambda one: key in (str(one.id), one.prefix)
        )
        if found is None or not await system.keys.revoke(found.id):
            raise NotFoundError("Key", key, hint="'freehold key list' tells which there are")
        return {"revoked": True, "id": str(found.id)}

    told = perform(target, url, "key revoke", work, as_json=as_json)
    tell(told, f"The key {key} is revoked.", as_json=as_json)


async def _chosen(
    page: Callable[[UUID | None], Awaitable[Listing[RecordT]]], fits: Callable[[RecordT], bool]
) -> RecordT | None:
    """The first record of a list that fits."""
    after = None
    while True:
        found = await page(after)
        for record in found.records:
            if fits(record):
                return record
        if found.next is None:
            return None
        after = found.next
