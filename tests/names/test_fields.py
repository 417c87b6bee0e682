"""Fields of all names, in all operations and on all ways in and out.

A name that means something in SQL, in our sources or to Pydantic must mean nothing as a field's.
"""

import io
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlencode

import pytest

from freehold import Entity, Session
from freehold.errors import ConcurrencyError, NotFoundError
from freehold.testing import Factory
from freehold.transfer import export_file, import_file
from freehold.transfer.formats import Format
from tests.names.conftest import Town
from tests.names.crowd import Crowd
from tests.server.calling import Callers

FIXED = {"key_": "key", "text_": "text"}


def values_of(record: Any, crowd: Crowd) -> dict[str, Any]:
    return {name: getattr(record, name) for name in crowd.names}


async def made(session: Session, crowd: Crowd, **more: Any) -> Entity:
    return await session.create(crowd.cls, **FIXED, **crowd.first, **more)


async def _reads(session: Session, crowd: Crowd) -> None:
    one = await made(session, crowd)
    assert values_of(one, crowd) == crowd.first
    past = one.created_at
    found = {
        "get": await session.get(crowd.cls, one.id),
        "get_many": (await session.get_many(crowd.cls, [one.id]))[0],
        "find": await session.find(crowd.cls, {"id": one.id}),
        "list": (await session.list(crowd.cls))[0],
        "total": (await session.list(crowd.cls, with_total=True))[0],
        "select": (await session.list(crowd.cls, select=list(crowd.names)))[0],
        "search": (await session.search("text", in_=crowd.cls))[0].record,
        "searched": (await session.list(crowd.cls, search="text"))[0],
        "json": crowd.cls.model_validate_json(await session.get(crowd.cls, one.id, as_json=True)),
    }
    async with session.transaction() as transaction:
        found["lock"] = await transaction.get(crowd.cls, one.id, for_update=True)
    await session.update(one, **crowd.second)
    async with session.as_of(past) as before:
        found["as_of"] = await before.get(crowd.cls, one.id)
        found["as_of list"] = (await before.list(crowd.cls, where={crowd.names[0]: crowd.first[crowd.names[0]]}))[0]
    assert {way: values_of(record, crowd) for way, record in found.items()} == dict.fromkeys(found, crowd.first)


def _conditions(crowd: Crowd) -> list[dict[str, Any]]:
    """A condition on each field that the first values meet."""
    found: list[dict[str, Any]] = []
    for name in crowd.names:
        value = crowd.first[name]
        if isinstance(value, list):
            found.append({name: {"contains": value[0]}})
        elif isinstance(value, dict):
            found.append({name: {"is_null": False}})
        elif isinstance(value, bool):
            found.append({name: {"eq": value, "in": [value]}})
        elif crowd.cls.model_fields[name].annotation in (int, Decimal, datetime):
            found.append({name: {"eq": value, "in": [value], "between": [value, value], "lt": crowd.second[name]}})
        else:
            found.append({name: {"eq": value, "ne": crowd.second[name]}})
    return found


async def _filters_and_orders(session: Session, crowd: Crowd) -> None:
    one = await made(session, crowd)
    other = await session.create(crowd.cls, key_="other", text_="text", **crowd.second)
    for at in range(0, len(crowd.names), 40):
        page = await session.list(crowd.cls, where={"and": _conditions(crowd)[at : at + 40]})
        assert [each.id for each in page] == [one.id]
    ordered = crowd.of(int, Decimal, datetime, str)
    for at in range(0, len(ordered), 8):
        names = ordered[at : at + 8]
        first = await session.list(crowd.cls, order_by=names, limit=1)
        last = await session.list(crowd.cls, order_by=names, limit=1, after=first.next)
        downward = await session.list(crowd.cls, order_by=[f"-{name}" for name in names], limit=1, search="text")
        wanted = sorted((one, other), key=lambda each: getattr(each, names[0]))
        assert [first[0].id, last[0].id, downward[0].id] == [wanted[0].id, wanted[1].id, wanted[1].id]
    numbers, keys = crowd.of(int, Decimal), crowd.of(str, bool, Literal["one", "two"])
    for at in range(0, len(crowd.names), 30):
        (group, _) = await session.aggregate(
            crowd.cls, group_by=keys[at : at + 30] or ["id"], sum=numbers[at : at + 30], avg=numbers[at : at + 30],
            min=numbers[at : at + 30], max=ordered[at : at + 30],
        )  # fmt: skip
        assert all(group.keys[name] in (crowd.first[name], crowd.second[name]) for name in keys[at : at + 30])


async def _single_writes(session: Session, crowd: Crowd) -> None:
    one = await session.create(crowd.cls, crowd.cls.Create(**FIXED, **crowd.first))
    changed = await session.update(one, **crowd.second)
    assert values_of(changed, crowd) == crowd.second
    with pytest.raises(ConcurrencyError) as caught:
        await session.update(one, crowd.cls.Patch(**crowd.first))
    assert values_of(caught.value.current, crowd) == crowd.second
    for name in crowd.names[:10]:
        changed = await session.update(changed, **{name: crowd.first[name]})
    reverted = await session.revert(changed, 1)
    assert values_of(reverted, crowd) == crowd.first
    changes = await session.history((crowd.cls, one.id))
    assert {name: changes[-2].diff[name] for name in crowd.names} == {
        name: (crowd.first[name], crowd.second[name]) for name in crowd.names
    }
    deleted = await session.delete(reverted)
    assert values_of(deleted, crowd) == crowd.first
    restored = await session.restore(deleted)
    assert values_of(restored, crowd) == crowd.first
    assert values_of(await session.purge(restored), crowd) == crowd.first
    with pytest.raises(NotFoundError):
        await session.update(restored, **crowd.second)


async def _increments(session: Session, crowd: Crowd) -> None:
    one = await made(session, crowd)
    numbers = crowd.of(int, Decimal)
    await session.increment(crowd.cls, one.id, dict.fromkeys(numbers, 2))
    await session.increment(crowd.cls, one.id, **{name: 1 for name in numbers if name != "ack"})
    found = await session.get(crowd.cls, one.id)
    assert {name: getattr(found, name) - crowd.first[name] for name in numbers} == {
        name: 2 if name == "ack" else 3 for name in numbers
    }


async def _units(session: Session, crowd: Crowd) -> None:
    async with session.unit_of_work() as unit:
        added = unit.add(crowd.cls, **FIXED, **crowd.first)
    assert values_of(added, crowd) == crowd.first
    async with session.unit_of_work() as unit:
        unit.update(added, **crowd.second)
    changed = await session.get(crowd.cls, added.id)
    assert values_of(changed, crowd) == crowd.second
    async with session.unit_of_work() as unit:
        unit.save(changed.model_copy(update=crowd.first))
    changed = await session.get(crowd.cls, added.id)
    assert values_of(changed, crowd) == crowd.first
    for action in ("delete", "restore", "purge"):
        async with session.unit_of_work() as unit:
            getattr(unit, action)(changed)
        found = await session.list(crowd.cls, deleted=True)
        changed = found[0] if found.records else changed
    assert not found.records


async def _bulk(session: Session, crowd: Crowd) -> None:
    def counted(result: Any) -> dict[str, int]:
        assert [each.error for each in result.failures] == []
        return {
            action: getattr(result, action)
            for action in ("created", "updated", "unchanged", "skipped")
            if getattr(result, action, 0)
        }

    first, second = {**FIXED, **crowd.first}, {**FIXED, **crowd.second}
    assert counted(await session.create_many(crowd.cls, [first])) == {"created": 1}
    again = {"on_duplicate": "update", "key": "key_"}
    assert counted(await session.create_many(crowd.cls, [second], **again)) == {"updated": 1}
    assert counted(await session.create_many(crowd.cls, [second], **again)) == {"unchanged": 1}
    assert counted(await session.create_many(crowd.cls, [first], on_duplicate="skip")) == {"skipped": 1}
    mixed = [{"key_": "key", "text_": "text", **part} for part in (crowd.first, {**crowd.second, "text_": "more"})]
    await session.create_many(crowd.cls, mixed, **again)
    (one,) = await session.list(crowd.cls)
    assert values_of(one, crowd) == crowd.second
    assert counted(await session.update_many(crowd.cls, [(one, crowd.first)])) == {"updated": 1}
    assert values_of(await session.get(crowd.cls, one.id), crowd) == crowd.first
    where = {"and": _conditions(crowd)[:30]}
    assert counted(await session.update_where(crowd.cls, where, crowd.cls.Patch(**crowd.second))) == {"updated": 1}
    one = await session.get(crowd.cls, one.id)
    assert values_of(one, crowd) == crowd.second
    assert (await session.delete_where(crowd.cls, {crowd.names[0]: crowd.second[crowd.names[0]]})).deleted == 1


async def _files(session: Session, crowd: Crowd) -> None:
    await made(session, crowd)
    for form in (Format("csv"), Format("jsonl")):
        file = io.BytesIO()
        await export_file(session, crowd.cls, file, form=form)
        text = file.getvalue()
        await session.delete_where(crowd.cls, {"key_": "key"}, hard=True)
        result = await import_file(session, crowd.cls, io.BytesIO(text), form=form, run=form.name)
        assert (result.created, result.first_refused) == (1, ())
        (one,) = await session.list(crowd.cls)
        assert values_of(one, crowd) == crowd.first
        known = await import_file(session, crowd.cls, io.BytesIO(text), form=form, key="key_", run=f"{form.name} again")
        assert known.unchanged == 1


async def _factory(session: Session, crowd: Crowd) -> None:
    made = await Factory(session, full=True).create(crowd.cls, **crowd.second)
    assert values_of(made, crowd) == crowd.second


WAYS = [_reads, _filters_and_orders, _single_writes, _increments, _units, _bulk, _files, _factory]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__.removeprefix("_") for way in WAYS])
async def test_a_field_may_have_any_name(
    town: Town, session: Session, way: Callable[[Session, Crowd], Awaitable[None]]
) -> None:
    for crowd in town.crowds:
        try:
            await way(session, crowd)
        except Exception as error:
            error.add_note(f"{crowd.cls.__name__}: {' '.join(crowd.names)}")
            raise


async def test_over_http(town: Town, call: Callers) -> None:
    async def answer(method: str, path: str, **more: Any) -> Any:
        response = await call("ada", method, path, **more)
        assert response.is_success, response.text[:2000]
        return response.json() if "json" in response.headers["content-type"] else response.content

    for crowd in town.crowds:
        first, second = (
            json.loads(crowd.cls.Patch(**values).model_dump_json(exclude_unset=True))
            for values in (crowd.first, crowd.second)
        )
        place = f"/api/{crowd.cls.__entity__.table}"
        one = await answer("POST", place, json={**FIXED, **first})
        told = {name: one[name] for name in crowd.names}
        assert told == {name: _written(crowd.first[name]) for name in crowd.names}
        equal = {name: one[name] for name in crowd.of(str, int, Decimal, datetime, bool, Literal["one", "two"])}
        for at in range(0, len(equal), 40):
            part = list(equal.items())[at : at + 40]
            query = urlencode([(f"where.{name}", _text(value)) for name, value in part])
            assert len((await answer("GET", f"{place}?{query}&limit=1"))["data"]) == 1, query
            named = ",".join(name for name, _ in part)
            asked = urlencode(
                {
                    "select": named,
                    "order": ",".join(name for name, _ in part[:8]),
                    "where": json.dumps(dict(part)),
                    "total": "true",
                }
            )
            page = await answer("GET", f"{place}?{asked}")
            assert page["data"] == [{"id": one["id"], **dict(part)}]
            groups = await answer("GET", f"{place}/aggregate?group_by={named}")
            assert groups["data"][0]["keys"] == dict(part)
        changed = await answer("PATCH", f"{place}/{one['id']}", json=second, headers={"if-match": '"1"'})
        assert {name: changed[name] for name in crowd.names} == {
            name: _written(crowd.second[name]) for name in crowd.names
        }
        diff = (await answer("GET", f"{place}/{one['id']}/history"))["data"][0]["diff"]
        assert {name: diff[name]["before"] for name in crowd.names} == told
        csv = await answer("GET", f"{place}/export")
        assert csv.decode("utf-8-sig").split("\r\n")[0] == ",".join(["id", *crowd.cls.Create.model_fields])
    assert await answer("GET", "/api/openapi.json")


def _written(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)
