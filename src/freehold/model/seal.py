"""The seal on a context: a keyed hash that the program makes and the database checks.

The database believes a context only with its seal, and only the program has the key. So SQL that was slipped into a
statement, or that somebody runs on a connection of the program's, cannot name another organization or another actor: it
would have to know the seal that belongs to it. System work is sealed as well. The key comes from a secret that the set-up
and the program share: the application role's password, unless another is given. Only where it is another does the seal
also hold against somebody who has that password.

A seal holds for a short time, so that one that somebody got to see is worth little. It carries when it was made, by the
database's clock, and the database holds that against the moment at which it received the message. So a message may take as
long as it likes, and whoever sends several seals each: a transaction, the pages of an export, reads of the past.

The hash is HMAC-SHA-256 (RFC 2104) of the organization's id, the time and the context's JSON. The database keeps the two
padded keys of that construction, in a table that the application role cannot read.
"""

import copy
import hashlib
import hmac
import time
from collections.abc import Callable
from functools import lru_cache

from freehold.errors import ConfigurationError
from freehold.model.context import Context

__all__ = ["AHEAD", "LIFETIME", "Seal"]

LIFETIME = 60
"""Seconds for which a seal holds: from its making to the arrival of the message that carries it."""
AHEAD = 10
"""Seconds by which its time may lie after the database's: the clocks' difference is measured, and may have grown since."""

SHORTEST = 8
"""Characters of a secret."""
ROUNDS = 20_000
BLOCK = 64
"""Bytes of a block of SHA-256."""


class Seal:
    """Seals contexts.

    Args:
        secret: what the set-up and the program share.
        now: the database's time, in seconds since 1970.

    Raises:
        ConfigurationError: the secret is missing or shorter than 8 characters.
    """

    def __init__(self, secret: str | None, now: Callable[[], float] = time.time) -> None:
        self._now = now
        if not isinstance(secret, str) or len(secret) < SHORTEST:
            found = "there is none" if secret is None else "this one is shorter"
            raise ConfigurationError(
                f"contexts are sealed with a secret of at least {SHORTEST} characters, and {found}",
                hint="give the application role a longer password and connect with it, or another secret (secret=..., FREEHOLD_SEAL)",
            )
        try:
            self._key = _key(secret)
        except UnicodeEncodeError:
            raise ConfigurationError(
                "the secret that contexts are sealed with is no text",
                hint="give one in UTF-8 (secret=..., FREEHOLD_SEAL)",
            ) from None

    def apply(self, context: Context, setting: str | None = None) -> str:
        """What the database is told: the hash in hex, and behind it what it vouches for, the time first.

        Args:
            context: who asks.
            setting: the JSON to seal; the context's own unless given.
        """
        return self._sealed(str(context.organization_id), context.as_setting if setting is None else setting)

    def prove(self, reason: str) -> str:
        """What the database is told of system work: the hash in hex, and behind it the time and the reason."""
        return self._sealed("", f"system:{reason}")

    @property
    def second(self) -> int:
        """When a seal is made now. Within one second it is the same."""
        return int(self._now())

    def _sealed(self, organization: str, told: str) -> str:
        dated = f"{self.second:010d}{told}"
        return hmac.digest(self._key, f"{organization}{dated}".encode(), "sha256").hex() + dated

    def later(self, seconds: float) -> "Seal":
        """The same key at another time, so many seconds after this one's: to try what the database makes of old seals."""
        other, now = copy.copy(self), self._now
        other._now = lambda: now() + seconds
        return other

    @property
    def cursor_key(self) -> bytes:
        """Signs the cursors of pages: the same for all programs that share the secret."""
        return hmac.digest(self._key, b"freehold.cursor", "sha256")

    @property
    def pads(self) -> tuple[bytes, bytes]:
        """The inner and the outer key, for the database."""
        key = self._key.ljust(BLOCK, b"\0")
        return bytes(byte ^ 0x36 for byte in key), bytes(byte ^ 0x5C for byte in key)


@lru_cache(maxsize=16)
def _key(secret: str) -> bytes:
    """A key from which the secret cannot be read back easily: the database holds what is made of it."""
    return hashlib.pbkdf2_hmac("sha256", secret.encode(), b"freehold.seal", ROUNDS)
