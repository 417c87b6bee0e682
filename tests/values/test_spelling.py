"""One type and one text for each value, whichever way it comes out."""

import io
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from freehold import Database, Session
from freehold.errors import ConcurrencyError
from freehold.identity.principal import Principal
from freehold.transfer import export_file
from freehold.transfer.formats import Format
from tests.server.calling import Callers
from tests.values.everything import TEXTS, VALUES, Part, Thing

Row = Mapping[str, Any]


def shown(value: Any) -> Any:
    """A value with its type, at every level. Time zones are compared as what they are: UTC."""
    if isinstance(value, datetime):
        return (type(value), value.isoformat(), value.utcoffset())
    if isinstance(value, Part):
        return (Part, [(name, shown(item)) for name, item in value.__dict__.items()])
    if isinstance(value, list | tuple):
        return (type(value), [shown(item) for item in value])
    if isinstance(value, dict):
        return (dict, {name: shown(item) for name, item in value.items()})
    return (type(value), repr(value))


def values_of(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in VALUES if name in type(record).model_fields}


async def _create(session: Session) -> Thing:
    return await session.create(Thing, name="one", **VALUES)


async def _from_get(session: Session, one: Thing) -> Any:
    return await session.get(Thing, one.id)


async def _from_get_many(session: Session, one: Thing) -> Any:
    return (await session.get_many(Thing, [one.id]))[0]


async def _from_find(session: Session, one: Thing) -> Any:
    return await session.find(Thing, {"name": one.name})


async def _from_list(session: Session, one: Thing) -> Any:
    return (await session.list(Thing, where={"id": one.id}))[0]


async def _from_select(session: Session, one: Thing) -> Any:
    return (await session.list(Thing, where={"id": one.id}, select=list(VALUES)))[0]


async def _from_include(session: Session, one: Thing) -> Any:
    child = await session.create(Thing, name="child", parent_id=one.id, **VALUES)
    return (await session.list(Thing, where={"id": child.id}, include={"parent": True}))[0].parent


async def _from_total(session: Session, one: Thing) -> Any:
    return (await session.list(Thing, where={"id": one.id}, with_total=True))[0]


async def _from_search(session: Session, one: Thing) -> Any:
    return (await session.search(one.name, in_=Thing))[0].record


async def _from_as_of(session: Session, one: Thing) -> Any:
    await session.update(one, integer=1, document=VALUES["document"].model_copy(update={"function": 0.5}), mood="good")
    async with session.as_of(one.updated_at) as past:
        return await past.get(Thing, one.id)


async def _from_as_of_included(session: Session, one: Thing) -> Any:
    async with session.as_of((await session.update(one, name="two")).updated_at) as past:
        return (await past.list(Thing, where={"id": one.id}, include={"parent": True}))[0]


async def _from_lock(session: Session, one: Thing) -> Any:
    async with session.transaction() as transaction:
        return await transaction.get(Thing, one.id, for_update=True)


async def _from_create(session: Session, one: Thing) -> Any:
    return await session.create(Thing, name="another", **VALUES)


async def _from_update(session: Session, one: Thing) -> Any:
    return await session.update(one, name="changed")


async def _from_delete(session: Session, one: Thing) -> Any:
    return await session.delete(one)


async def _from_revert(session: Session, one: Thing) -> Any:
    changed = await session.update(one, document=VALUES["document"].model_copy(update={"function": 0.5}), integer=1)
    return await session.revert(changed, 1)


async def _from_unit(session: Session, one: Thing) -> Any:
    async with session.unit_of_work() as unit:
        added = unit.add(Thing, name="of a unit", **VALUES)
    assert unit.committed is not None
    return added


async def _from_conflict(session: Session, one: Thing) -> Any:
    await session.update(one, name="changed")
    with pytest.raises(ConcurrencyError) as caught:
        await session.update(one, name="again")
    return caught.value.current


async def _from_bulk(session: Session, one: Thing) -> Any:
    await session.create_many(Thing, [{"name": "of many", **VALUES}])
    return await session.find(Thing, {"name": "of many"})


WAYS = [value for name, value in list(globals().items()) if name.startswith("_from_")]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__.removeprefix("_from_") for way in WAYS])
async def test_a_record_has_the_declared_types(
    session: Session, way: Callable[[Session, Thing], Awaitable[Any]]
) -> None:
    record = await way(session, await _create(session))
    found = {name: shown(value) for name, value in values_of(record).items()}
    assert found == {name: shown(value) for name, value in VALUES.items()}
    for name, field in Thing.__entity__.fields.items():
        value = getattr(record, name, None)
        if field.kind.name == "uuid" and not field.kind.many and value is not None:
            assert type(value) is UUID


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__.removeprefix("_from_") for way in WAYS])
async def test_a_record_writes_itself_as_postgresql_does(
    session: Session, way: Callable[[Session, Thing], Awaitable[Any]]
) -> None:
    record = await way(session, await _create(session))
    assert told(json.loads(record.model_dump_json())) == WANTED


async def test_history_has_the_declared_types(session: Session) -> None:
    one = await _create(session)
    other = {
        "integer": 1, "number": 0.5, "mood": "good", "grade": 1, "word": "a", "digit": 1, "moods": ["bad"], "key": one.id, "keys": [],
        "moment": datetime(2020, 1, 1, tzinfo=UTC), "document": VALUES["document"].model_copy(update={"function": 0.5}), "loose": {"a": 1},
    }  # fmt: skip
    await session.update(one, **other)
    change, made = await session.history((Thing, one.id))
    assert {name: shown(change.diff[name][0]) for name in other} == {name: shown(VALUES[name]) for name in other}
    assert {name: shown(made.diff[name][1]) for name in VALUES} == {
        name: shown(value) for name, value in VALUES.items()
    }
    assert [type(value) for value in (change.record_id, change.actor_id)] == [UUID, UUID]


GROUPED = (
    "integer",
    "number",
    "amount",
    "day",
    "moment",
    "clock",
    "span",
    "key",
    "blob",
    "mood",
    "grade",
    "word",
    "digit",
)
MEASURED = ("integer", "number", "amount", "day", "moment", "clock", "span", "mood", "grade", "word", "digit")


async def test_groups_have_the_declared_types(session: Session) -> None:
    await _create(session)
    (group,) = await session.aggregate(Thing, group_by=GROUPED, min=MEASURED, max=MEASURED)
    for found, names in ((group.keys, GROUPED), (group.min, MEASURED), (group.max, MEASURED)):
        assert {name: shown(found[name]) for name in names} == {name: shown(VALUES[name]) for name in names}


async def test_a_sum_of_durations_keeps_its_microseconds(session: Session) -> None:
    long = VALUES["span"].__class__(days=98_000, microseconds=1)
    for name in "abc":
        await session.create(Thing, name=name, **{**VALUES, "span": long})
    (group,) = await session.aggregate(Thing, sum=["span"])
    assert group.sum["span"] == 3 * long


def told(record: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a record in JSON, so that 1 and 1.0 differ, and names have an order."""
    return {name: json.dumps(record[name], sort_keys=True) for name in TEXTS if name in record}


WANTED = told({name: json.loads(text) for name, text in TEXTS.items()})
PLAIN = {name: text for name, text in WANTED.items() if name not in ("span", "spans", "blobs")}


async def test_http_writes_one_text(call: Callers) -> None:
    body = {"name": "one", **{name: json.loads(text) for name, text in TEXTS.items()}}
    made = (await call("ada", "POST", "/api/things", json=body)).json()
    place, id = f"/api/things/{made['id']}", made["id"]

    async def answer(method: str, path: str, **more: Any) -> Any:
        response = await call("ada", method, path, **more)
        assert response.is_success, response.text
        return response.json()

    arguments = {"calls": [{"function": "things.get", "arguments": {"id": id}}]}
    records = {
        "create": made,
        "get": await answer("GET", place),
        "list": (await answer("GET", "/api/things"))["data"][0],
        "select": (await answer("GET", f"/api/things?select={','.join(TEXTS)}"))["data"][0],
        "include": await answer("GET", f"{place}?include=parent"),
        "batch": (await answer("POST", "/api/batch", json=arguments))["results"][0]["result"],
        "history": {n: v["after"] for n, v in (await answer("GET", f"{place}/history"))["data"][0]["diff"].items()},
        "function": await answer("GET", f"/api/functions/whole?id={id}"),
        "page": (await answer("GET", "/api/functions/paged"))["data"][0],
        "update": await answer("PATCH", place, json={"name": "two"}, headers={"if-match": '"1"'}),
        "conflict": (await call("ada", "PATCH", place, json={"name": "x"}, headers={"if-match": '"1"'})).json()["current"],
    }  # fmt: skip
    assert {way: told(record) for way, record in records.items()} == dict.fromkeys(records, WANTED)
    moments = {
        way: {record[name] for name in ("created_at", "updated_at") if name in record}
        for way, record in records.items()
    }
    assert not {way for way, texts in moments.items() if any(not text.endswith("+00:00") for text in texts)}

    models = {
        "model": await answer("GET", f"/api/functions/reported?id={id}"),
        "mapping": (await answer("GET", f"/api/functions/mapped?id={id}"))["type"],
    }
    assert {way: told(record) for way, record in models.items()} == dict.fromkeys(models, PLAIN)
    loosely = await answer("GET", f"/api/functions/untyped?id={id}")
    assert told(loosely) == {name: WANTED[name] for name in loosely}
    groups = await answer("GET", f"/api/things/aggregate?group_by={','.join(GROUPED)}&min={','.join(MEASURED)}")
    (group,) = groups["data"]
    assert told(group["keys"]) == {name: WANTED[name] for name in GROUPED}
    assert told(group["min"]) == {name: WANTED[name] for name in MEASURED}


async def test_streams_and_files_write_one_text(opened: Database, session: Session, ada: Principal) -> None:
    await _create(session)
    (streamed,) = await opened.call("streamed", {}, principal=ada)
    assert told(streamed) == WANTED
    lines = io.BytesIO()
    await export_file(session, Thing, lines, form=Format("jsonl"))
    assert told(json.loads(lines.getvalue())) == WANTED


async def test_the_texts_are_the_values(session: Session) -> None:
    made = await session.create(
        Thing,
        Thing.Create.model_validate_json(json.dumps({"name": "json", **{n: json.loads(t) for n, t in TEXTS.items()}})),
    )
    assert {name: shown(value) for name, value in values_of(made).items()} == {n: shown(v) for n, v in VALUES.items()}


def test_every_kind_is_here() -> None:
    assert VALUES.keys() == TEXTS.keys() == {f.name for f in Thing.__entity__.given} - {"name", "parent_id"}
