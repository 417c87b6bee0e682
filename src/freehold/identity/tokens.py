"""JSON Web Tokens (RFC 7519): from an issuer's signed text to what is believed of it.

The order matters. Size and form come first, then the header: which algorithm, and that it asks for nothing that is not
known here. Then the issuer that the token names, whose own keys alone are looked at; then the signature; and only then
is anything that the token claims believed, in which RFC 8725 says what to hold it to. A header that brings a key or an
address of one along (`jwk`, `x5c`, `jku`, `x5u`) is refused.

Verifying costs more than all the rest of a request's authentication, so that what was verified is kept by the digest of
its text, until it expires or its key is gone.
"""

import base64
import binascii
import hashlib
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from freehold.errors import ConfigurationError
from freehold.identity.fetching import UnreadableError, parse_object
from freehold.identity.issuers import ALGORITHMS, ClaimPath, Issuer, paths
from freehold.identity.keysets import KeySet, PublicKey
from freehold.model.permissions import pattern_problem

__all__ = ["LONGEST", "InvalidTokenError", "Token", "TokenVerifier"]

LONGEST = 8_192
"""Characters of a token."""
KEPT = 10_000
"""Verified tokens."""
_TEXT = 400
_FORBIDDEN = ("crit", "jku", "jwk", "x5u", "x5c", "zip", "b64")
_TYPES = ("jwt", "at+jwt", "application/jwt", "application/at+jwt")
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,200}@[^@\s\x00-\x1f]{1,119}")


class InvalidTokenError(Exception):
    """A token is not believed. The reason is for the program's own log, not for who sent it."""


@dataclass(frozen=True, slots=True)
class Token:
    """What is believed of a token.

    Args:
        issuer: whose.
        subject: whom it is about, as the issuer calls it.
        organization: which organization it is for, as the issuer calls it.
        email: the verified address of the subject, in lower case.
        name: the subject's.
        role: as ours are called.
        permissions: to which it is narrowed; None where it does not say.
        issued_at, expires_at: seconds since 1970.
    """

    issuer: Issuer
    subject: str
    organization: str | None
    email: str | None
    name: str | None
    role: str | None
    permissions: frozenset[str] | None
    issued_at: float | None
    expires_at: float


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token with the key that it was verified with."""

    token: Token
    keys: KeySet
    kid: str | None
    algorithm: str
    key: PublicKey


class TokenVerifier:
    """Verifies tokens of the configured issuers.

    Args:
        issuers: all of them.
        now: seconds since 1970.
        key_sets: by issuer, where they are not to be made here.

    Raises:
        ConfigurationError: two of them have one name.
    """

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        now: Callable[[], float] = time.time,
        key_sets: Mapping[str, KeySet] | None = None,
    ) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        if len(self._issuers) != len(issuers):
            raise ConfigurationError("two issuers have the same name", hint="give one Issuer several keys or audiences")
        given = key_sets or {}
        self._key_sets = {issuer.issuer: given.get(issuer.issuer) or KeySet(issuer) for issuer in issuers}
        self._now = now
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    async def verify(self, text: str) -> Token:
        """What is believed of a token.

        Raises:
            InvalidTokenError: nothing is.
            UnavailableError: the issuer's keys cannot be read.
        """
        if len(text) > LONGEST or not text.isascii():
            raise InvalidTokenError("it is too long, or not ASCII")
        digest = hashlib.sha256(text.encode()).digest()
        kept = self._verified.get(digest)
        if kept is not None:
            if kept.keys.holds(kept.kid, kept.algorithm, kept.key):
                self._verified.move_to_end(digest)
                self._check_expiry(kept.token)
                return kept.token
            del self._verified[digest]
        verified = await self._verify(text)
        self._verified[digest] = verified
        if len(self._verified) > KEPT:
            self._verified.popitem(last=False)
        return verified.token

    async def close(self) -> None:
        """Ends what is under way."""
        for keys in self._key_sets.values():
            await keys.close()

    async def _verify(self, text: str) -> _Verified:
        segments = text.split(".")
        if len(segments) != 3:
            raise InvalidTokenError("it has not three parts")
        header, payload = _object(segments[0]), _object(segments[1])
        kid, algorithm = _check_header(header)
        issuer = self._issuers.get(payload["iss"]) if isinstance(payload.get("iss"), str) else None
        if issuer is None or algorithm not in issuer.algorithms:
            raise InvalidTokenError("its issuer is not known, or does not sign so")
        keys = self._key_sets[issuer.issuer]
        key = await keys.find(kid, algorithm)
        if key is None:
            raise InvalidTokenError("its key is not known")
        _check_signature(segments, algorithm, key)
        token = self._believed(issuer, payload)
        return _Verified(token, keys, kid, algorithm, key)

    def _believed(self, issuer: Issuer, claims: Mapping[str, Any]) -> Token:
        leeway = issuer.leeway.total_seconds()
        now = self._now()
        expires = _moment(claims, "exp")
        issued, begins = _moment(claims, "iat"), _moment(claims, "nbf")
        if expires is None:
            raise InvalidTokenError("it never expires")
        if max(issued or 0, begins or 0) > now + leeway:
            raise InvalidTokenError("it is not valid yet")
        _check_audience(issuer, claims)
        token = _token(issuer, claims, issued, expires)
        self._check_expiry(token)
        return token

    def _check_expiry(self, token: Token) -> None:
        if self._now() >= token.expires_at + token.issuer.leeway.total_seconds():
            raise InvalidTokenError("it has expired")


def _object(segment: str) -> dict[str, Any]:
    try:
        return parse_object(_decoded(segment))
    except UnreadableError as error:
        raise InvalidTokenError(str(error)) from None


def _decoded(segment: str) -> bytes:
    """Base64url without padding, in the one form that each value has."""
    if not _SEGMENT.fullmatch(segment):
        raise InvalidTokenError("a part is no base64url")
    try:
        found = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error:
        raise InvalidTokenError("a part is no base64url") from None
    if base64.urlsafe_b64encode(found).rstrip(b"=") != segment.encode():
        raise InvalidTokenError("a part is no canonical base64url")
    return found


def _check_header(header: Mapping[str, Any]) -> tuple[str | None, str]:
    """The key's id and the algorithm."""
    forbidden = [name for name in _FORBIDDEN if name in header]
    if forbidden:
        raise InvalidTokenError(f"its header has {forbidden[0]}")
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if algorithm not in ALGORITHMS:
        raise InvalidTokenError("its algorithm is not accepted")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise InvalidTokenError("it is another kind of token")
    if kid is not None and not (isinstance(kid, str) and 1 <= len(kid) <= 200 and kid.isprintable()):
        raise InvalidTokenError("its kid is none")
    return kid, str(algorithm)


def _check_signature(segments: Sequence[str], algorithm: str, key: PublicKey) -> None:
    signature = _decoded(segments[2])
    # The algorithm is one of three, and the key is one for it: the token has no say in either.
    model = JWSRegistry.algorithms[algorithm]
    try:
        model.check_key(key)
        valid = model.verify(f"{segments[0]}.{segments[1]}".encode(), signature, key)
    except (JoseError, ValueError) as error:
        raise InvalidTokenError("its signature cannot be checked") from error
    if not valid:
        raise InvalidTokenError("its signature is wrong")


def _check_audience(issuer: Issuer, claims: Mapping[str, Any]) -> None:
    audiences = issuer.audiences
    if audiences:
        told = claims.get("aud")
        named = [told] if isinstance(told, str) else told
        if not isinstance(named, list) or not any(isinstance(one, str) and one in audiences for one in named):
            raise InvalidTokenError("it is for another audience")
    if issuer.parties and not (isinstance(claims.get("azp"), str) and claims["azp"] in issuer.parties):
        raise InvalidTokenError("another party obtained it")
    for path, value in issuer.refused.items():
        found = _at(claims, path)
        if type(found) is type(value) and found == value:
            raise InvalidTokenError(f"its {path} is refused")


def _token(issuer: Issuer, claims: Mapping[str, Any], issued: float | None, expires: float) -> Token:
    told = issuer.claims
    subject = _text(claims, told.subject)
    if subject is None:
        raise InvalidTokenError("it has no subject")
    role = _text(claims, told.role)
    if role is not None:
        role = told.roles.get(role, role.removeprefix(told.role_prefix))
    verified = _first(claims, told.email_verified)
    email = _first(claims, told.email) if verified is True or verified == "true" else None
    name = _first(claims, told.name)
    return Token(
        issuer=issuer,
        subject=subject,
        organization=_text(claims, told.organization),
        email=email.lower() if isinstance(email, str) and _EMAIL.fullmatch(email) and _sound(email) else None,
        name=name if isinstance(name, str) and 1 <= len(name) <= 200 and _sound(name) else None,
        role=role,
        permissions=_permissions(_first(claims, told.permissions)),
        issued_at=issued,
        expires_at=expires,
    )


def _permissions(told: Any) -> frozenset[str] | None:
    if told is None:
        return None
    named = told.split() if isinstance(told, str) else told
    if not isinstance(named, list):
        raise InvalidTokenError("its permissions are no list")
    return frozenset(one for one in named if pattern_problem(one) is None)


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    found = claims.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise InvalidTokenError(f"its {name} is no number")
    if not (math.isfinite(found) if isinstance(found, float) else True) or not 0 <= found < 2**53:
        raise InvalidTokenError(f"its {name} is no moment")
    return float(found)


def _text(claims: Mapping[str, Any], path: ClaimPath | None) -> str | None:
    """A claim that must be a text where it is there."""
    found = _first(claims, path)
    if found is None:
        return None
    if not isinstance(found, str) or not 1 <= len(found) <= _TEXT or not _sound(found):
        raise InvalidTokenError(f"its {path} is no text of 1 to {_TEXT} characters")
    return found


def _sound(text: str) -> bool:
    """Whether it can be stored: no NUL, and nothing that UTF-8 cannot hold."""
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _first(claims: Mapping[str, Any], told: ClaimPath | None) -> Any:  # Any: JSON
    for path in paths(told):
        found = _at(claims, path)
        if found is not None:
            return found
    return None


def _at(claims: Mapping[str, Any], path: str) -> Any:  # Any: JSON
    """What is at a path with dots; a claim whose whole name it is comes first, for names that are addresses."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for step in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(step)
    return found
