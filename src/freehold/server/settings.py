"""How a server behaves. Everything has a default that is safe on the open network."""

import ipaddress
import re
from dataclasses import dataclass, field, fields
from typing import Literal

from freehold.errors import ConfigurationError
from freehold.functions.limits import Limits

__all__ = ["Cors", "Network", "Settings"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?")
_TOKEN = re.compile(r"[!-~]{20,500}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}")

USUAL_LIMITS = Limits()


@dataclass(frozen=True)
class Cors:
    """Which web pages of other origins a browser lets call.

    Args:
        origins: such as `https://app.example.com`, without a path; or `*` alone for all of them.
        headers: that pages may send besides those that Freehold reads itself.
        credentials: whether browsers send cookies along. Freehold needs none; not together with `*`.
        max_age: seconds for which a browser keeps the answer to its question, at most 86,400.
    """

    origins: tuple[str, ...]
    headers: tuple[str, ...] = ()
    credentials: bool = False
    max_age: int = 600

    def __post_init__(self) -> None:
        object.__setattr__(self, "origins", _texts("cors.origins", self.origins))
        object.__setattr__(self, "headers", _texts("cors.headers", self.headers))
        if self.origins != ("*",):
            for origin in self.origins:
                if not _ORIGIN.fullmatch(origin):
                    raise _wrong("cors.origins", origin, "an origin such as 'https://app.example.com', or '*' alone")
        elif self.credentials:
            raise _wrong("cors.credentials", True, "False where every origin may call; name the origins")
        for header in self.headers:
            if not _HEADER.fullmatch(header):
                raise _wrong("cors.headers", header, "a header's name")
        _check_number("cors.max_age", self.max_age, 0, 86_400, whole=True)


@dataclass(frozen=True)
class Settings:
    """How a server behaves.

    Args:
        development: readable logs, `Server-Timing`. Never where strangers can call.
        cors: which web pages of other origins may call; None for none.
        body_limit: bytes of a request's body; more is refused with 413.
        import_limit: bytes of a file that is imported.
        header_limit: bytes of a request's headers together; more is refused with 431.
        header_count: headers of a request.
        header_timeout: seconds in which a request's headers must have come, then the connection is closed.
        body_timeout: seconds in which a body must have come, and one more for every `body_rate` bytes of it that are there;
            then 408.
        body_rate: bytes a second that a long body must keep up.
        request_timeout: seconds until an answer must have begun, not counting the wait for the body; then 504.
        write_timeout: seconds that a client may leave a stream unread, then the connection is closed.
        keep_alive: seconds for which a connection without a request stays open. Longer than those of the load balancer in front, which
            else sends a request into a connection that is just being closed.
        concurrency: requests that one process works on at once; more are refused with 503.
        compression: bytes from which on answers are compressed for clients that say they can read it; None for never.
        compression_level: of zlib, 1 (fast) to 9 (small).
        docs: whether `/api/openapi.json` and `/api/docs` are served. They tell strangers what there is to call.
        metrics: whether `/metrics` is served: True to everybody, or addresses and networks to whom it is. To others it is not there.
        metrics_token: a secret with which `/metrics` is served from everywhere: `Authorization: Bearer <token>`. At least 20 characters.
        tracing: whether spans go to OpenTelemetry, which the extra `opentelemetry` brings.
        trusted_proxies: addresses and networks of proxies, whose `X-Forwarded-For` and `X-Forwarded-Proto` count.
        announce_seconds: how long `/readyz` says 503 and requests are served on, before a server that was asked to stop accepts no
            more connections. As long as a load balancer needs to notice.
        drain_seconds: how long requests that run when it stops may go on, then they are cancelled.
        batch_size: calls of one batch.
        limits: how often callers may call, and how organizations share the server; None for no limits.
        hsts_seconds: how long browsers are told to use https only, where a request came by https; 0 for nothing.
        access_log: whether each request is logged.
        log_format: `"json"` or `"text"`; None is text in development and else JSON.
        log_addresses: whether logs have the client's address, which is personal data.

    Raises:
        ConfigurationError: one of them is wrong; the message names it.
    """

    development: bool = False
    cors: Cors | None = None
    body_limit: int = 1_000_000
    import_limit: int = 100_000_000
    header_limit: int = 32_768
    header_count: int = 100
    header_timeout: float = 10.0
    body_timeout: float = 10.0
    body_rate: int = 10_000
    request_timeout: float = 30.0
    write_timeout: float = 30.0
    keep_alive: float = 75.0
    concurrency: int = 1_000
    compression: int | None = 1_024
    compression_level: int = 4
    docs: bool = False
    metrics: bool | tuple[str, ...] = False
    metrics_token: str | None = field(default=None, repr=False)
    tracing: bool = False
    trusted_proxies: tuple[str, ...] = ()
    announce_seconds: float = 0.0
    drain_seconds: float = 30.0
    batch_size: int = 50
    limits: Limits | None = USUAL_LIMITS
    hsts_seconds: int = 31_536_000
    access_log: bool = True
    log_format: Literal["json", "text"] | None = None
    log_addresses: bool = False

    def __post_init__(self) -> None:
        for name, (least, most, whole) in _BOUNDS.items():
            value = getattr(self, name)
            if not (name == "compression" and value is None):
                _check_number(name, value, least, most, whole=whole)
        for each in fields(self):
            if each.type in (bool, "bool") and not isinstance(getattr(self, each.name), bool):
                raise _wrong(each.name, getattr(self, each.name), "True or False")
        if self.cors is not None and not isinstance(self.cors, Cors):
            raise _wrong("cors", self.cors, "Cors(origins=[...]) or None")
        if self.limits is not None and not isinstance(self.limits, Limits):
            raise _wrong("limits", self.limits, "Limits(...) or None")
        if self.log_format not in (None, "json", "text"):
            raise _wrong("log_format", self.log_format, "'json', 'text' or None")
        object.__setattr__(self, "trusted_proxies", _texts("trusted_proxies", self.trusted_proxies))
        self.networks()
        if not isinstance(self.metrics, bool):
            object.__setattr__(self, "metrics", _texts("metrics", self.metrics))
        self.metrics_networks()
        token = self.metrics_token
        if token is not None and not (isinstance(token, str) and _TOKEN.fullmatch(token)):
            raise ConfigurationError(
                "settings: metrics_token must be 20 to 500 letters, digits and signs, without spaces"
            )

    def networks(self) -> tuple[Network, ...]:
        """The trusted proxies as networks."""
        return _networks("trusted_proxies", self.trusted_proxies)

    def metrics_networks(self) -> tuple[Network, ...]:
        """The networks to which `/metrics` is served."""
        return () if isinstance(self.metrics, bool) else _networks("metrics", self.metrics)

    @property
    def logs_json(self) -> bool:
        """Whether logs are lines of JSON."""
        return self.log_format == "json" or (self.log_format is None and not self.development)


def _networks(name: str, texts: tuple[str, ...]) -> tuple[Network, ...]:
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            raise _wrong(name, text, "an address or a network such as '10.0.0.0/8'") from None
    return tuple(found)


_DAY = 86_400.0
_BOUNDS: dict[str, tuple[float, float, bool]] = {
    "body_limit": (1, 2**40, True),
    "import_limit": (1, 2**40, True),
    "header_limit": (1_024, 2**24, True),
    "header_count": (10, 10_000, True),
    "header_timeout": (0.01, 3_600, False),
    "body_timeout": (0.01, _DAY, False),
    "body_rate": (1, 2**40, True),
    "request_timeout": (0.01, _DAY, False),
    "write_timeout": (0.01, _DAY, False),
    "keep_alive": (0.01, 3_600, False),
    "concurrency": (1, 1_000_000, True),
    "compression": (0, 2**40, True),
    "compression_level": (1, 9, True),
    "announce_seconds": (0, 3_600, False),
    "drain_seconds": (0, 3_600, False),
    "batch_size": (1, 1_000, True),
    "hsts_seconds": (0, 10 * 31_536_000, True),
}
"""The least and the most of each number, and whether it is whole."""


def _check_number(name: str, value: object, least: float, most: float, *, whole: bool) -> None:
    right = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, right) or not least <= value <= most:
        kind = "a whole number" if whole else "a number"
        raise _wrong(name, value, f"{kind} from {least:,g} to {most:,g}")


def _texts(name: str, value: object) -> tuple[str, ...]:
    if (
        isinstance(value, str)
        or not isinstance(value, list | tuple)
        or not all(isinstance(each, str) for each in value)
    ):
        raise _wrong(name, value, "a list of texts")
    return tuple(value)


def _wrong(name: str, value: object, wanted: str) -> ConfigurationError:
    return ConfigurationError(f"settings: {name} must be {wanted}, not {value!r}"[:300])
