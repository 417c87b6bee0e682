"""The history of a record: who changed what, when, in which request; and the log behind it, for every way of writing."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from freehold import Context, Database, Session, errors
from freehold.model.context import new_id
from tests.conftest import new_context
from tests.probe import run
from tests.world import Contact, Customer, Order

Connection = asyncpg.Connection


async def test_a_change_says_who_when_and_in_which_request(database: Database) -> None:
    context = await new_context(database, request_id="r-1", client_ip="2001:db8::1", user_agent="Ünïcode/1 \U0001f600")
    other = Context(context.organization_id, user_id=new_id(), request_id="r-2")
    nobody = Context(context.organization_id, request_id="r-3")
    made = await database.session(context).create(Customer, name="x")
    await database.session(other).update(made, name="y")
    changes = await database.session(nobody).history(await database.session(nobody).delete((Customer, made.id, 2)))
    assert [(c.action, c.version, c.actor_id, c.request_id) for c in changes] == [
        ("delete", 3, None, "r-3"),
        ("update", 2, other.user_id, "r-2"),
        ("create", 1, context.user_id, "r-1"),
    ]
    assert (changes[2].client_ip, changes[2].user_agent) == ("2001:db8::1", "Ünïcode/1 \U0001f600")
    assert (changes[1].client_ip, changes[1].user_agent) == (None, None)
    assert all(abs(change.at - datetime.now(UTC)) < timedelta(minutes=1) for change in changes)
    assert changes[2].at <= changes[1].at <= changes[0].at
    now = await database.session(nobody).get(Customer, made.id, deleted=True)
    assert (now.created_by, now.updated_by) == (context.user_id, None)


async def test_a_diff_has_the_fields_that_changed_and_no_bookkeeping(acme: Session) -> None:
    made = await acme.create(Customer, name="x", credit=1, tags=["a"], email="a@x.test")
    await acme.update(made, name="x", credit="2.50", tags=["a", "b"], email=None)
    await acme.update((Customer, made.id, 2), visits=0)  # as it was
    gone = await acme.delete((Customer, made.id, 3))
    await acme.restore(gone)
    restore, delete, nothing, update, create = await acme.history(made)
    assert update.diff == {
        "credit": (Decimal("1.00"), Decimal("2.50")),
        "tags": (["a"], ["a", "b"]),
        "email": ("a@x.test", None),
    }
    assert nothing.diff == {}
    assert delete.diff == {"deleted_at": (None, gone.deleted_at)}
    assert restore.diff == {"deleted_at": (gone.deleted_at, None)}
    assert create.diff["email"] == (None, "a@x.test")
    assert not {"id", "organization_id", "version", "updated_at"} & set(create.diff)
    assert "born" not in create.diff  # null before and after
    assert [change.version for change in (restore, delete, nothing, update, create)] == [5, 4, 3, 2, 1]


async def test_history_comes_in_pages(acme: Session) -> None:
    made = await acme.create(Customer, name="0")
    record = made
    for n in range(1, 8):
        record = await acme.update(record, name=str(n))
    whole = await acme.history(made)
    assert [change.version for change in whole] == list(range(8, 0, -1))
    assert [change.position for change in whole] == sorted((change.position for change in whole), reverse=True)
    pages, before = [], None
    while page := await acme.history(made, limit=3, before=before):
        pages.append(page)
        before = page[-1].position
    assert [len(page) for page in pages] == [3, 3, 2]
    assert tuple(change for page in pages for change in page) == whole
    assert await acme.history(made, before=whole[-1].position) == ()


async def test_history_is_of_one_record(acme: Session, rival: Session) -> None:
    one, two = [await acme.create(Customer, name=name) for name in "ab"]
    assert [change.diff["name"][1] for change in await acme.history(one)] == ["a"]
    assert await acme.history((Customer, one.id)) == await acme.history(one)
    assert await acme.history((Customer, str(one.id))) == await acme.history(one)
    assert await acme.history((Contact, one.id)) == ()
    assert await acme.history((Customer, new_id())) == ()
    assert await rival.history(one) == ()
    assert await acme.history(two) != await acme.history(one)


@pytest.mark.parametrize("limit", [0, -1, 1001, True, "5", None, 10**9, 2.0])
async def test_a_wrong_limit_is_refused(acme: Session, limit: Any) -> None:
    with pytest.raises(errors.ValidationError, match="limit"):
        await acme.history((Customer, new_id()), limit=limit)


@pytest.mark.parametrize("before", [-1, True, "5", 2**63, 1.5])
async def test_a_wrong_position_is_refused(acme: Session, before: Any) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        await acme.history((Customer, new_id()), before=before)
    assert caught.value.issues[0].path == ("before",)


@pytest.mark.parametrize("target", ["x", None, (), (Customer,), (Customer, "x"), ("Customer", new_id()), new_id(), int])
async def test_a_target_that_is_no_record_is_refused(acme: Session, target: Any) -> None:
    with pytest.raises((errors.ValidationError, errors.ConfigurationError)):
        await acme.history(target)


async def test_the_changes_of_an_entity_an_actor_and_a_request_in_pages(database: Database, acme: Session) -> None:
    context = acme.context
    ada = database.session(Context(context.organization_id, user_id=new_id(), request_id="first"))
    bob = database.session(Context(context.organization_id, user_id=new_id(), request_id="second"))
    customer = await ada.create(Customer, name="x", patience=timedelta(days=1), tax_number="t1")
    order = await bob.create(Order, customer_id=customer.id, number="n", total="1.10")
    await bob.update(customer, name="y", tax_number="t2")
    await ada.update(order, total="2.20")
    await ada.delete((Order, order.id, 2))

    def told(changes: Any) -> list[Any]:
        return [(change.entity, change.record_id, change.action) for change in changes]

    of_customer, of_order = ("Customer", customer.id), ("Order", order.id)
    assert told(await acme.history(Order)) == [(*of_order, "delete"), (*of_order, "update"), (*of_order, "create")]
    assert told(await acme.history(actor_id=bob.context.user_id)) == [(*of_customer, "update"), (*of_order, "create")]
    by_request = await acme.history(request_id="first")
    assert told(by_request) == [(*of_order, "delete"), (*of_order, "update"), (*of_customer, "create")]
    assert by_request[1].diff == {"total": (Decimal("1.10"), Decimal("2.20"))}
    assert by_request[2].diff["patience"] == (None, timedelta(days=1))
    assert told(await acme.history(Customer, actor_id=str(ada.context.user_id), request_id="first")) == [
        (*of_customer, "create")
    ]
    assert told(await acme.history((Order, order.id), request_id="second")) == [(*of_order, "create")]
    assert "t2" not in str(await acme.history(request_id="second"))
    assert "t2" in str(await acme.history(request_id="second", private=True))
    pages, before = [], None
    while page := await acme.history(Order, limit=2, before=before):
        pages.append(told(page))
        before = page[-1].position
    assert [len(page) for page in pages] == [2, 1]


async def test_another_organization_s_changes_are_in_no_list(database: Database, acme: Session, rival: Session) -> None:
    shared = {"user_id": new_id(), "request_id": "shared"}
    theirs = database.session(Context(rival.context.organization_id, **shared))  # type: ignore[arg-type]
    await theirs.create(Customer, name="zebra")
    assert await acme.history(Customer) == ()
    assert await acme.history(actor_id=shared["user_id"]) == ()  # type: ignore[arg-type]
    assert await acme.history(request_id="shared") == ()


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"request_id": 5}, ("request_id",)),
        ({"request_id": ""}, ("request_id",)),
        ({"request_id": "x\x00"}, ("request_id",)),
        ({"actor_id": "x"}, ("id",)),
        ({}, ()),
    ],
)
async def test_wrong_arguments_are_refused(acme: Session, arguments: Any, path: Any) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        await acme.history(**arguments)
    assert caught.value.issues[0].path == path


async def log(admin: Connection, context: Context) -> list[Any]:
    return list(
        await admin.fetch(
            "select * from freehold.log where organization_id = $1 and kind = 'change' "
            "and entity in ('Customer', 'Contact', 'Order') order by position",
            context.organization_id,
        )
    )


async def test_raw_sql_on_many_rows_is_logged_row_by_row(acme: Session, raw: Connection, admin: Connection) -> None:
    customer = await acme.create(Customer, name="x")
    raw_context = Context(acme.context.organization_id, user_id=new_id(), request_id="raw", client_ip="192.0.2.9")
    await run(
        raw,
        raw_context,
        "insert into app.contacts (customer_id, name) select $1, n::text from generate_series(1, 50) n",
        customer.id,
    )
    await run(
        raw, raw_context, "update app.contacts set name = name || '!', version = version + 1 where length(name) = 1"
    )
    await run(raw, raw_context, "update app.contacts set deleted_at = now() where name = '3!'")
    await run(raw, raw_context, "update app.contacts set deleted_at = null where name = '3!'")
    await run(raw, raw_context, "delete from app.contacts where name like '4%'")
    await run(raw, raw_context, "delete from app.contacts where false")
    rows = [row for row in await log(admin, acme.context) if row["entity"] == "Contact"]
    counted: dict[str, int] = {}
    for row in rows:
        counted[row["action"]] = counted.get(row["action"], 0) + 1
        assert (row["actor_id"], row["request_id"], row["client_ip"]) == (raw_context.user_id, "raw", "192.0.2.9")
    assert counted == {"create": 50, "update": 9, "delete": 1, "restore": 1, "purge": 11}
    updates = [row for row in rows if row["action"] == "update"]
    assert len({row["record_id"] for row in updates}) == 9
    contact = next(each for each in await acme.list(Contact) if each.name == "3!")
    assert [(change.action, change.diff.get("name")) for change in (await acme.history(contact))[2:]] == [
        ("update", ("3", "3!")),
        ("create", (None, "3")),
    ]
    assert contact.created_by == raw_context.user_id


async def test_an_update_that_moves_rows_in_every_way_of_writing_is_logged(
    acme: Session, raw: Connection, admin: Connection
) -> None:
    customer = await acme.create(Customer, name="x")
    contact = await acme.create(Contact, customer_id=customer.id, name="x")
    before = len(await log(admin, acme.context))
    await run(
        raw,
        acme.context,
        "insert into app.contacts (id, customer_id, name) values ($1, $2, 'x'), (freehold.new_id(), $2, 'y') "
        "on conflict (organization_id, id) do update set name = 'upserted'",
        contact.id,
        customer.id,
    )
    await run(
        raw,
        acme.context,
        "merge into app.contacts t using (values ('upserted'), ('z')) s (name) on t.name = s.name "
        "when matched then update set name = 'merged' when not matched then insert (customer_id, name) values ($1, s.name)",
        customer.id,
    )
    await run(
        raw,
        acme.context,
        "with changed as (update app.contacts set name = 'w' where name = 'y' returning *), "
        "gone as (delete from app.contacts where name = 'z' returning *) select * from changed, gone",
    )
    rows = (await log(admin, acme.context))[before:]
    assert sorted((row["action"], name_of(row)) for row in rows) == [
        ("create", "y"),
        ("create", "z"),
        ("purge", "z"),
        ("update", "merged"),
        ("update", "upserted"),
        ("update", "w"),
    ]


def name_of(row: Any) -> str:
    return str(json.loads(row["new"] or row["old"])["name"])


async def test_the_administrator_s_changes_are_logged_too(acme: Session, admin: Connection) -> None:
    made = await acme.create(Customer, name="x")
    await admin.execute("update app.customers set name = 'y' where id = $1", made.id)
    change = (await acme.history(made))[0]
    assert (change.action, change.actor_id, change.diff) == ("update", None, {"name": ("x", "y")})


async def test_what_is_rolled_back_is_not_in_the_log(acme: Session, raw: Connection, admin: Connection) -> None:
    made = await acme.create(Customer, name="x")
    before = await log(admin, acme.context)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await run(raw, acme.context, "update app.customers set visits = 1 / (version - 1)")
    await acme.create(Order, customer_id=made.id, number="1", total=1)
    with pytest.raises(errors.UniqueError):
        await acme.create(Order, customer_id=made.id, number="1", total=1)
    after = await log(admin, acme.context)
    assert len(after) == len(before) + 1


async def test_the_log_keeps_a_record_s_order(acme: Session, admin: Connection) -> None:
    made = await acme.create(Customer, name="x")
    record = made
    for n in range(5):
        record = await acme.update(record, visits=n)
    rows = [row for row in await log(admin, acme.context) if row["record_id"] == made.id]
    assert [row["version"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["xid"] for row in rows] == sorted(row["xid"] for row in rows)
    assert len({row["xid"] for row in rows}) == 6
