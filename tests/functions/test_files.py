"""Imports and exports that entities offer."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic_core import from_json

from freehold import Database, Principal, errors
from freehold.functions import files
from freehold.functions.arguments import Arguments
from freehold.functions.pipeline import Call, Pipeline
from freehold.identity.principal import Origin
from freehold.transfer.exporting import FIRST_PAGE
from tests.functions.conftest import as_role
from tests.functions.shop import shop
from tests.functions.test_pipeline import count, made
from tests.world import Contact, Order


async def bytes_of(text: str, *, broken: bool = False) -> AsyncIterator[bytes]:
    """A body that arrives in small parts."""
    for start in range(0, len(text), 7):
        yield text[start : start + 7].encode()
    if broken:
        raise ConnectionResetError


async def imported(database: Database, caller: Principal, text: str, table: str = "customers", **arguments: Any) -> Any:
    return await database.call(f"{table}.import", arguments, principal=caller, content=bytes_of(text))


async def exported(database: Database, caller: Principal, table: str = "customers", **arguments: Any) -> str:
    content: bytes = await database.call(f"{table}.export", arguments, principal=caller)
    return content.decode()


async def test_a_file_is_imported_and_repeated_it_does_nothing(shop_database: Database, ada: Principal) -> None:
    text = "Name,email,credit\nAcme,a@x.test,5\nBolt,b@x.test,many\nCube,c@x.test,7\n"
    result = await imported(shop_database, ada, text, map={"Name": "name"})
    assert (result["rows"], result["created"], result["refused"]) == (3, 2, 1)
    assert result["first_refused"][0]["line"] == 3
    assert result["first_refused"][0]["issues"][0]["path"] == ["credit"]
    again = await imported(shop_database, ada, text, map={"Name": "name"})
    assert (again["created"], again["repeated"]) == (2, 3)
    assert await count(shop_database, ada) == 2
    changed = '{"name": "Acme Ltd", "email": "a@x.test"}\n'
    result = await imported(shop_database, ada, changed, format="jsonl", key=["email"])
    assert (result["updated"], await count(shop_database, ada)) == (1, 2)
    dry = await imported(shop_database, ada, '{"name": "Dry"}\n', format="jsonl", dry_run=True)
    assert (dry["created"], dry["dry_run"], await count(shop_database, ada)) == (1, True, 2)


async def test_what_is_exported_can_be_imported_elsewhere(
    shop_database: Database, ada: Principal, eve: Principal
) -> None:
    for number in range(150):  # more than a page
        await made(shop_database, ada, f"c{number:03}", tags=["a,b", '"'])
    text = await exported(shop_database, ada, order=["name"])
    assert text.splitlines()[0].startswith("id,name,email")
    assert "tax_number" not in text
    assert len(text.splitlines()) == 151
    result = await imported(shop_database, eve, text)
    assert (result["created"], result["refused"]) == (150, 0)
    lines = await exported(shop_database, eve, format="jsonl", where={"name": {"in": ["c001", "c149"]}}, order="-name")
    assert [from_json(line)["name"] for line in lines.splitlines()] == ["c149", "c001"]
    assert [from_json(line)["tags"] for line in lines.splitlines()] == [["a,b", '"']] * 2
    named = await exported(shop_database, eve, fields=["name"], search="c007")
    assert named == "name\r\nc007\r\n"


async def test_an_export_reads_on_when_its_part_was_taken(shop_database: Database, ada: Principal) -> None:
    for number in range(150):
        await made(shop_database, ada, f"c{number:03}")
    arguments = Arguments.of_texts({"format": ["jsonl"], "order": ["name"], "fields": ["name"], "name.gte": ["c010"]})
    answer = await Pipeline(shop_database).run(Call(shop.functions["customers.export"], arguments, ada))
    assert answer.stream is not None
    assert answer.media == "application/x-ndjson"
    parts = answer.stream
    assert len((await anext(parts)).splitlines()) == FIRST_PAGE
    late = await made(shop_database, ada, "c999")
    rest = [part async for part in parts]
    assert from_json(rest[-1].splitlines()[-1]) == {"name": late.name}


async def test_another_organization_s_records_are_neither_exported_nor_referred_to(
    shop_database: Database, ada: Principal, eve: Principal
) -> None:
    customer = await made(shop_database, ada, "Acme", email="a@x.test")
    assert len((await exported(shop_database, eve)).splitlines()) == 1
    ids = f'{{"customer_id": "{customer.id}", "name": "Eve"}}\n'
    result = await imported(shop_database, eve, ids, "contacts", format="jsonl")
    assert (result["created"], result["refused"]) == (0, 1)
    looked = '{"who": "a@x.test", "name": "Eve"}\n'
    result = await imported(shop_database, eve, looked, "contacts", format="jsonl", map={"who": "customer.email"})
    assert (result["created"], result["refused"]) == (0, 1)
    assert await count(shop_database, eve, Contact) == 0
    result = await imported(shop_database, ada, looked, "contacts", format="jsonl", map={"who": "customer.email"})
    assert result["created"] == 1


@pytest.mark.parametrize("column", ["tax_number", "no_such_thing"])
async def test_private_fields_are_unknown_columns(shop_database: Database, ada: Principal, column: str) -> None:
    told = []
    for call in (
        imported(shop_database, ada, f"name,{column}\nAcme,1\n"),
        imported(shop_database, ada, "name,x\nAcme,1\n", map={"x": column}),
        imported(shop_database, ada, "name\nAcme\n", key=[column]),
        exported(shop_database, ada, fields=[column]),
        exported(shop_database, ada, where={column: "1"}),
        exported(shop_database, ada, order=[column]),
    ):
        with pytest.raises(errors.ValidationError) as caught:
            await call
        told.append(str(caught.value).replace(column, "…"))
    assert not any("private" in each for each in told)
    assert all("is no field" in each for each in told)
    assert await count(shop_database, ada) == 0


async def test_an_upload_that_breaks_off_imports_nothing(shop_database: Database, ada: Principal) -> None:
    content = bytes_of("name\nAcme\nBolt\n", broken=True)
    with pytest.raises(ConnectionResetError):
        await shop_database.call("customers.import", {}, principal=ada, content=content)
    assert await count(shop_database, ada) == 0


async def test_what_is_wrong_with_an_import_is_told(
    shop_database: Database, ada: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(errors.RequestError, match="needs a file"):
        await shop_database.call("customers.import", {}, principal=ada)
    with pytest.raises(errors.RequestError, match="no idempotency key"):
        await shop_database.call("customers.import", {}, principal=ada, key="k", content=bytes_of("name\nA\n"))
    with pytest.raises(errors.ForbiddenError):
        await imported(shop_database, as_role(ada, "guest"), "name\nAcme\n")
    monkeypatch.setattr(files, "MAXIMUM_BYTES", 10)
    with pytest.raises(errors.RequestError, match="larger than 10 bytes") as caught:
        await imported(shop_database, ada, "name\nAcme\nBolt\n")
    assert caught.value.status == 413
    assert await count(shop_database, ada) == 0


async def test_columns_of_what_may_not_be_read_are_refused(shop_database: Database, ada: Principal) -> None:
    customer = await made(shop_database, ada, "Acme", email="a@x.test")
    async with shop_database.session(ada.context(Origin())) as session:
        await session.create(Order, customer_id=customer.id, number="A", total=5)
    clerk = Principal(ada.organization_id, ada.user_id, "clerk", frozenset({"orders.*"}), "key:clerk")
    assert await exported(shop_database, ada, "orders", fields=["number", "customer.name"]) == (
        "number,customer.name\r\nA,Acme\r\n"
    )
    with pytest.raises(errors.ValidationError, match=r"'customer\.name' is no field of Order"):
        await exported(shop_database, clerk, "orders", fields=["number", "customer.name"])
    with pytest.raises(errors.ValidationError, match=r"'customer\.email' is no field of Order"):
        await imported(shop_database, clerk, "number,total,c\nB,1,a@x.test\n", "orders", map={"c": "customer.email"})


@pytest.mark.parametrize("on_duplicate", [None, "error", "skip", "update"])
@pytest.mark.parametrize("key", [None, ["email"]])
@pytest.mark.parametrize("updates", [True, False])
async def test_only_who_may_update_changes_records_by_an_import(
    shop_database: Database, ada: Principal, key: list[str] | None, on_duplicate: str | None, *, updates: bool
) -> None:
    more = {"customers.update"} if updates else set()
    caller = replace(ada, role="clerk", permissions=frozenset({"customers.import", "customers.create", *more}))
    await imported(shop_database, ada, "name,email\nAcme,a@x.test\n")
    text = "name,email\nChanged,a@x.test\n"
    arguments = {"key": key, "on_duplicate": on_duplicate, "run": "again"}
    changes = on_duplicate == "update" or (on_duplicate is None and key is not None)
    if changes and not updates:
        for dry_run in (True, False):
            with pytest.raises(errors.ForbiddenError, match=r"customers\.update"):
                await imported(shop_database, caller, text, **arguments, dry_run=dry_run)
    elif on_duplicate != "update" or key is not None:
        await imported(shop_database, caller, text, **arguments)
    changed = "Changed" in await exported(shop_database, ada)
    assert changed == (updates and changes and key is not None)


async def test_options_of_a_file_are_arguments(shop_database: Database, ada: Principal) -> None:
    text = "name,email,born,seen_at\nBöhm,b@x.test,31.12.1999,31.12.1999 09:30\n"

    async def content() -> AsyncIterator[bytes]:
        yield text.encode("latin-1")

    arguments = {"encoding": "iso-8859-1", "dates": "%d.%m.%Y", "timezone": "Europe/Vienna"}
    result = await shop_database.call("customers.import", arguments, principal=ada, content=content())
    assert result["first_refused"] == []
    told = await exported(shop_database, ada, fields=["name", "born", "seen_at"], format="jsonl")
    assert from_json(told) == {"name": "Böhm", "born": "1999-12-31", "seen_at": "1999-12-31T08:30:00+00:00"}
    for wrong in ({"encoding": "rot13"}, {"encoding": "idna"}, {"dates": "%d.%m"}, {"timezone": "Mars"}):
        with pytest.raises(errors.ValidationError):
            await imported(shop_database, ada, "name\nx\n", **wrong)


async def test_formulas_are_guarded_where_it_is_not_said_otherwise(shop_database: Database, ada: Principal) -> None:
    await made(shop_database, ada, "=1+1", visits=-5)
    assert await exported(shop_database, ada, fields=["name", "visits"]) == "name,visits\r\n'=1+1,-5\r\n"
    assert "'" not in await exported(shop_database, ada, fields=["name"], guard=False)
    assert "'" not in await exported(shop_database, ada, fields=["name"], format="jsonl")
