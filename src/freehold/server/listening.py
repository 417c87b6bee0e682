"""The socket that a server listens on."""

import errno
import socket

from freehold.errors import ConfigurationError

__all__ = ["address_of", "bind", "explained"]


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address. It refuses connections until somebody listens on it.

    Args:
        host: a name or an address.
        port: 0 for any that is free.

    Raises:
        ConfigurationError: the address is taken, not this machine's, or may not be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError, OverflowError) as error:
        raise ConfigurationError(f"{host!r} and port {port} are no address to listen on"[:200]) from error
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise explained(error, host, port) from error
    return bound


def explained(error: OSError, host: str, port: int) -> ConfigurationError:
    """Why an address cannot be listened on."""
    hints = {
        errno.EADDRINUSE: ("is taken by another program", f"stop that one, or choose another port: --port {port + 1}"),
        errno.EACCES: (
            "may not be used by this user",
            "choose a port from 1024 on, and have a proxy listen on the other",
        ),
        errno.EADDRNOTAVAIL: (
            "is no address of this machine",
            "listen on 127.0.0.1, or on 0.0.0.0 for all of its addresses",
        ),
    }
    what, hint = hints.get(error.errno or 0, (error.strerror or "cannot be used", None))
    return ConfigurationError(f"{host}:{port} {what}", hint=hint)


def address_of(bound: socket.socket) -> str:
    """The address as a URL that can be clicked."""
    host, port = bound.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104  # all addresses of the machine, of which this is one
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
