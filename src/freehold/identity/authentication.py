"""From a credential to a principal: who calls, for which organization, and what that permits.

A credential is an API key, a token of an issuer, or (in development only) a development key. What it stands for is looked
up in the database, at most 0.8 seconds ago (see `freehold.identity.lookups`): a revoked key, a removed member, another role
and revoked tokens take effect within a second on every process. A stranger hears the same answer whatever was wrong.
"""

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from pydantic_core import from_json, to_json

from freehold.errors import (
    AuthenticationError,
    ForbiddenError,
    FreeholdError,
    RequestError,
    UnavailableError,
)
from freehold.errors import TimeoutError as StatementTimeoutError
from freehold.identity.credentials import digest, is_key
from freehold.identity.development import DevelopmentKeys
from freehold.identity.issuers import Issuer
from freehold.identity.lookups import FRESH, Lookups
from freehold.identity.principal import Principal
from freehold.identity.roles import Roles
from freehold.identity.system import System
from freehold.identity.tokens import LONGEST, InvalidTokenError, Token, TokenVerifier
from freehold.model.permissions import narrowed

__all__ = ["HEADER", "Authenticator"]

HEADER = "Freehold-Organization"
"""The header by which a user of several organizations chooses one."""
NOTED = 60.0
"""Seconds between two notes that a key was used."""
ADOPTED = 10.0
"""Seconds between two attempts to make what a token tells of."""
REMEMBERED = 10_000
SECONDS = 5.0
"""That a look-up may take."""

logger = logging.getLogger("freehold.identity")

_ROLE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_ORGANIZATION = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
Question = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What the database says of a credential.

    Args:
        organization_id: None where the user is no member of the one that is wanted, or of several.
        slug: of the organization, for keys.
        agreed: whether the token's organization is the header's.
        several: whether there is a choice to make.
        revoked_until: tokens that were issued until then count no longer.
        unnoted: whether it is time to note that a key is in use.
    """

    user_id: UUID | None
    organization_id: UUID | None
    role: str | None
    slug: str | None = None
    key_id: UUID | None = None
    scopes: frozenset[str] | None = None
    expires_at: float | None = None
    unnoted: bool = False
    agreed: bool = True
    several: bool = False
    revoked_until: float | None = None

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Found":
        """From the database's JSON."""
        ids = {name: UUID(told[name]) for name in ("user_id", "organization_id", "key_id") if told.get(name)}
        scopes = None if told.get("scopes") is None else frozenset(told["scopes"])  # none at all permit nothing
        return cls(**{"user_id": None, "organization_id": None, **told, **ids, "scopes": scopes})


@dataclass(slots=True)
class _Adoption:
    """An attempt to make what a token tells of."""

    task: "asyncio.Task[None] | None" = None
    ended_at: float | None = None

    def age(self, now: float) -> float:
        """Seconds since it ended; 0 while it is under way."""
        return 0.0 if self.ended_at is None else now - self.ended_at


class Authenticator:
    """Verifies credentials.

    Args:
        system: of the database: `database.system("authentication")`.
        roles: what roles grant.
        issuers: whose tokens are accepted.
        development: keys for development. Only `freehold dev` and the demo have some.
        clock: seconds from any moment.
        now: seconds since 1970.
        verifier: verifies the tokens, where it is not to be made of the issuers.
    """

    def __init__(
        self,
        system: System,
        *,
        roles: Roles | None = None,
        issuers: Sequence[Issuer] = (),
        development: DevelopmentKeys | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        verifier: TokenVerifier | None = None,
    ) -> None:
        self._calls = system.calls
        self._roles = roles or Roles()
        self._verifier = verifier or TokenVerifier(issuers, now=now)
        self._development = development
        self._clock = clock
        self._now = now
        self._lookups: Lookups[Question, Found] = Lookups(self._load, clock=clock)
        self._noted: OrderedDict[UUID, float] = OrderedDict()
        self._unnoted: set[UUID] = set()
        self._noting: asyncio.Task[None] | None = None
        self._adoptions: OrderedDict[Question, _Adoption] = OrderedDict()

    async def authenticate(self, authorization: str | None, organization: str | None = None) -> Principal:
        """Who calls.

        Args:
            authorization: the header `Authorization` as it came: `"Bearer fh_…"`.
            organization: the header `Freehold-Organization` as it came: a slug, or an id.

        Raises:
            AuthenticationError: there is no credential, or it is not valid.
            ForbiddenError: the caller is no member of the organization, or the credential is for another one.
            RequestError: the caller belongs to several organizations and names none.
            UnavailableError: the database, or the issuer's keys, cannot be reached.
        """
        credential = _bearer(authorization)
        chosen = _chosen(organization)
        if credential.startswith("fhdev_"):
            return await self._by_development_key(credential, chosen)
        if credential.startswith("fh_"):
            return await self._by_key(credential, chosen)
        return await self._by_token(credential, chosen)

    async def close(self) -> None:
        """Ends what is under way behind requests."""
        await self._lookups.close()
        await self._verifier.close()
        adoptions = [adoption.task for adoption in self._adoptions.values() if adoption.task is not None]
        for task in adoptions:
            task.cancel()
        await asyncio.gather(*adoptions, return_exceptions=True)
        if self._noting is not None:
            await asyncio.gather(self._noting, return_exceptions=True)

    async def _by_key(self, credential: str, chosen: str | None) -> Principal:
        if not is_key(credential):
            raise _refused("it does not look like a key")
        found = await self._lookups.get(("key", digest(credential)))
        if found is None or found.organization_id is None or found.role is None:
            raise _refused("the key is unknown, revoked or expired")
        if found.expires_at is not None and self._now() >= found.expires_at:
            raise _refused("the key has expired")
        if chosen is not None and chosen not in (found.slug, str(found.organization_id)):
            raise _contradiction()
        if found.unnoted and found.key_id is not None:
            self._note(found.key_id)
        permissions = _narrowed(self._roles.permissions(found.role), found.scopes)
        name = f"key:{found.key_id}"
        return Principal(found.organization_id, found.user_id, found.role, permissions, name, found.key_id)

    async def _by_development_key(self, credential: str, chosen: str | None) -> Principal:
        key = None if self._development is None else self._development.find(credential)
        if key is None:
            raise _refused("the development key is unknown")
        found = await self._lookups.get(("member", key.organization, key.email.lower()))
        if found is None or found.organization_id is None or found.role is None:
            raise _refused("the development key's user is no member")
        if chosen is not None and chosen not in (found.slug, str(found.organization_id)):
            raise _contradiction()
        permissions = self._roles.permissions(found.role)
        return Principal(found.organization_id, found.user_id, found.role, permissions, f"development:{key.name}")

    async def _by_token(self, credential: str, chosen: str | None) -> Principal:
        try:
            token = await self._verifier.verify(credential)
        except InvalidTokenError as error:
            raise _refused(str(error)) from None
        question = ("subject", token.issuer.issuer, token.subject, token.organization, chosen)
        found = await self._lookups.get(question)
        if (found is None or (found.organization_id is None and not found.several)) and await self._adopted(token):
            found = await self._lookups.ask(question)
        if found is None:
            raise _refused("the subject is no user")
        if found.revoked_until is not None and (token.issued_at is None or token.issued_at <= found.revoked_until):
            raise _refused("the user's tokens were revoked")
        return self._member(token, found)

    def _member(self, token: Token, found: Found) -> Principal:
        if not found.agreed:
            raise _contradiction()
        if found.several:
            raise RequestError(
                f"you belong to several organizations: name one in the header {HEADER}",
                hint=f"{HEADER}: its slug, or its id",
            )
        if found.organization_id is None or found.role is None:
            raise ForbiddenError("you are no member of this organization, or it does not exist")
        permissions = self._roles.permissions(found.role)
        if token.role is not None:
            permissions = _narrowed(permissions, self._roles.permissions(token.role))
        permissions = _narrowed(permissions, token.permissions)
        return Principal(found.organization_id, found.user_id, found.role, permissions, f"user:{found.user_id}")

    async def _load(self, questions: Sequence[Question]) -> list[Found | None]:
        try:
            async with asyncio.timeout(SECONDS):
                told = await self._calls.answer("authenticate", to_json(questions).decode())
        except (TimeoutError, StatementTimeoutError) as error:
            raise UnavailableError("the database does not answer who this is", hint="retry later") from error
        return [None if one is None else Found.of(one) for one in from_json(told)]

    async def _adopted(self, token: Token) -> bool:
        """Whether something may just have been made of a token that the database did not know: by this call or by another."""
        issuer = token.issuer
        if not (issuer.provision or (issuer.link_by_email and token.email)):
            return False
        question = (issuer.issuer, token.subject, token.organization, token.email)
        tried = self._adoptions.get(question)
        if tried is None or tried.age(self._clock()) > ADOPTED:
            tried = self._adoptions[question] = _Adoption()
            tried.task = asyncio.get_running_loop().create_task(self._adopt(token, tried))
            if len(self._adoptions) > REMEMBERED:
                self._adoptions.popitem(last=False)
        if tried.age(self._clock()) > FRESH or tried.task is None:
            return False  # what came of it is in the look-ups by now
        await asyncio.shield(tried.task)
        return True  # even where it has made nothing: somebody else may have been first

    async def _adopt(self, token: Token, adoption: "_Adoption") -> None:
        told = {
            "issuer": token.issuer.issuer,
            "subject": token.subject,
            "organization": token.organization,
            "email": token.email,
            "name": token.name,
            "role": token.role if token.role is None or _ROLE.fullmatch(token.role) else None,
            "issued_at": token.issued_at,
        }
        issuer = token.issuer
        try:
            await self._calls.answer(
                "adopt", to_json(told).decode(), issuer.link_by_email, issuer.provision, timeout=SECONDS
            )
        except FreeholdError as error:
            logger.warning("a token's user cannot be made: %s", error.code)
        finally:
            adoption.ended_at = self._clock()

    def _note(self, key_id: UUID) -> None:
        """Has it noted that a key is in use, behind the request."""
        noted = self._noted.get(key_id)
        if noted is not None and self._clock() - noted < NOTED:
            return
        self._noted[key_id] = self._clock()
        if len(self._noted) > REMEMBERED:
            self._noted.popitem(last=False)
        self._unnoted.add(key_id)
        if self._noting is None or self._noting.done():
            self._noting = asyncio.get_running_loop().create_task(self._write_notes())

    async def _write_notes(self) -> None:
        while self._unnoted:
            used, self._unnoted = list(self._unnoted)[:REMEMBERED], set()
            try:
                await self._calls.answer("note_keys", used, timeout=SECONDS)
            except FreeholdError as error:
                logger.warning("when keys were last used cannot be noted: %s", error.code)


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise _refused("there is none")
    scheme, _, credential = authorization.strip().partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential or len(credential) > LONGEST or not credential.isascii():
        raise _refused("it is no bearer credential, or too long, or not ASCII")
    return credential


def _chosen(organization: str | None) -> str | None:
    if organization is None:
        return None
    chosen = organization.strip().lower() if len(organization) <= 100 else ""
    if not _ORGANIZATION.fullmatch(chosen):
        raise ForbiddenError("you are no member of this organization, or it does not exist")
    return chosen


def _refused(reason: str) -> AuthenticationError:
    logger.debug("a credential was refused: %s", reason)
    return AuthenticationError(
        "there is no valid credential", hint="send the header Authorization: Bearer, with an API key or a token"
    )


def _contradiction() -> ForbiddenError:
    return ForbiddenError(
        f"the credential is for another organization than the header {HEADER} names", hint="leave the header out"
    )


@lru_cache(maxsize=4_096)
def _narrowed(granted: frozenset[str], scopes: frozenset[str] | None) -> frozenset[str]:
    return granted if scopes is None else narrowed(granted, scopes)
