"""The public keys of an issuer: read, kept, and read again while those that are known go on serving.

Authority: what the issuer publishes. A key counts while the set that was read last has it; where the issuer cannot be
reached, the last set goes on to count for a day, and then nothing does.

When it is read: at the first token; behind the requests once half of the interval has passed; and where a token names a
key that is not known, which strangers can do at will, so that it happens once in ten seconds at most. There is one read
at a time. A request waits for a read only where it knows no key to verify with, and then only so long.
"""

import asyncio
import base64
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from freehold.errors import ConfigurationError, UnavailableError
from freehold.identity.fetching import LARGEST, UnreadableError, fetch, parse_object
from freehold.identity.issuers import Issuer

__all__ = ["KeySet", "PublicKey"]

logger = logging.getLogger("freehold.identity")

KEPT = 86_400.0
"""Seconds that a set counts which cannot be read again."""
COOLDOWN = 10.0
"""Seconds between two reads for keys that are not known."""
PAUSE = 5.0
"""Seconds after a read that failed."""
PATIENCE = 5.0
"""Seconds that a request waits for a read."""
MOST_KEYS = 100
SHORTEST = 2_048
"""Bits of an RSA key (NIST SP 800-131A)."""

PublicKey = RSAKey | ECKey | OKPKey


class KeySet:
    """The keys of one issuer.

    Args:
        issuer: whose.
        clock: seconds from any moment.
        read: reads the set, as a JSON object's members.
    """

    def __init__(
        self,
        issuer: Issuer,
        *,
        clock: Callable[[], float] = time.monotonic,
        read: Callable[[], Awaitable[Mapping[str, Any]]] | None = None,
    ) -> None:
        self._issuer = issuer
        self._clock = clock
        self._read = read or (lambda: _read(issuer.jwks))
        self._keys: Mapping[tuple[str, str], PublicKey] = MappingProxyType({})
        self._told: dict[str, tuple[Any, PublicKey]] = {}
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._failed = False
        self._reading: asyncio.Task[None] | None = None
        if isinstance(issuer.jwks, Mapping):
            self._take(dict(issuer.jwks))
            self._read_at = clock()
            if not self._keys:
                raise ConfigurationError(
                    f"{issuer.issuer}: none of its keys can verify {', '.join(issuer.algorithms)}",
                    hint="give public keys of kty RSA (2048 bits or more), EC (P-256) or OKP (Ed25519)",
                )

    async def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """The key that a token names; where it names none, the only one for its algorithm.

        Raises:
            UnavailableError: no key is known, and they cannot be read.
        """
        self.touch()
        if self._read_at is None or self._expired:
            await self._wait()
        found = self._known(kid, algorithm)
        if found is None and self._may_look_again:
            await self._wait()
            found = self._known(kid, algorithm)
        return found

    def holds(self, kid: str | None, algorithm: str, key: PublicKey) -> bool:
        """Whether a key with which something was verified still counts. It does not wait."""
        self.touch()
        return not self._expired and self._known(kid, algorithm) is key

    def touch(self) -> None:
        """Has the keys read again behind the requests, where it is time to."""
        if self._read_at is None or isinstance(self._issuer.jwks, Mapping):
            return
        if self._clock() - self._read_at > self._issuer.refresh.total_seconds() / 2 and self._rested(PAUSE):
            self._start()

    async def close(self) -> None:
        """Ends a read that is under way."""
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    @property
    def _expired(self) -> bool:
        if isinstance(self._issuer.jwks, Mapping):
            return False
        return self._read_at is not None and self._clock() - self._read_at > KEPT

    @property
    def _may_look_again(self) -> bool:
        if isinstance(self._issuer.jwks, Mapping):
            return False
        return self._rested(COOLDOWN) or (self._reading is not None and not self._reading.done())

    def _rested(self, seconds: float) -> bool:
        return self._tried_at is None or self._clock() - self._tried_at >= seconds

    def _known(self, kid: str | None, algorithm: str) -> PublicKey | None:
        if kid is not None:
            return self._keys.get((kid, algorithm))
        fitting = {id(key): key for (_, of), key in self._keys.items() if of == algorithm}
        return next(iter(fitting.values())) if len(fitting) == 1 else None

    def _start(self) -> "asyncio.Task[None]":
        if self._reading is None or self._reading.done():
            self._tried_at = self._clock()
            self._reading = asyncio.get_running_loop().create_task(self._refresh())
        return self._reading

    async def _wait(self) -> None:
        under_way = self._reading is not None and not self._reading.done()
        if under_way or not self._failed or self._rested(PAUSE):
            await asyncio.wait([self._start()], timeout=PATIENCE)
        if self._read_at is None or self._expired:
            raise UnavailableError(
                "tokens cannot be verified for now: their issuer's keys cannot be read", hint="retry in some seconds"
            )

    async def _refresh(self) -> None:
        self._failed = True  # until it has succeeded
        try:
            self._take(await self._read())
        except UnreadableError as error:
            logger.warning("the keys of %s cannot be read: %s", self._issuer.issuer, error)
        else:
            self._failed = False
            self._read_at = self._clock()

    def _take(self, found: Mapping[str, Any]) -> None:
        told = found.get("keys")
        if not isinstance(told, list):
            raise UnreadableError("it is no JSON Web Key Set")
        keys: dict[tuple[str, str], PublicKey] = {}
        kept: dict[str, tuple[Any, PublicKey]] = {}
        for number, jwk in enumerate(told[:MOST_KEYS]):
            algorithm = _algorithm(jwk)
            if algorithm is None or algorithm not in self._issuer.algorithms:
                continue
            kid = jwk.get("kid")
            name = kid if isinstance(kid, str) else f"\x00{number}"  # no token can name it
            known = self._told.get(name)
            key = known[1] if known is not None and known[0] == jwk else _imported(jwk)
            if key is not None and (name, algorithm) not in keys:
                keys[name, algorithm] = key
                kept[name] = (jwk, key)
        self._keys, self._told = MappingProxyType(keys), kept


async def _read(where: Any) -> dict[str, Any]:
    if isinstance(where, Path):
        return await asyncio.to_thread(_read_file, where)
    return await fetch(where)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return parse_object(file.read(LARGEST + 1))
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from error


def _algorithm(jwk: Any) -> str | None:
    """What a key verifies; None for one that verifies nothing here."""
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or "d" in jwk:
        return None
    operations = jwk.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return None
    found = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}.get(
        (str(jwk.get("kty")), None if jwk.get("kty") == "RSA" else str(jwk.get("crv")))
    )
    return found if jwk.get("alg", found) in (found, "Ed25519" if found == "EdDSA" else found) else None


def _imported(jwk: dict[str, Any]) -> PublicKey | None:
    """A key as the library has it; None for one that is broken, or too short to hold."""
    public = {name: value for name, value in jwk.items() if name in ("kty", "crv", "x", "y", "n", "e")}
    if not all(isinstance(value, str) and len(value) < 2_000 for value in public.values()):
        return None
    try:
        if jwk["kty"] == "RSA":
            modulus = base64.urlsafe_b64decode(jwk["n"] + "==")
            return RSAKey.import_key(public) if int.from_bytes(modulus).bit_length() >= SHORTEST else None
        return ECKey.import_key(public) if jwk["kty"] == "EC" else OKPKey.import_key(public)
    except (JoseError, UnsupportedAlgorithm, ValueError, KeyError):
        return None
