"""Keys for development: they live in memory only, and only a server that was given them knows them."""

from dataclasses import dataclass

from freehold.errors import ConfigurationError
from freehold.identity.credentials import digest, new_key

__all__ = ["DevelopmentKey", "DevelopmentKeys"]

LEAST = 30
"""Characters of a key that is given."""


@dataclass(frozen=True, slots=True)
class DevelopmentKey:
    """On whose behalf a development key acts.

    Args:
        name: tells it from others, in logs.
        organization: the organization's slug.
        email: the member's address.
    """

    name: str
    organization: str
    email: str


class DevelopmentKeys:
    """The development keys of one program. They begin with `fhdev_`, and end with the program."""

    def __init__(self) -> None:
        self._keys: dict[str, DevelopmentKey] = {}

    def add(self, organization: str, email: str, *, secret: str | None = None) -> str:
        """Makes a key for a member.

        Args:
            organization: its slug.
            email: the member's address. The membership is looked up when the key is used.
            secret: the key, where it should be the same each time; it begins with `fhdev_`, and is kept where nobody else reads it.

        Returns:
            The key.
        """
        if secret is None:
            secret, _ = new_key("fhdev")
        elif not secret.startswith("fhdev_") or len(secret) < LEAST:
            raise ConfigurationError(f"a development key begins with fhdev_ and has at least {LEAST} characters")
        self._keys[digest(secret)] = DevelopmentKey(f"{organization}-{len(self._keys) + 1}", organization, email)
        return secret

    def find(self, secret: str) -> DevelopmentKey | None:
        """On whose behalf a key acts; None for one that is not known."""
        return self._keys.get(digest(secret))
