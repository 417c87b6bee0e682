"""What callers of entities' functions cannot do: reach other organizations, private fields, or what their role does not grant."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from freehold import Application, Database, Entity, Page, Principal, Session, errors, field, reference
from freehold.errors import DeclarationError
from freehold.functions.exposed import exposed
from freehold.identity.principal import Origin
from freehold.model.registry import Registry
from freehold.model.vocabulary import offered
from tests.functions.conftest import as_role
from tests.functions.shop import shop
from tests.functions.test_exposed import called
from tests.functions.test_pipeline import count, made
from tests.world import Contact, Customer, Order

PRIVATE: list[tuple[str, dict[str, Any]]] = [
    ("customers.list", {"where": {"{}": "1"}}),
    ("customers.list", {"where": {"{}": {"gt": 1}}}),
    ("customers.list", {"where": {"or": [{"not": {"{}.x": 5}}]}}),
    ("customers.list", {"where": {"contacts.customer.{}": "1"}}),
    ("customers.list", {"order": ["-{}"]}),
    ("customers.list", {"select": ["name", "{}"]}),
    ("customers.list", {"include": {"contacts": {"where": {"customer.{}": "1"}}}}),
    ("customers.list", {"include": {"contacts": {"include": {"customer": {"select": ["{}"]}}}}}),
    ("customers.list", {"include": {"{}": {}}}),
    ("customers.get", {"id": uuid4(), "select": ["{}"]}),
    ("customers.aggregate", {"group_by": ["{}"]}),
    ("customers.aggregate", {"max": ["{}"]}),
    ("customers.aggregate", {"where": {"{}": "1"}}),
    ("contacts.list", {"where": {"customer.{}": "1"}}),
    ("contacts.list", {"include": {"customer": {"order": "{}"}}}),
]


def filled(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {filled(key, name): filled(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, name) for item in value]
    return value.replace("{}", name) if isinstance(value, str) else value


@pytest.mark.parametrize(("name", "arguments"), PRIVATE)
async def test_a_private_field_is_as_unknown_as_any(
    shop_database: Database, ada: Principal, name: str, arguments: dict[str, Any]
) -> None:
    told = []
    for field_name in ("tax_number", "abc_number", "tax_numbr"):
        with pytest.raises(errors.ValidationError) as caught:
            await called(shop_database, name, ada, **filled(arguments, field_name))
        told.append(str(caught.value).replace(field_name, "…"))
        assert {issue.code for issue in caught.value.issues} <= {
            "unknown_field", "unknown_relation", "unknown_field_or_relation"
        }  # fmt: skip
    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize(
    "name", ["tax_number", "organization_id", "version", "id", "created_by", "created_at", "deleted_at", "abc_number"]
)
async def test_what_is_not_for_callers_cannot_be_set(shop_database: Database, ada: Principal, name: str) -> None:
    customer = await made(shop_database, ada)
    for function, arguments in (
        ("customers.create", {"values": {"name": "x", name: "1"}}),
        ("customers.update", {"id": customer.id, "version": 1, "changes": {name: "1"}}),
    ):
        with pytest.raises(errors.ValidationError) as caught:
            await called(shop_database, function, ada, **arguments)
        (issue,) = caught.value.issues
        assert (issue.path[-1], issue.code) == (name, "extra_forbidden")
    assert await count(shop_database, ada) == 1
    async with shop_database.session(ada.context(Origin())) as session:
        assert (await session.get(Customer, customer.id, private=True)).tax_number is None
    assert (
        name
        not in shop.functions["customers.create"].parameters.model_json_schema()["$defs"]["CustomerCreate"][
            "properties"
        ]
    )


async def test_another_organization_s_records_are_as_absent_ones(
    shop_database: Database, ada: Principal, eve: Principal
) -> None:
    customer = await made(shop_database, ada, "Acme")
    async with shop_database.session(ada.context(Origin())) as session:
        contact = await session.create(Contact, customer_id=customer.id, name="Ann")
        await session.create(Order, customer_id=customer.id, number="A", total=5)
    mine = await made(shop_database, eve, "Mine")
    own = await called(shop_database, "contacts.create", eve, values={"customer_id": mine.id, "name": "Eve"})

    async def told(foreign: UUID) -> list[str]:
        """What eve hears when she names a record."""
        heard = []
        version = {"id": foreign, "version": 1}
        for name, arguments in (
            ("customers.get", {"id": foreign}),
            ("customers.get", {"id": foreign, "include": ["contacts"], "select": ["name"]}),
            ("customers.history", {"id": foreign}),
            ("customers.update", {**version, "changes": {"name": "Eve"}}),
            ("customers.delete", version),
            ("customers.restore", version),
            ("contacts.create", {"values": {"customer_id": foreign, "name": "Eve"}}),
            ("contacts.update", {"id": own["id"], "version": 1, "changes": {"customer_id": foreign}}),
            ("orders.create", {"values": {"customer_id": mine.id, "contact_id": foreign, "number": "E", "total": 1}}),
            ("customers.list", {"where": {"id": foreign}}),
            ("customers.list", {"where": {"contacts.id": foreign}}),
            ("contacts.list", {"where": {"customer_id": foreign}, "include": ["customer"]}),
            ("customers.aggregate", {"where": {"id": foreign}}),
        ):
            try:
                heard.append(f"{name}: {await called(shop_database, name, eve, **arguments)}")
            except errors.FreeholdError as error:
                heard.append(f"{name}: {type(error).__name__}: {error}")
        return [text.replace(str(foreign), "…") for text in heard]

    absent = uuid4()
    assert await told(customer.id) == await told(absent)
    assert await told(contact.id) == await told(absent)
    page = await called(shop_database, "customers.list", eve, include={"contacts": {}, "orders": "count"})
    assert [(row["name"], row["orders_count"]) for row in page["data"]] == [("Mine", 0)]
    async with shop_database.session(ada.context(Origin())) as session:
        assert (await session.get(Customer, customer.id)).version == 1


async def test_a_cursor_leads_nowhere_in_another_organization(
    shop_database: Database, ada: Principal, eve: Principal
) -> None:
    for name in ("a", "b", "c"):
        await made(shop_database, ada, name)
    page = await called(shop_database, "customers.list", ada, limit=1, order="name")
    second = await called(shop_database, "customers.list", ada, limit=1, order="name", after=page["next"])
    assert [row["name"] for row in second["data"]] == ["b"]
    cursor = page["next"]
    edited = f"{cursor[:-1]}{'A' if cursor[-1] != 'A' else 'B'}"
    for caller, arguments in (
        (eve, {"order": "name", "after": cursor}),
        (ada, {"order": "-name", "after": cursor}),
        (ada, {"order": "name", "after": cursor, "where": {"name": "a"}}),
        (ada, {"order": "name", "after": edited}),
        (ada, {"order": "name", "after": "x" * 80_000}),
    ):
        with pytest.raises(errors.ValidationError):
            await called(shop_database, "customers.list", caller, limit=1, **arguments)


WRITES = ["create", "update", "delete", "restore", "import"]
READS = ["list", "get", "history", "aggregate", "export"]


@pytest.mark.parametrize("action", [*WRITES, *READS])
async def test_each_action_needs_its_permission_and_nothing_happens_without(
    shop_database: Database, ada: Principal, action: str
) -> None:
    customer = await made(shop_database, ada)
    others = frozenset(f"customers.{each}" for each in [*WRITES, *READS] if each != action) | {"*.x", "orders.*"}
    clerk = Principal(ada.organization_id, ada.user_id, "clerk", others, "user:clerk")
    arguments = {
        "create": {"values": {"name": "x"}},
        "update": {"id": customer.id, "version": 1, "changes": {"name": "x"}},
        **{key: {"id": customer.id, "version": 1} for key in ("delete", "restore")},
        **{key: {"id": customer.id} for key in ("get", "history")},
    }
    with pytest.raises(errors.ForbiddenError, match=rf"customers\.{action}"):
        await called(shop_database, f"customers.{action}", clerk, **arguments.get(action, {}))
    with pytest.raises(errors.AuthenticationError):
        await called(shop_database, f"customers.{action}", None, **arguments.get(action, {}))
    history = await called(shop_database, "customers.history", ada, id=customer.id)
    assert [change["action"] for change in history["data"]] == ["create"]
    assert await count(shop_database, ada) == 1


async def test_relations_to_what_a_role_may_not_read_are_unknown(shop_database: Database, ada: Principal) -> None:
    customer = await made(shop_database, ada, "Acme")
    async with shop_database.session(ada.context(Origin())) as session:
        await session.create(Order, customer_id=customer.id, number="A", total=5)
    clerk = Principal(ada.organization_id, ada.user_id, "clerk", frozenset({"orders.*", "contacts.get"}), "user:clerk")
    page = await called(shop_database, "orders.list", clerk, include=["contact"])
    assert [row["contact"] for row in page["data"]] == [None]
    for arguments in (
        {"include": ["customer"]},
        {"where": {"customer.name": "Acme"}},
        {"where": {"customer.nonsense": "Acme"}},
        {"where": {"contact.customer.name": "Acme"}},
        {"include": {"contact": {"include": {"customer": True}}}},
        {"include": {"contact": {"where": {"customer.name": "Acme"}}}},
    ):
        with pytest.raises(errors.ValidationError, match=r"customer'? is no (field or )?relation") as caught:
            await called(shop_database, "orders.list", clerk, **arguments)
        assert "did you mean 'customer'" not in str(caught.value)
    whole = await called(shop_database, "orders.list", ada, include=["customer"])
    assert whole["data"][0]["customer"]["name"] == "Acme"


async def test_deleted_records_are_for_who_may_restore_them(shop_database: Database, ada: Principal) -> None:
    customer = await made(shop_database, ada)
    await called(shop_database, "customers.delete", ada, id=customer.id, version=1)
    guest = as_role(ada, "guest")
    assert (await called(shop_database, "customers.list", guest))["data"] == []
    with pytest.raises(errors.ForbiddenError, match=r"customers\.restore"):
        await called(shop_database, "customers.list", guest, deleted=True)
    page = await called(shop_database, "customers.list", ada, deleted=True)
    assert [row["id"] for row in page["data"]] == [str(customer.id)]
    with pytest.raises(errors.NotFoundError):
        await called(shop_database, "customers.get", ada, id=customer.id)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"limit": 10**9}, "limit: .*less than or equal to 1000"),
        ({"limit": 0}, "limit: "),
        ({"where": {"or": [{"name": str(n)} for n in range(10_000)]}}, r"where\.or: has more than 200 filters"),
        ({"where": {"name": {"in": [str(n) for n in range(10_000)]}}}, r"where\.name\.in: has more than 1000"),
        ({"include": {f"r{n}": True for n in range(40)}}, "include: .*at most 30"),
        ({"select": ["name"] * 300}, "select: .*at most 200"),
        ({"order": ["name"] * 20}, "order: names more than 8"),
        ({"search": "a" * 2000}, "search: .*at most 1000"),
        ({"where": {"and": [{"or": [{"not": {"x": 1}}]}], "colour": 1}, "order": "size", "select": ["weight"]},
         r"where\.and.*where\.colour.*order\.0.*select\.0"),
        ({"where": [1]}, "where: .*dictionary"),
        ({"include": {"contacts": "all"}}, r"include\.contacts"),
        ({"include": {"contacts": {"limit": 10**9}}}, r"include\.contacts\.limit"),
        ({"after": "x", "before": "y"}, "before"),
    ],
)  # fmt: skip
async def test_what_is_too_much_or_wrong_is_told_by_its_name(
    shop_database: Database, ada: Principal, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(errors.ValidationError, match=told):
        await called(shop_database, "customers.list", ada, **arguments)


class Author(Entity, expose={"list": "people.read", "get": None, "update": "people.write"}):
    name: str = field(max_length=50)


class Draft(Entity):
    author_id: UUID = reference(Author)
    title: str = field(max_length=50)


class Book(Entity, expose=["list"], soft_delete=True):
    author_id: UUID = reference(Author)
    draft_id: UUID | None = reference(Draft, default=None)
    code: str = field(max_length=50, private=True)


def test_only_what_is_exposed_is_offered_with_the_permission_that_is_said() -> None:
    made = {function.name: function.permission for function in exposed(Registry([Author, Draft, Book]))}
    assert made == {
        "authors.list": "people.read", "authors.get": None, "authors.update": "people.write", "books.list": "books.list"
    }  # fmt: skip


def test_relations_are_offered_to_who_may_read_their_records() -> None:
    registry = Registry([Author, Draft, Book])
    nobody = offered(registry, frozenset())
    assert set(nobody.relations["Book"]) == {"author"}  # to get one needs no permission; drafts are not exposed
    assert set(nobody.relations["Author"]) == set()
    assert set(offered(registry, frozenset({"books.list"})).relations["Author"]) == {"books"}
    assert "code" not in nobody.fields["Book"]


def test_what_needs_a_private_value_cannot_be_created_from_outside() -> None:
    with pytest.raises(DeclarationError, match="a default for each private field"):

        class Account(Entity, expose=["create"]):
            pin: str = field(max_length=4, private=True)

    class Safe(Entity, expose="all"):
        pin: str = field(max_length=4, private=True)

    assert set(Safe.__entity__.exposed) == {"list", "get", "delete", "history", "aggregate", "export"}


async def test_a_function_takes_the_place_of_the_one_that_is_offered(shop_database: Database, ada: Principal) -> None:
    application = Application("other", [Customer, Contact, Order])
    generated = application.functions["customers.list"]

    @application.query(name="customers.list", requires="customers.see")
    async def mine(session: Session, limit: int = 5) -> Page[Customer]:
        """My own list."""
        return await session.list(Customer, limit=limit)

    function = application.functions["customers.list"]
    assert (function.call, function.action, function.permission) == (mine, None, "customers.see")
    assert generated.action == "list"
    assert application.functions["customers.get"].action == "get"
