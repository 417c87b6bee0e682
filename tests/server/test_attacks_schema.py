"""Schemathesis against the OpenAPI document: whatever it makes of it, right or wrong, is answered as the document says.

A few requests for each operation, always the same. `FREEHOLD_EXAMPLES=500 pytest tests/server/test_attacks_schema.py` makes more of
them, and others at each run.
"""

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from freehold import Context, Database
from freehold.server import Settings
from freehold.server.application import WebApplication
from freehold.server.listening import bind
from freehold.server.openapi import openapi
from freehold.server.serving import Stop, serve_one
from tests.conftest import Server, new_context
from tests.functions.conftest import principal
from tests.functions.shop import ON_PURPOSE, shop
from tests.probe import PATIENCE
from tests.server.attacks import HIDDEN, MARK, _filled

EXAMPLES = int(os.environ.get("FREEHOLD_EXAMPLES", "0"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

DOCUMENT = openapi(shop.manifest(), batch=50)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}
IDS = ["own", "gone", None]
"""What record a request is about: one that is there, one that was deleted, or whatever was made up."""
FEW = settings(
    max_examples=EXAMPLES or 6,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Site:
    """A server in a thread of its own, since what calls it here waits for each answer.

    Args:
        address: of the application's database.
    """

    def __init__(self, address: Any) -> None:
        self._address = address
        self.ids: dict[str, Any] = {}
        self._started: Future[tuple[int, str]] = Future()
        self._stop: Any = None
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True)
        self._thread.start()
        self.port, self.key = self._started.result(PATIENCE)

    async def _serve(self) -> None:
        try:
            async with Database.open(self._address, shop, size=4) as database:
                key = await self._caller(database)
                server = WebApplication(
                    shop, database=database, settings=Settings(limits=None, access_log=False, docs=True)
                )
                stop, loop = Stop(), asyncio.get_running_loop()
                self._stop = lambda: loop.call_soon_threadsafe(stop)
                with bind("127.0.0.1", 0) as bound:
                    port: int = bound.getsockname()[1]
                    await serve_one(server, bound, stop, lambda: self._started.set_result((port, key)))
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
            raise

    async def _caller(self, database: Database) -> str:
        """A key of an organization with a few records, beside one whose every text is marked."""
        theirs: Context = await new_context(database)
        await _filled(database, principal(theirs), MARK)
        mine = principal(await new_context(database))
        self.ids = dict(await _filled(database, mine, "ours"))
        keys = database.system("tests").keys
        return (await keys.create(mine.organization_id, name="k", user_id=mine.user_id)).secret

    def close(self) -> None:
        self._stop()
        self._thread.join(PATIENCE)


@pytest.fixture(scope="module")
def site(server: Server, database_name: str) -> Iterator[Site]:
    found = Site(server.address(database_name, shop))
    yield found
    found.close()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize("label", [label for label in OPERATIONS if not label.endswith(ON_PURPOSE)])
def test_whatever_is_sent_is_answered_as_the_document_says(site: Site, label: str, mode: GenerationMode) -> None:
    operation = OPERATIONS[label]

    @FEW
    @given(case=operation.as_strategy(generation_mode=mode), known=st.sampled_from(IDS), version=st.integers(1, 4))
    def tried(case: Any, known: str | None, version: int) -> None:
        _aimed(case, site, label, known, version)
        headers = {"authorization": f"Bearer {site.key}"}
        try:
            response = case.call(base_url=f"http://127.0.0.1:{site.port}", headers=headers, timeout=PATIENCE)
        except requests.ConnectionError:
            # Who sends more than is read may find the connection closed before it reads the 413.
            assert len(str(case.body)) > 900_000
            return
        answered.add(response.status_code)
        case.validate_response(response, checks=CHECKS)
        told = f"{response.headers} {response.text}"
        assert MARK not in told
        assert HIDDEN not in told
        assert "Traceback" not in told

    answered: set[int] = set()
    tried()
    assert answered - {401, 403} or "sneaky" in label, "the requests got no further than to the credential"


def _aimed(case: Any, site: Site, label: str, known: str | None, version: int) -> None:
    """Has a request get past the door: no made-up organization, and a record and version that may be there."""
    headers = case.headers or {}
    for name in [name for name in headers if name.lower() in ("freehold-organization", "authorization")]:
        del headers[name]
    table = label.partition("/api/")[2].partition("/")[0]
    if known is None or table not in site.ids:
        return
    if "id" in (case.path_parameters or {}):
        case.path_parameters["id"] = str(site.ids[known if known == "gone" and table == "customers" else table])
    if any(name.lower() == "if-match" for name in headers):
        headers.update({name: f'"{version}"' for name in headers if name.lower() == "if-match"})


def test_the_document_tells_of_every_function() -> None:
    """So that a new function is tried by itself."""
    told = {path.rpartition("/")[2] for path in DOCUMENT["paths"] if path.startswith("/api/functions/")}
    assert {function.name for function in shop.functions if function.action is None} <= told
