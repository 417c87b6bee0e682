"""Who calls a peer: the bearer's token verified, and the settings that policies and audit triggers look at."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time
from typing import Any
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic_core import to_json

from benchmarks.web.settings import Settings

__all__ = ["CONTEXT", "Caller", "NotAuthenticatedError", "verifier"]

CONTEXT = "select set_config('freehold.organization_id', $1, true), set_config('freehold.context', $2, true)"
KEPT = 10_000
"""Verified tokens that are remembered at most."""


class NotAuthenticatedError(Exception):
    """There is no token, or it is not valid."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified caller; what the token says of membership is believed."""

    organization_id: UUID
    user_id: UUID
    role: str
    seal: bytes

    def settings(self, request_id: str | None, client_ip: str | None, user_agent: str | None) -> tuple[str, str]:
        """The values of the two settings: the tenant, and who acts in which request, sealed as the policies want it."""
        organization = str(self.organization_id)
        told = {
            "user_id": str(self.user_id),
            "role": self.role,
            "request_id": request_id or uuid4().hex,
            "client_ip": client_ip,
            "user_agent": user_agent,
        }
        text = f"{int(time()):010d}{to_json(told).decode()}"
        return organization, hmac.digest(self.seal, (organization + text).encode(), hashlib.sha256).hex() + text


Verify = Callable[[str | None], Caller]


def verifier(settings: Settings) -> Verify:
    """What verifies the header `Authorization`. The key is read once; each call verifies the signature and the claims."""
    key: Any = load_pem_public_key(Path(settings.public_key).read_bytes())
    seal = bytes.fromhex(settings.seal)
    options: Any = {"require": ["exp", "sub", "organization_id"]}

    def verify(authorization: str | None) -> Caller:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise NotAuthenticatedError
        try:
            claims = jwt.decode(
                token, key, [settings.algorithm], options, audience=settings.audience, issuer=settings.issuer
            )
            return Caller(UUID(claims["organization_id"]), UUID(claims["sub"]), claims["role"], seal)
        except (jwt.InvalidTokenError, KeyError, ValueError):
            raise NotAuthenticatedError from None

    return _remembering(verify, settings.keep_tokens) if settings.keep_tokens else verify


def _remembering(verify: Verify, seconds: float) -> Verify:
    """The same, that believes for some seconds what it verified."""
    known: dict[str | None, tuple[float, Caller]] = {}

    def remembered(authorization: str | None) -> Caller:
        found = known.get(authorization)
        now = monotonic()
        if found is not None and now < found[0]:
            return found[1]
        caller = verify(authorization)
        if len(known) >= KEPT:
            known.clear()
        known[authorization] = now + seconds, caller
        return caller

    return remembered
