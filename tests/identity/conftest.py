"""Members, credentials and authenticators for the tests of this room."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from freehold import Database, Organization, User
from freehold.identity.authentication import Authenticator
from freehold.identity.issuers import Claims
from freehold.identity.roles import Roles
from freehold.identity.system import System
from freehold.model.context import new_id
from tests.identity.issuing import ISSUER, NOW, issuer

ROLES = Roles({"admin": ["*"], "member": ["customers.*", "*.list"], "guest": ["*.get"]})


@dataclass
class Firm:
    """An organization, a member, and how its issuer calls both."""

    organization: Organization
    user: User
    external: str
    subject: str


class World:
    """What tests of credentials need: firms, a clock, and authenticators, each of which is like a process of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.system: System = database.system("tests of credentials")
        self.now = 0.0
        self.time = NOW
        self.made: list[Authenticator] = []

    async def firm(self, role: str = "admin") -> Firm:
        word = f"f{new_id().hex}"
        organization = await self.system.create_organization(name=word, slug=word)
        user = await self.system.create_user(email=f"ada@{word}.test", name="Ada")
        await self.system.add_member(organization.id, user.id, role=role)
        directory = self.system.directory
        await directory.link_organization(ISSUER, f"org-{word}", organization.id)
        await directory.link_user(ISSUER, f"user-{word}", user.id)
        return Firm(organization, user, f"org-{word}", f"user-{word}")

    def authenticator(self, *, claims: Claims | None = None, trust: Any = None, **options: Any) -> Authenticator:
        told = claims or Claims(organization="org", role="role", permissions="permissions")
        made = Authenticator(
            self.database.system("authentication"),
            roles=options.pop("roles", ROLES),
            issuers=[issuer(claims=told, **(trust or {}))],
            clock=lambda: self.now,
            now=lambda: self.time,
            **options,
        )
        self.made.append(made)
        return made


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    world = World(database)
    yield world
    for made in world.made:
        await made.close()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Which functions system work has called, in order."""
    from freehold.identity.calls import SystemCalls

    called: list[str] = []
    answer = SystemCalls.answer

    async def noted(self: SystemCalls, function: str, *arguments: Any, **options: Any) -> Any:
        called.append(function)
        return await answer(self, function, *arguments, **options)

    monkeypatch.setattr(SystemCalls, "answer", noted)
    return lambda: called
