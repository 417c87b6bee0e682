"""The commands about users."""

from typing import Annotated

import typer

from freehold.cli.directory import After, Email, Limit, found_user, perform, tell, tell_list
from freehold.cli.options import Json, Target, Url
from freehold.identity.records import Listing, User
from freehold.identity.system import System

__all__ = ["users"]

users = typer.Typer(help="Users.", no_args_is_help=True)


@users.command("list")
def list_users(target: Target, url: Url, limit: Limit = 100, after: After = None, as_json: Json = False) -> None:
    """List users, in the order in which they were made."""

    async def work(system: System) -> Listing[User]:
        return await system.directory.users(limit=limit, after=after)

    found = perform(target, url, "user list", work, as_json=as_json)
    tell_list("users", found, ("id", "email", "name", "created_at"), as_json=as_json)


@users.command("create")
def create_user(
    target: Target,
    email: Email,
    url: Url,
    name: Annotated[
        str | None, typer.Option("--name", help="The user's name; the part before the @ where it is not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a user, who belongs to no organization yet."""

    async def work(system: System) -> User:
        return await system.create_user(email=email, name=email.partition("@")[0] if name is None else name)

    made = perform(target, url, "user create", work, as_json=as_json)
    tell(made, f"{made.email} is there, with the id {made.id}.", as_json=as_json)


@users.command("remove")
def remove_user(target: Target, email: Email, url: Url, as_json: Json = False) -> None:
    """Remove a user who is no member of any organization."""

    async def work(system: System) -> bool:
        return await system.remove_user((await found_user(system, email)).id)

    removed = perform(target, url, "user remove", work, as_json=as_json)
    tell({"removed": removed}, f"{email} is gone.", as_json=as_json)


@users.command("revoke-tokens")
def revoke_tokens(target: Target, email: Email, url: Url, as_json: Json = False) -> None:
    """Refuse all tokens of a user that were issued until now. API keys are revoked by 'freehold key revoke'."""

    async def work(system: System) -> bool:
        return await system.revoke_tokens((await found_user(system, email)).id)

    revoked = perform(target, url, "user revoke-tokens", work, as_json=as_json)
    tell({"revoked": revoked}, f"Tokens of {email} that were issued until now are refused.", as_json=as_json)
