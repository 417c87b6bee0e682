"""One request and its answer, as all that surrounds the API sees them.

It is in the ASGI scope at `scope["state"]["exchange"]`. What handles the request reads from it who calls from where. What it
finds out it writes into the scope's state, for logs and metrics: `principal`, the verified caller; `function`, the name of
what was called; `timings`, seconds by stage.
"""

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from starlette.types import Message, Receive

from freehold.errors import RequestError
from freehold.identity.principal import Origin, Principal

__all__ = ["BROKEN", "Exchange", "exchange_of"]

BROKEN = "broken"
"""In the scope's state: what was found wrong with the request after its head (`freehold.server.protocol`)."""


_NO_TIMES: Mapping[str, float] = {}


class Exchange:
    """One request and its answer.

    Attributes:
        method, path: of the request; the path is without the prefix under which the server is mounted.
        headers: of the request, names in lower case; of repeated ones the last.
        framed: whether its headers say that it has a body, as they do in HTTP/1.
        request_id, client_ip, user_agent: where it comes from; see `origin`.
        state: the scope's.
        body_limit: bytes that its body may have. What takes more raises it before it reads.
        deadline: when an answer must have begun, in `perf_counter`'s seconds. What takes longer moves it.
        status, sent: of the answer: its status, 0 before it begins, and the bytes of its body as they travel.
        began, writing: when the request came, and since when a write has waited for the client; 0.0 where none does.
    """

    __slots__ = (
        "began",
        "body_limit",
        "body_rate",
        "body_timeout",
        "client_ip",
        "deadline",
        "expired",
        "framed",
        "headers",
        "method",
        "path",
        "request_id",
        "sent",
        "state",
        "status",
        "task",
        "user_agent",
        "writing",
    )

    def __init__(self, method: str, path: str, headers: Mapping[bytes, bytes], state: dict[str, Any]) -> None:
        self.state = state
        state["exchange"] = self
        self.method = method
        self.path = path
        self.headers = headers
        self.framed = True
        self.began = perf_counter()
        self.request_id = ""
        self.client_ip: str | None = None
        self.user_agent: str | None = None
        self.body_limit = 0
        self.body_timeout = 0.0
        self.body_rate = 1
        self.deadline = 0.0
        self.status = 0
        self.sent = 0
        self.writing = 0.0
        self.expired = False
        self.task: asyncio.Task[Any] | None = None

    @property
    def origin(self) -> Origin:
        """Where the request comes from, for its context."""
        return Origin(self.request_id, self.client_ip, self.user_agent)

    @property
    def principal(self) -> Principal | None:
        """Whom its credential belongs to, where that was verified."""
        found: Principal | None = self.state.get("principal")
        return found

    @property
    def function(self) -> str | None:
        """What was called: a name of a bounded set, for it becomes a label."""
        found = self.state.get("function")
        return None if found is None else str(getattr(found, "name", found))

    @property
    def timings(self) -> Mapping[str, float]:
        """Seconds by stage, in order."""
        found: Mapping[str, float] = self.state.get("timings", _NO_TIMES)
        return found

    def close(self) -> None:
        """Lets go of the scope, of which it is a part: together they would be there until the collector finds them."""
        state = self.state
        self.state = {name: state[name] for name in ("principal", "function", "timings") if name in state}
        self.task = None

    def allow(self, seconds: float) -> None:
        """Gives the answer this long from now until it begins, where that is longer than it has."""
        self.deadline = max(self.deadline, perf_counter() + seconds)

    def bounded(self, receive: Receive) -> Receive:
        """Receives the request's body, and refuses one that is too long or too slow.

        Raises:
            RequestError: (from the receiver) 413, 408, 415 where it is compressed, or what broke it on its way. A body whose length is
                told is refused before any of it is asked for.
        """
        headers = self.headers
        declared = headers.get(b"content-length")
        if declared is None and self.framed and b"transfer-encoding" not in headers:
            return receive  # there is none
        if declared == b"0":
            return receive
        encoded = headers.get(b"content-encoding", b"identity").lower() != b"identity"
        length = int(declared) if declared is not None and declared.isdigit() and len(declared) < 20 else 0
        received = 0
        ended = False

        async def bounded() -> Message:
            nonlocal received, ended
            if ended:
                return await receive()  # waits for the client to leave
            if length > self.body_limit:
                raise self._too_long()
            if encoded:
                raise RequestError("compressed bodies are not read", status=415, hint="send the body as it is")
            since = perf_counter()
            wait = self.body_timeout + received / self.body_rate - (since - self.began)
            try:
                if wait <= 0:
                    raise TimeoutError
                async with asyncio.timeout(wait):
                    message = await receive()
            except TimeoutError:
                raise RequestError(
                    "the request's body came too slowly", status=408, hint="send it again over a faster connection"
                ) from None
            if BROKEN in self.state:
                error: RequestError = self.state[BROKEN]
                raise error
            self.deadline += perf_counter() - since
            received += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if received > self.body_limit:
                raise self._too_long()
            return message

        return bounded

    def _too_long(self) -> RequestError:
        return RequestError(
            f"the request's body is longer than the {self.body_limit:,} bytes that are read",
            status=413,
            hint="send less at once; files come in by the import",
        )


def exchange_of(scope: Mapping[str, Any]) -> Exchange:
    """The exchange of a request that came through the server."""
    found: Exchange = scope["state"]["exchange"]
    return found
