"""Nothing holds up the event loop, whatever is sent: hostile bodies, filters, names and files of the sizes that are let in.

The bound that is promised is 20 ms of processor time at once. The tests allow more, for processors that others use too; without the bounds
each of these inputs takes 50 ms to 2 s.
"""

import asyncio
import difflib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from freehold import Database, Include, Principal, Session
from freehold.errors import Issue, RequestError, ValidationError
from freehold.functions.arguments import MOST_VALUES, checked_json
from freehold.model.issues import HINTED, suggestion
from freehold.model.words import LOOKED_THROUGH, fragments
from freehold.server import Settings
from freehold.server.application import WebApplication
from freehold.store.slices import sliced
from tests.functions.shop import shop
from tests.pauses import measured
from tests.server.calling import Tokens
from tests.world import Customer

LONGEST = 0.05
"""Seconds of processor time at once."""
LARGEST = 60_000
"""Bytes of an answer that tells what is wrong."""
BODY = 999_000


@pytest.fixture
async def web(shop_database: Database, ada: Principal) -> Any:
    settings = Settings(limits=None, access_log=False)
    made = WebApplication(shop, database=shop_database, settings=settings, authenticator=Tokens({"ada": ada}))
    async with made.lifespan():
        await sent(made, "/api/functions/customers.list", b"{}")  # so that what is made once is there
        yield made


async def sent(
    web: WebApplication, path: str, body: bytes, *, media: bytes = b"application/json", query: bytes = b""
) -> tuple[int, bytes]:
    """Status and body of a POST, in a task of its own."""
    messages: list[Any] = []
    bodies = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return bodies.pop() if bodies else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": path, "raw_path": path.encode(),
        "query_string": query, "client": ("192.0.2.9", 5), "scheme": "http", "root_path": "", "state": {},
        "headers": [(b"host", b"test"), (b"authorization", b"Bearer ada"), (b"content-type", media)],
    }  # fmt: skip
    await asyncio.create_task(web(scope, receive, send))  # type: ignore[arg-type]  # a scope is a mutable mapping
    return messages[0]["status"], b"".join(message.get("body", b"") for message in messages)


def filled(unit: str) -> str:
    """A JSON list as long as a body may be."""
    return f"[{','.join([unit] * ((BODY - 200) // (len(unit) + 1)))}]"


def keys(number: int) -> str:
    return ",".join(f'"key{place}":1' for place in range(number))


def named(what: str, number: int = 199) -> list[str]:
    return [f"{what}{place}" for place in range(number)]


RECORD = "/api/customers"
LIST, AGGREGATE, EXPORT = (f"/api/functions/customers.{name}" for name in ("list", "aggregate", "export"))
FIELDS = ("group_by", "sum", "avg", "min", "max")
BODIES: dict[str, tuple[str, Callable[[], str]]] = {
    "unknown names": (RECORD, lambda: f"{{{keys(70_000)}}}"),
    "a list of numbers": (RECORD, lambda: f'{{"name":"x","tags":{filled("1")}}}'),
    "a list of texts": (RECORD, lambda: f'{{"name":"x","tags":{filled(chr(34) * 2)}}}'),
    "a list of lists": (RECORD, lambda: f'{{"name":"x","tags":{filled("[]")}}}'),
    "a list of objects": (RECORD, lambda: f'{{"name":"x","tags":{filled("{}")}}}'),
    "a list of long numbers": (RECORD, lambda: f'{{"name":"x","scores":{filled("0.1234567890123456789")}}}'),
    "a document of names": (RECORD, lambda: f'{{"name":"x","profile":{{{keys(70_000)}}}}}'),
    "a long text": (RECORD, lambda: json.dumps({"name": "x" * (BODY - 100)})),
    "a text of escapes": (RECORD, lambda: f'{{"name":"{chr(92)}u00e9{(chr(92) + "u00e9") * 160_000}"}}'),
    "a text of commas": (RECORD, lambda: json.dumps({"name": "[,{" * 300_000})),
    "a long number": (RECORD, lambda: f'{{"visits":{"9" * (BODY - 100)}}}'),
    "a long fraction": (RECORD, lambda: f'{{"credit":1.{"0" * (BODY - 100)}}}'),
    "lists in lists": (RECORD, lambda: "[" * 400_000),
    "values of a filter": (LIST, lambda: json.dumps({"where": {"or": [{"visits": {"in": [*range(1_000)]}}] * 90}})),
    "wrong values": (LIST, lambda: json.dumps({"where": {"or": [{"visits": {"in": ["x"] * 1_000}}] * 90}})),
    "unknown fields": (LIST, lambda: json.dumps({"where": dict.fromkeys(named("created_by_updated_at_"), 1)})),
    "unknown operators": (LIST, lambda: json.dumps({"where": {"visits": dict.fromkeys(named("gte"), 1)}})),
    "unknown selection": (LIST, lambda: json.dumps({"select": named("naem")})),
    "unknown relations": (LIST, lambda: json.dumps({"include": dict.fromkeys(named("contacts", 30), True)})),
    "unknown options": (LIST, lambda: f'{{"include":{{"contacts":{{{keys(70_000)}}}}}}}'),
    "unknown groups": (AGGREGATE, lambda: json.dumps(dict.fromkeys(FIELDS, named("naem")))),
    "unknown columns": (EXPORT, lambda: json.dumps({"fields": named("naem")})),
    "a batch of unknown functions": (
        "/api/batch",
        lambda: json.dumps({"calls": [{"function": name} for name in named("customers.lisst", 50)]}),
    ),
    "a batch of names": (
        "/api/batch",
        lambda: f'{{"calls":[{{"function":"customers.create","arguments":{{{keys(70_000)}}}}}]}}',
    ),
    "a batch of numbers": ("/api/batch", lambda: f'{{"calls":{filled("1")}}}'),
}


@pytest.mark.parametrize("name", BODIES)
async def test_no_body_holds_up_the_loop(web: WebApplication, name: str) -> None:
    path, made = BODIES[name]
    body = made().encode()
    with measured() as pauses:
        status, answer = await sent(web, path, body)
    assert pauses.longest < LONGEST, pauses.where
    assert status in (200, 201, 400, 413, 422)
    assert len(answer) < LARGEST


def rows(number: int, width: int) -> bytes:
    """JSON Lines, each with other names."""
    lines = [json.dumps({f"naem{row}_{place}": 1 for place in range(width)}) for row in range(number)]
    return "\n".join(lines).encode()


FILES: dict[str, tuple[bytes, Callable[[], bytes]]] = {
    "unknown columns": (b"csv", lambda: ",".join(named("naem", 900)).encode()),
    "very many columns": (b"csv", lambda: ",".join(named("naem", 10_000)).encode()),
    "long names of columns": (b"csv", lambda: ",".join(name * 500 for name in named("nam", 900)).encode()),
    "repeated columns": (b"csv", lambda: ",".join(["name"] * 999).encode()),
    "a header of blank lines": (b"csv", lambda: b"\n" * 2_000_000),
    "a header in quotes": (b"csv", lambda: b'"' + b"x" * 3_000_000 + b'"\n'),
    "rows that are refused": (b"csv", lambda: b"name,credit\n" + b"x,wrong\n" * 20_000),
    "rows that are ragged": (b"csv", lambda: b"name,credit\n" + b"x,1,2,3\n" * 20_000),
    "rows of unknown names": (b"jsonl", lambda: rows(200, 200)),
    "wide rows": (b"jsonl", lambda: rows(10, 10_000)),
    "long rows": (b"csv", lambda: b"name,tags\n" + b"".join(b"n%d,%b\n" % (n, b"t" * 90_000) for n in range(40))),
    "good rows": (b"csv", lambda: b"name\n" + b"".join(b"name %d\n" % n for n in range(3_000))),
}


@pytest.mark.parametrize("name", FILES)
async def test_no_file_holds_up_the_loop(web: WebApplication, name: str) -> None:
    form, made = FILES[name]
    content, run = made(), os.urandom(4).hex().encode()
    media = b"text/csv" if form == b"csv" else b"application/x-ndjson"
    with measured() as pauses:
        _, answer = await sent(web, f"{RECORD}/import", content, media=media, query=b"run=" + run)
    assert pauses.longest < LONGEST, pauses.where
    assert len(answer) < LARGEST


async def test_large_answers_are_made_in_slices(web: WebApplication, shop_database: Database, ada: Principal) -> None:
    from freehold.identity.principal import Origin

    context = ada.context(Origin())
    session: Session = shop_database.session(context)
    language = "e" * 15_000
    await session.create_many(
        Customer, [{"name": f"needle {n}", "profile": {"language": language}} for n in range(600)]
    )
    reads: list[Callable[[], Any]] = [
        lambda: session.list(Customer, limit=600),
        lambda: session.list(Customer, limit=600, select=["profile"]),
        lambda: session.list(Customer, limit=600, include={"orders": Include()}),
        lambda: session.search("needle", in_=Customer, limit=600),
        lambda: session.history(Customer, limit=600),
        lambda: session.sql(None, "select profile from customers"),
    ]
    for read in reads:
        with measured() as pauses:
            await asyncio.create_task(read())
        assert pauses.longest < LONGEST, pauses.where
    for path in (LIST, EXPORT):
        with measured() as pauses:
            await sent(web, path, json.dumps({"limit": 600} if path == LIST else {}).encode())
        assert pauses.longest < LONGEST, pauses.where


async def test_names_are_compared_for_the_first_issues_only(
    web: WebApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []
    real = difflib.get_close_matches

    def noted(word: str, possibilities: Any, *rest: Any) -> list[str]:
        compared.append(word)
        return real(word, possibilities, *rest)

    monkeypatch.setattr(difflib, "get_close_matches", noted)
    for name in ("unknown fields", "unknown operators", "unknown selection", "unknown relations", "unknown groups"):
        path, made = BODIES[name]
        compared.clear()
        await sent(web, path, made().encode())
        # A list's arguments are read a second time, to tell all that is wrong with them.
        assert len(compared) <= 2 * HINTED, name
    compared.clear()
    await sent(web, f"{RECORD}/import", rows(50, 50), media=b"application/x-ndjson")
    assert len(compared) <= HINTED


def test_a_suggestion_is_bounded_whatever_the_names_are() -> None:
    assert suggestion("name", ["nmae", "other"]) == "; did you mean 'nmae'?"
    assert len(suggestion("x" * 10_000, ["y" * 10_000] * 10_000)) < 3_000
    assert suggestion("name", ["nmae"], told=HINTED) == ""


@pytest.mark.parametrize("number", [1, 20, 100, 101, 102, 5_000])
def test_an_error_tells_as_much_as_a_person_reads(number: int) -> None:
    error = ValidationError([Issue(("field", n), "x" * 5_000, "wrong") for n in range(number)], subject="input")
    assert len(error.issues) <= 101
    assert len(str(error)) < 25_000
    if number > 101:
        assert error.issues[-1].message == f"and {number - 100:,} more things are wrong with it"


def test_values_are_counted_outside_of_texts() -> None:
    assert checked_json(json.dumps({"text": ',[{"\\' * MOST_VALUES}).encode())["text"].startswith(",[{")
    assert len(checked_json(f"[{'1,' * (MOST_VALUES - 100)}1]".encode())) == MOST_VALUES - 99
    for many in (f"[{'1,' * MOST_VALUES}1]", f"[{'[],' * (MOST_VALUES // 5)}[]]"):
        with pytest.raises(RequestError, match="more than 100,000 values") as caught:
            checked_json(many.encode())
        assert caught.value.status == 413


def test_fragments_are_looked_for_in_the_beginning_of_a_text() -> None:
    far = "x " * LOOKED_THROUGH + "needle"
    assert fragments([("text", far)], ["needle"]) == ()
    assert fragments([("text", "a needle " + far)], ["needle"])[0].text.startswith("a needle")


def test_slices_bring_every_item_once() -> None:
    def slices(weights: list[int]) -> Iterator[Any]:
        return sliced(weights, lambda weight: weight, 10)

    assert [list(part) for part in slices([3, 3, 3, 3, 30, 1, 9, 1])] == [[3, 3, 3], [3], [30], [1, 9], [1]]
    assert list(slices([])) == []
