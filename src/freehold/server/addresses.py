"""Where a request comes from, when proxies stand between."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from freehold.server.settings import Network

__all__ = ["Proxies"]


class Proxies:
    """The proxies whose word counts.

    Args:
        networks: theirs. Without any, nobody's does.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        self.trusts = lru_cache(maxsize=4_096)(self._trusts)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def client(self, peer: str | None, forwarded: str) -> str | None:
        """The client's address.

        The header is read from its end, where the nearest proxy has written. The first address that is none of a proxy's is the
        client's: what stands before it the client may have made up.

        Args:
            peer: who has connected.
            forwarded: the text of `X-Forwarded-For`.
        """
        found = peer
        for part in reversed(forwarded.split(",", 100) if len(forwarded) <= 4_096 else []):
            if found is not None and not self.trusts(found):
                break
            address = _address(part)
            if address is None:
                break
            found = address
        return found

    def _trusts(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return text == "unix"  # a socket of this machine has no address: who may open it, the file's rights say
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address.version == network.version and address in network for network in self._networks)


def _address(part: str) -> str | None:
    """An address as it stands in the header: with spaces, brackets or a port."""
    text = part.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
