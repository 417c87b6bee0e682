"""The lines to paste. Each is one curl command that works as it stands; the check runs them, so that they stay so."""

import asyncio
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from uuid import uuid4

import httpx

from examples.renoz.service.playground import Playground
from examples.renoz.service.running import Service

__all__ = ["Line", "Ran", "lines_for", "run_line"]

SECONDS = 30
"""That a line may take."""


@dataclass(frozen=True)
class Line:
    """A line.

    Args:
        says: what it shows.
        command: for a shell.
        status: of the answer.
        tells: what the answer has in it.
    """

    says: str
    command: str
    status: int
    tells: str


@dataclass(frozen=True)
class Ran:
    """What came of a line.

    Args:
        line: which.
        status: of the answer; 0 where there was none.
        output: what was printed.
        milliseconds: how long it took, with the start of the program.
    """

    line: Line
    status: int
    output: str
    milliseconds: float

    @property
    def differences(self) -> list[str]:
        """From what it should show."""
        wrong = [] if self.status == self.line.status else [f"expected {self.line.status}, got {self.status}"]
        if self.line.tells not in self.output:
            wrong.append(f"{self.line.tells!r} is not in the answer: {self.output[-300:]!r}")
        return wrong


async def lines_for(service: Service, playground: Playground) -> list[Line]:
    """The lines for a server and its playground, in an order in which they can be pasted one after the other."""
    tag = await _tag(f"{service.address}/api/customers/{playground.customer.id}", service.keys["aurora"])
    customer, api = playground.customer.id, f"{service.address}/api"
    aurora, harbour = service.keys["aurora"], service.keys["harbour"]
    chosen = "status=active&credit_limit.gte=25000&order=-credit_limit,name&limit=2&select=number,name,credit_limit"
    version, once = {"If-Match": '"1"'}, {"Idempotency-Key": str(uuid4())}
    confirm = f"{api}/functions/orders.confirm"
    fits, short = (f'{{"id":"{order.id}","version":1}}' for order in (playground.fits, playground.short))
    made = '{"number":"D-00002","name":"Kelvin & Co","tags":["referral"]}'
    return [
        Line("A page: filter, order, fields", _curl(f"{api}/customers?{chosen}", aurora), 200, '"data":[{'),
        Line("One record, with its version in the ETag", _curl(f"{api}/customers/{customer}", aurora, shown=True), 200, tag),
        Line(
            "The same, where it has not changed",
            _curl(f"{api}/customers/{customer}", aurora, {"If-None-Match": tag}, shown=True),
            304,
            "304",
        ),
        Line(
            "Create, and only once however often this is sent",
            _curl(f"{api}/customers", aurora, once, method="POST", body=made, shown=True),
            201,
            "/api/customers/",
        ),
        Line(
            "Change the version that was read",
            _curl(f"{api}/customers/{customer}", aurora, version, method="PATCH", body='{"credit_limit":500}'),
            200,
            '"version":2',
        ),
        Line(
            "Somebody else had read the same version: a conflict, with the record as it is",
            _curl(f"{api}/customers/{customer}", aurora, version, method="PATCH", body='{"credit_limit":900}'),
            409,
            "FH201",
        ),
        Line("A function", _curl(f"{api}/functions/customers.summary?number=C-00008", aurora), 200, "lifetime_value"),
        Line(
            "A command: confirms an order and reserves its goods",
            _curl(confirm, aurora, {"Idempotency-Key": str(uuid4())}, method="POST", body=fits),
            200,
            '"warehouse":"demo"',
        ),
        Line(
            "Another order for the same goods: too little is left",
            _curl(confirm, aurora, {"Idempotency-Key": str(uuid4())}, method="POST", body=short),
            422,
            "too_little_stock",
        ),
        Line("A stream", _curl(f"{api}/functions/activities.stream?most=3", aurora, flags="-sN"), 200, '"source"'),
        Line("The other organization asks for the same record", _curl(f"{api}/customers/{customer}", harbour), 404, "FH200"),
    ]  # fmt: skip


async def _tag(url: str, key: str) -> str:
    """A record's ETag."""
    async with httpx.AsyncClient(timeout=SECONDS, trust_env=False) as client:
        answer = await client.get(url, headers={"Authorization": f"Bearer {key}"})
    return str(answer.headers.get("etag", '""'))


async def run_line(line: Line) -> Ran:
    """Runs a line, through a shell where there is curl."""
    start = perf_counter()
    if shutil.which("curl") and shutil.which("sh"):
        status, output = await _through_shell(line.command)
    else:
        status, output = await _sent(line.command)
    return Ran(line, status, output, (perf_counter() - start) * 1000)


async def _through_shell(command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_shell(
        f"{command} --max-time {SECONDS} -w '\\n%{{http_code}}'",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    output, _, status = said.decode().rpartition("\n")
    return int(status) if status.isdigit() else 0, output


async def _sent(command: str) -> tuple[int, str]:
    """Does what curl would do with a line."""
    words = iter(shlex.split(command)[1:])
    method, headers, body, url = None, {}, None, ""
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words)
        elif not word.startswith("-"):
            url = word
    async with httpx.AsyncClient(timeout=SECONDS, trust_env=False) as client:
        answer = await client.request(method or "GET", url, headers=headers, content=body)
    told = "".join(f"{name}: {value}\n" for name, value in answer.headers.items())
    return answer.status_code, f"HTTP/1.1 {answer.status_code}\n{told}\n{answer.text}"


def _curl(
    url: str,
    key: str,
    headers: Mapping[str, str] | None = None,
    *,
    method: str | None = None,
    body: str | None = None,
    shown: bool = False,
    flags: str = "-s",
) -> str:
    """A command for a shell."""
    words: list[str] = ["curl", flags + ("i" if shown else "")]
    words += ["-X", method] if method else []
    words += [shlex.quote(url), *_header("Authorization", f"Bearer {key}")]
    for name, value in (headers or {}).items():
        words += _header(name, value)
    if body is not None:
        words += [*_header("Content-Type", "application/json"), "-d", shlex.quote(body)]
    return " ".join(words)


def _header(name: str, value: str) -> Sequence[str]:
    return "-H", shlex.quote(f"{name}: {value}")
