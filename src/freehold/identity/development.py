"""Keys for development: they live in memory only, and only a server that was given them knows them."""

from dataclasses import dataclass

from freehold.identity.credentials import digest, new_key

__all__ = ["DevelopmentKey", "DevelopmentKeys"]


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

    def add(self, organization: str, email: str) -> str:
        """Makes a key for a member.

        Args:
            organization: its slug.
            email: the member's address. The membership is looked up when the key is used.

        Returns:
            The key.
        """
        secret, _ = new_key("fhdev")
        self._keys[digest(secret)] = DevelopmentKey(f"{organization}-{len(self._keys) + 1}", organization, email)
        return secret

    def find(self, secret: str) -> DevelopmentKey | None:
        """On whose behalf a key acts; None for one that is not known."""
        return self._keys.get(digest(secret))
