"""Organizations and their users, each made when a test first names it."""

import re
from collections.abc import Iterable

from freehold.database import Database
from freehold.store.session import Session

__all__ = ["Organizations"]


class Organizations:
    """Makes organizations and users, and gives their sessions.

        acme = await as_organization("acme")
        clerk = await as_organization("acme", user="bob", role="clerk", permissions=["orders.get"])

    Args:
        database: where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(
        self,
        slug: str = "acme",
        *,
        user: str = "ada",
        role: str = "admin",
        permissions: Iterable[str] = (),
        client_ip: str | None = None,
        user_agent: str | None = None,
        request_id: str | None = None,
    ) -> Session:
        """A session of a member of an organization; both are made where they are not there.

        Args:
            slug: of the organization.
            user: the user's e-mail address, or a name, from which an address in the organization is made.
            role: in the organization.
            permissions, client_ip, user_agent, request_id: of the context.

        Raises:
            ValidationError: the slug, the user or the role is not valid.
        """
        email = user if "@" in user else re.sub(r"\W+", ".", user.lower()) + f"@{slug}.example"
        system = self._database.system("tests")
        organization = await system.find_organization(slug)
        if organization is None:
            organization = await system.create_organization(name=slug.replace("-", " ").title(), slug=slug)
        member = await system.find_user(email)
        if member is None:
            name = email.partition("@")[0].replace(".", " ").title()
            member = await system.create_user(email=email, name=name)
        await system.add_member(organization.id, member.id, role=role)
        context = await system.context(
            organization=slug,
            user=email,
            permissions=frozenset(permissions),
            request_id=request_id,
            client_ip=client_ip,
            user_agent=user_agent,
        )
        return self._database.session(context)
