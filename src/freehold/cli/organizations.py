"""The commands about organizations and their members."""

from typing import Annotated, Any

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
from freehold.identity.records import Listing, Member, Membership, Organization
from freehold.identity.system import System

__all__ = ["members", "organizations"]

Slug = Annotated[str, typer.Argument(metavar="SLUG", help="The organization's name in addresses.")]
Role = Annotated[str, typer.Option("--role", help="What the member may do.")]

organizations = typer.Typer(help="Organizations.", no_args_is_help=True)
members = typer.Typer(help="Members of an organization.", no_args_is_help=True)


@organizations.command("list")
def list_organizations(
    target: Target, url: Url, limit: Limit = 100, after: After = None, as_json: Json = False
) -> None:
    """List organizations, in the order in which they were made."""

    async def work(system: System) -> Listing[Organization]:
        return await system.directory.organizations(limit=limit, after=after)

    found = perform(target, url, "organization list", work, as_json=as_json)
    tell_list("organizations", found, ("id", "slug", "name", "created_at"), as_json=as_json)


@organizations.command("create")
def create_organization(
    target: Target,
    slug: Slug,
    url: Url,
    name: Annotated[str | None, typer.Option("--name", help="For people; the slug where it is not given.")] = None,
    as_json: Json = False,
) -> None:
    """Make an organization."""

    async def work(system: System) -> Organization:
        return await system.create_organization(name=slug if name is None else name, slug=slug)

    made = perform(target, url, "organization create", work, as_json=as_json)
    tell(made, f"{made.slug} is there, with the id {made.id}.", as_json=as_json)


@organizations.command("rename")
def rename_organization(
    target: Target,
    slug: Slug,
    url: Url,
    name: Annotated[str | None, typer.Option("--name", help="The new name.")] = None,
    new_slug: Annotated[str | None, typer.Option("--slug", help="The new slug.")] = None,
    as_json: Json = False,
) -> None:
    """Give an organization another name or slug. Addresses with the old slug lead nowhere then."""

    async def work(system: System) -> Organization:
        organization = await found_organization(system, slug)
        return await system.directory.rename_organization(organization.id, name=name, slug=new_slug)

    made = perform(target, url, "organization rename", work, as_json=as_json)
    tell(made, f"{slug} is {made.slug}, {made.name}.", as_json=as_json)


@organizations.command("remove")
def remove_organization(target: Target, slug: Slug, url: Url, as_json: Json = False) -> None:
    """Remove an organization that has no records any more, with its memberships and keys."""

    async def work(system: System) -> bool:
        return await system.remove_organization((await found_organization(system, slug)).id)

    removed = perform(target, url, "organization remove", work, as_json=as_json)
    tell({"removed": removed}, f"{slug} is gone.", as_json=as_json)


@members.command("list")
def list_members(
    target: Target,
    url: Url,
    organization: OrganizationSlug,
    limit: Limit = 100,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List the members of an organization."""

    async def work(system: System) -> Listing[Member]:
        found = await found_organization(system, organization)
        return await system.directory.members(found.id, limit=limit, after=after)

    found = perform(target, url, "member list", work, as_json=as_json)
    tell_list("members", found, ("user_id", "email", "name", "role", "created_at"), as_json=as_json)


@members.command("add")
def add_member(
    target: Target, email: Email, url: Url, organization: OrganizationSlug, role: Role = "member", as_json: Json = False
) -> None:
    """Make a user a member, or give a member another role."""

    async def work(system: System) -> Membership:
        found, user = await found_organization(system, organization), await found_user(system, email)
        return await system.add_member(found.id, user.id, role=role)

    made = perform(target, url, "member add", work, as_json=as_json)
    tell(made, f"{email} is {made.role} of {organization}.", as_json=as_json)


@members.command("remove")
def remove_member(
    target: Target, email: Email, url: Url, organization: OrganizationSlug, as_json: Json = False
) -> None:
    """End a membership, and with it the user's keys there. It takes effect within a second."""

    async def work(system: System) -> dict[str, Any]:
        found, user = await found_organization(system, organization), await found_user(system, email)
        if not await system.remove_member(found.id, user.id):
            raise NotFoundError("Member", email, hint="'freehold member list' tells which there are")
        return {"removed": True}

    told = perform(target, url, "member remove", work, as_json=as_json)
    tell(told, f"{email} is no member of {organization} any more.", as_json=as_json)
