"""The manifest: it tells of everything, as the wire has it, and of nothing twice."""

import json
from datetime import time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from freehold import Application, Database, Entity, Page, Principal, Session, UnitOfWork, errors, field, reference
from freehold.functions.arguments import Arguments
from freehold.functions.manifest import manifest_of
from freehold.functions.statuses import STATUSES, status_of
from freehold.identity.principal import Origin
from freehold.model.permissions import permits
from tests.functions.shop import shop
from tests.world import Contact, Customer, Order

MANIFEST = shop.manifest()


def function(name: str, manifest: dict[str, Any] = MANIFEST) -> dict[str, Any]:
    return next(each for each in manifest["functions"] if each["name"] == name)


def validator(schema: Any, manifest: dict[str, Any] = MANIFEST) -> Validator:
    checked = {"root": schema, "schemas": manifest["schemas"], "$ref": "#/root"}
    Draft202012Validator.check_schema(checked)
    return Draft202012Validator(checked, format_checker=Draft202012Validator.FORMAT_CHECKER)


def test_every_function_is_told_of_with_all_that_it_declares() -> None:
    assert [each["name"] for each in MANIFEST["functions"]] == [each.name for each in shop.functions]
    pay = function("customers.pay")
    assert (pay["kind"], pay["idempotent"], pay["permission"]) == ("command", "key", "customers.pay")
    assert pay["rates"] == [{"requests": 5, "per": 60, "by": "actor"}]
    assert pay["query_key"] is None
    figures = function("customers.figures")
    assert figures["query_key"] == ["customers", "figures"]
    assert (figures["summary"], figures["description"]) == ("The organization's figures.", "Counts what is there now.")
    assert figures["parameters"]["properties"]["least"]["description"] == "only customers with this much credit."
    listed = function("customers.list")
    assert (listed["entity"], listed["action"], listed["page"]) == ("Customer", "list", True)
    assert function("sleepy")["timeout"] == 0.2
    assert function("customers.stream")["stream"] is True
    assert function("hello")["public"] is True


def test_every_schema_is_one_and_refers_to_what_is_there() -> None:
    for each in MANIFEST["functions"]:
        validator(each["parameters"])
        validator(each["result"])
    for entity in MANIFEST["entities"]:
        validator(entity["create"])
        validator(entity["patch"])
    assert "$defs" not in json.dumps(MANIFEST)


def test_permissions_lead_to_their_functions_and_roles_to_permissions() -> None:
    assert "customers.sneaky" in MANIFEST["permissions"]["customers.list"]
    assert None not in MANIFEST["permissions"]
    assert MANIFEST["roles"] == {"admin": ["*"], "guest": ["*.get", "*.list"], "sales": ["*.list", "customers.*"]}
    assert permits(frozenset(MANIFEST["roles"]["sales"]), "customers.pay")
    assert Application("none", []).manifest()["roles"] is None


def test_errors_have_codes_statuses_and_meanings() -> None:
    told = {error["code"]: error for error in MANIFEST["errors"]}
    assert told["FH201"] == {
        "code": "FH201",
        "name": "ConcurrencyError",
        "status": 409,
        "meaning": "The record has been changed since it was read.",
    }
    assert {error["name"] for error in told.values()} == {
        name for name in errors.__all__ if name.endswith("Error") and name != "FreeholdError"
    }
    assert all(error["meaning"] for error in told.values())
    assert all(told[each.code]["status"] == status for each, status in STATUSES.items())
    assert (status_of(errors.RequestError("x", status=413)), status_of(errors.IsolationError("x"))) == (413, 403)


def test_a_function_tells_which_errors_it_can_meet() -> None:
    assert "FH201" in function("customers.update")["errors"]
    assert "FH201" not in function("customers.create")["errors"]
    assert "FH302" not in function("hello")["errors"]
    assert "FH206" in function("orders.place")["errors"]
    assert "FH101" in function("customers.list")["errors"]


def test_the_docstring_s_raises_counts() -> None:
    application = Application("x", [])

    @application.query(requires=None)
    async def old(session: Session) -> int:
        """What was.

        Raises:
            HistoryError: the log does not reach back.
            ValueError: never told of.
        """
        return 1

    (told,) = application.manifest()["functions"]
    assert errors.HistoryError.code in told["errors"]


def test_a_field_tells_of_its_bounds_its_filters_and_whether_it_may_be_shown() -> None:
    (customer,) = [each for each in MANIFEST["entities"] if each["name"] == "Customer"]
    fields = {each["name"]: each for each in customer["fields"]}
    assert fields["name"]["bounds"] == {"min_length": 1, "max_length": 200}
    assert (fields["credit"]["digits"], fields["credit"]["places"], fields["credit"]["default"]) == (12, 2, "0")
    assert fields["tags"]["operators"] == ["eq", "ne", "contains", "is_null"]
    assert (fields["tags"]["default"], fields["tags"]["sortable"], fields["name"]["sortable"]) == ([], False, True)
    assert (fields["tax_number"]["private"], fields["tax_number"]["sortable"]) == (True, False)
    assert fields["name"]["required"] is True
    assert "default" not in fields["name"]
    assert fields["profile"]["default"]["theme"]["color"] == "red"
    (contact,) = [each for each in MANIFEST["entities"] if each["name"] == "Contact"]
    assert contact["unique"][0]["where"] == {"is_primary": True}
    assert next(each for each in contact["fields"] if each["name"] == "customer_id")["reference"] == {
        "entity": "Customer",
        "relation": "customer",
        "on_delete": "cascade",
    }
    assert customer["checks"] == {"vip_has_credit": "status <> 'vip' or credit > 0"}
    assert customer["exposed"]["list"] == "customers.list"


def test_no_private_field_is_in_what_functions_take_or_answer() -> None:
    told = json.dumps({"functions": MANIFEST["functions"], "schemas": MANIFEST["schemas"]})
    assert "tax_number" not in told


WHOLE = {
    "name": "Acme", "email": "a@acme.example", "status": "vip", "level": "high", "credit": "12.50", "visits": 3, "rating": 0.5,
    "born": "2001-02-03", "seen_at": "2026-01-02T03:04:05.678901+00:00", "opens": "09:30", "patience": 90.5, "photo": "00ff",
    "newsletter": True, "tags": ["a"], "scores": ["1.125", 7], "profile": {"theme": {"ratio": "1.5"}}, "code": "c",
    "external": "018f3c5e-7a1b-7c2d-8e4f-5a6b7c8d9e0f",
}  # fmt: skip


async def test_what_schemas_say_of_records_is_what_the_wire_has(shop_database: Database, ada: Principal) -> None:
    create = validator(function("customers.create")["parameters"])
    create.validate({"values": WHOLE})
    record = await shop_database.call("customers.create", {"values": WHOLE}, principal=ada)
    async with shop_database.session(ada.context(Origin())) as session:
        await session.create(Contact, customer_id=UUID(record["id"]), name="Bo")
        await session.create(Order, customer_id=UUID(record["id"]), number="A-1", total=5)
    validator(function("customers.create")["result"]).validate(record)
    include = {"include": {"contacts": {}, "orders": "count"}}
    got = await shop_database.call("customers.get", {"id": record["id"], **include}, principal=ada)
    assert (len(got["contacts"]), got["orders_count"]) == (1, 1)
    validator(function("customers.get")["result"]).validate(got)
    page = await shop_database.call("customers.list", {"total": True, **include}, principal=ada)
    validator(function("customers.list")["result"]).validate(page)
    orders = await shop_database.call("orders.list", {"include": ["customer", "contact"]}, principal=ada)
    validator(function("orders.list")["result"]).validate(orders)
    named = await shop_database.call("customers.named", {"names": ["Acme"]}, principal=ada)
    validator(function("customers.named")["result"]).validate(named)
    history = await shop_database.call("customers.history", {"id": record["id"]}, principal=ada)
    validator(function("customers.history")["result"]).validate(history)
    groups = await shop_database.call("customers.aggregate", {"sum": ["credit"]}, principal=ada)
    validator(function("customers.aggregate")["result"]).validate(groups)
    figures = await shop_database.call("customers.figures", {}, principal=ada)
    validator(function("customers.figures")["result"]).validate(figures)
    every = set(Customer.__entity__.fields) - {"tax_number"}
    assert set(record) == every == set(MANIFEST["schemas"]["Customer"]["required"])


REFUSED: list[tuple[str, Any]] = [
    ("name", ""), ("name", "x" * 201), ("name", 5), ("status", "lost"), ("credit", "-1"), ("credit", "1.234"), ("credit", "1e3000"),
    ("credit", "12345678901"), ("credit", True), ("visits", 1.5), ("visits", 2**63), ("born", "yesterday"), ("opens", "25:00"),
    ("opens", "09:30+01:00"), ("photo", "xyz"), ("photo", "00" * 1_001), ("patience", 10**12), ("tags", "a"), ("external", "x"),
    ("version", 5), ("tax_number", "1"), ("organization_id", WHOLE["external"]), ("seen_at", "2026-01-02T03:04:05"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_what_is_refused_is_no_value_of_the_schema(name: str, value: Any) -> None:
    arguments = {"values": {**WHOLE, name: value}}
    with pytest.raises(errors.ValidationError):
        Arguments.of_json(json.dumps(arguments).encode()).parse(shop.functions["customers.create"])
    checked = validator(function("customers.create")["parameters"])
    if name != "seen_at":  # the format is not checked by this validator
        assert not checked.is_valid(arguments)


def test_a_patch_names_no_default() -> None:
    patch = MANIFEST["schemas"]["CustomerPatch"]
    assert not any("default" in each for each in patch["properties"].values())
    assert "required" not in patch


class Shape(BaseModel):
    """Kinds that differ between Python and the wire."""

    model_config = ConfigDict(extra="forbid")

    long: timedelta = timedelta(seconds=5)
    at: time | None = None
    part: Annotated[Decimal, Field(ge=0, le=1, max_digits=3, decimal_places=2)] = Decimal(0)
    words: frozenset[str] = frozenset({"b", "a", "c"})


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


async def shapes(
    session: Session, shape: Shape, pet: Annotated[Cat | Dog, Field(discriminator="kind")]
) -> Page[dict[str, Any]]:
    """Shapes."""
    raise NotImplementedError


async def kept(unit: UnitOfWork, shape: Shape) -> Shape:
    """Keeps one."""
    return shape


def test_models_are_told_as_they_are_taken_and_as_they_are_answered() -> None:
    application = Application("x", [])
    application.query(name="shapes.all")(shapes)
    application.command(name="shapes.keep")(kept)
    manifest = application.manifest()
    taken, answered = manifest["schemas"]["ShapeInput"], manifest["schemas"]["Shape"]
    assert (taken["additionalProperties"], "additionalProperties" in answered) == (False, False)
    assert "required" not in taken
    assert answered["required"] == ["long", "at", "part", "words"]
    assert taken["properties"]["words"]["default"] == ["a", "b", "c"]
    assert taken["properties"]["part"]["anyOf"][1] == {"type": "integer", "minimum": 0, "maximum": 1}
    assert (taken["properties"]["long"]["type"], answered["properties"]["long"]["format"]) == ("number", "duration")
    page = function("shapes.all", manifest)["result"]
    assert page["required"] == ["data", "next", "previous"]
    pet = function("shapes.all", manifest)["parameters"]["properties"]["pet"]
    assert pet["discriminator"]["mapping"] == {"cat": "#/schemas/Cat", "dog": "#/schemas/Dog"}
    written = TypeAdapter(Shape).dump_python(Shape(), mode="json")
    validator(function("shapes.keep", manifest)["result"], manifest).validate({**written, "part": "0"})


def test_entities_that_are_not_exposed_are_told_of_to_their_makers() -> None:
    class Secret(Entity):
        text: str = field(max_length=10, private=True)
        parent_id: UUID | None = reference("self", default=None)

    manifest = Application("x", [Secret]).manifest()
    assert manifest["functions"] == []
    assert manifest["entities"][0]["create"] == {"$ref": "#/schemas/SecretCreate"}
    assert manifest["entities"][0]["exposed"] == {}


def test_it_does_not_depend_on_the_order_in_which_functions_were_declared() -> None:
    functions = list(shop.functions)
    again = manifest_of(shop.name, shop.registry, sorted(functions, key=lambda each: each.name), shop.grants)
    assert again == MANIFEST
