"""Declarations: what a class body becomes, and how a wrong one is told at import."""

import copy
import enum
import pickle
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field
from sqlalchemy.dialects import postgresql

from freehold import Application, Entity, Index, Unique, errors, field, reference
from freehold.engine.tables import build_tables
from freehold.model.description import BASE_FIELDS, constraint_name, plural_snake
from freehold.model.registry import Registry
from freehold.sql.identifiers import Schemas
from tests.world import Contact, Customer, Level, Order, Profile, application

Fields = dict[str, tuple[Any, Any]]
ABSENT = object()


def declared(fields: Fields, name: str = "Thing", **options: Any) -> type[Entity]:
    """The entity that a class statement with these annotated fields makes; ABSENT leaves the assignment out."""
    namespace: dict[str, Any] = {"__module__": __name__, "__qualname__": name}
    namespace["__annotations__"] = {key: annotation for key, (annotation, _) in fields.items()}
    namespace |= {key: value for key, (_, value) in fields.items() if value is not ABSENT}
    return type(Entity)(name, (Entity,), namespace, **options)


def text(**more: Any) -> tuple[Any, Any]:
    return str, field(max_length=50, **more)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class TestColumns:
    @pytest.mark.parametrize(
        ("annotation", "options", "sql_type"),
        [
            (str, {}, "TEXT"),
            (int, {}, "BIGINT"),
            (float, {}, "DOUBLE PRECISION"),
            (Decimal, {"digits": 12, "places": 2}, "NUMERIC(12, 2)"),
            (bool, {}, "BOOLEAN"),
            (date, {}, "DATE"),
            (datetime, {}, "TIMESTAMP WITH TIME ZONE"),
            (time, {}, "TIME WITHOUT TIME ZONE"),
            (timedelta, {}, "INTERVAL"),
            (UUID, {}, "UUID"),
            (bytes, {}, "BYTEA"),
            (Color, {}, "TEXT"),
            (Size, {}, "BIGINT"),
            (Literal["a", "b"], {}, "TEXT"),
            (Literal[1, 2], {}, "BIGINT"),
            (list[str], {}, "TEXT[]"),
            (list[Decimal], {"digits": 8, "places": 3}, "NUMERIC(8, 3)[]"),
            (list[Color], {}, "TEXT[]"),
            (list[datetime], {}, "TIMESTAMP WITH TIME ZONE[]"),
            (Profile, {}, "JSONB"),
            (dict[str, Any], {}, "JSONB"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("nullable", [False, True])
    def test_a_type_is_a_column(self, annotation: Any, options: dict[str, Any], sql_type: str, nullable: bool) -> None:
        entity = declared({"x": (annotation | None if nullable else annotation, field(**options))})
        described = entity.__entity__.fields["x"]
        assert described.nullable is nullable
        column = build_tables(Registry([entity]), Schemas()).tables["app.things"].c.x
        assert column.type.compile(dialect=postgresql.dialect()).replace(' COLLATE "C"', "") == sql_type
        assert column.nullable is nullable

    def test_the_base_gives_its_columns(self) -> None:
        table = build_tables(application.registry, Schemas()).tables["app.orders"]
        assert next(iter(table.c.keys())) == "organization_id"
        assert set(BASE_FIELDS) - {"deleted_at"} <= set(table.c.keys())
        assert "deleted_at" not in table.c
        assert [column.name for column in table.primary_key] == ["organization_id", "id"]

    def test_soft_deletion_adds_its_column(self) -> None:
        assert "deleted_at" in Customer.__entity__.fields
        assert "deleted_at" not in Order.__entity__.fields

    def test_references_and_unique_keys_include_the_organization(self) -> None:
        for table in build_tables(application.registry, Schemas()).tables.values():
            for key in table.foreign_key_constraints:
                assert next(iter(key.column_keys)) == "organization_id"
            for index in table.indexes:
                assert index.columns[0].name == "organization_id", index.name

    @pytest.mark.parametrize(
        ("name", "table"),
        [
            ("Order", "orders"),
            ("OrderLine", "order_lines"),
            ("Activity", "activities"),
            ("Day", "days"),
            ("Address", "addresses"),
            ("Box", "boxes"),
            ("HTTPRequest", "http_requests"),
            ("Branch", "branches"),
        ],
    )
    def test_the_table_is_named_after_the_class(self, name: str, table: str) -> None:
        assert plural_snake(name) == table
        assert declared({"x": text()}, name).__entity__.table == table

    def test_a_long_name_of_a_constraint_stays_apart_and_within_its_bound(self) -> None:
        names = {constraint_name("t" * 40, ["c" * 39 + end], "key") for end in "abcdefgh"}
        assert len(names) == 8
        assert all(len(name) <= 63 for name in names)

    def test_a_plain_annotation_and_a_plain_default_will_do(self) -> None:
        class Note(Entity):
            body: str
            pinned: bool = False
            author: str | None = None

        assert Note.Create(body="x").model_dump() == {"body": "x", "pinned": False, "author": None}
        assert Note.__entity__.fields["author"].nullable

    def test_a_subclass_has_the_fields_of_its_parent(self) -> None:
        class Animal(Entity):
            name: str = field(max_length=20, immutable=True)
            weight: Decimal = field(digits=5, places=1)

        class Dog(Animal):
            breed: str = field(max_length=30)

        assert [described.name for described in Dog.__entity__.own] == ["name", "weight", "breed"]
        assert Dog.__entity__.table == "dogs"
        assert Dog.__entity__.fields["weight"].sql_type == "numeric(5, 1)"
        assert set(Dog.Patch.model_fields) == {"weight", "breed"}


class TestInputs:
    def test_create_has_no_base_fields(self) -> None:
        assert not set(Customer.Create.model_fields) & set(BASE_FIELDS)
        assert set(Customer.Create.model_fields) == {described.name for described in Customer.__entity__.own}

    def test_create_wants_what_has_no_default(self) -> None:
        required = {name for name, info in Customer.Create.model_fields.items() if info.is_required()}
        assert required == {"name"}
        assert {name for name, info in Order.Create.model_fields.items() if info.is_required()} == {
            "customer_id",
            "number",
            "total",
        }

    def test_patch_has_everything_optional_but_nothing_immutable(self) -> None:
        assert not any(info.is_required() for info in Customer.Patch.model_fields.values())
        assert set(Customer.Create.model_fields) - set(Customer.Patch.model_fields) == {"code"}
        assert Customer.Patch().model_fields_set == set()

    @pytest.mark.parametrize("schema", [Customer.Create, Customer.Patch])
    def test_null_is_allowed_only_where_the_type_says_so(self, schema: Any) -> None:
        for name in schema.model_fields:
            given = {"name": "x", name: None}
            if Customer.__entity__.fields[name].nullable:
                assert getattr(schema.model_validate(given), name) is None
            else:
                with pytest.raises(ValueError, match=name):
                    schema.model_validate(given)

    @pytest.mark.parametrize("schema", [Customer.Create, Customer.Patch])
    @pytest.mark.parametrize("name", ["nmae", "id", "organization_id", "version", "created_by", "deleted_at"])
    def test_unknown_fields_are_refused(self, schema: Any, name: str) -> None:
        with pytest.raises(ValueError, match="Extra inputs"):
            schema.model_validate({"name": "x", name: None})

    def test_inputs_are_frozen(self) -> None:
        for made in (Customer.Create(name="x"), Customer.Patch(name="x")):
            with pytest.raises(ValueError, match="frozen"):
                made.name = "y"

    def test_defaults_are_made_anew(self) -> None:
        first, second = Customer.Create(name="x"), Customer.Create(name="y")
        assert first.tags == []
        assert first.tags is not second.tags

    @pytest.mark.parametrize("schema", ["Create", "Patch"])
    @pytest.mark.parametrize("options", [{}, {"default": "a"}, {"default_factory": str}], ids=str)
    def test_a_description_is_in_both_schemas(self, schema: str, options: dict[str, Any]) -> None:
        entity = declared({"x": text(description="what it is", **options)})
        assert getattr(entity, schema).model_json_schema()["properties"]["x"]["description"] == "what it is"

    def test_the_schemas_can_be_told_as_json(self) -> None:
        manifest = application.manifest()
        for described in manifest["entities"]:
            create, patch = (
                manifest["schemas"][described[name]["$ref"].rpartition("/")[2]] for name in ("create", "patch")
            )
            assert create["additionalProperties"] is False
            assert patch["additionalProperties"] is False
            assert "required" not in patch

    @pytest.mark.parametrize(
        ("options", "good", "bad"),
        [
            ({"min_length": 2}, "ab", "a"),
            ({"max_length": 2}, "ab", "abc"),
            ({"pattern": "^[a-z]+$"}, "ab", "a1"),
        ],
        ids=str,
    )
    def test_bounds_of_text_hold(self, options: dict[str, Any], good: str, bad: str) -> None:
        entity = declared({"x": (str, field(**options))})
        for schema in (entity.Create, entity.Patch):
            assert schema(x=good).x == good
            with pytest.raises(ValueError, match="1 validation error"):
                schema(x=bad)

    @pytest.mark.parametrize(
        ("options", "good", "bad"),
        [({"ge": 2}, 2, 1), ({"gt": 2}, 3, 2), ({"le": 2}, 2, 3), ({"lt": 2}, 1, 2)],
        ids=str,
    )
    @pytest.mark.parametrize("annotation", [int, float, Decimal])
    def test_bounds_of_numbers_hold(self, annotation: Any, options: dict[str, Any], good: int, bad: int) -> None:
        digits = {"digits": 6, "places": 2} if annotation is Decimal else {}
        entity = declared({"x": (annotation | None, field(**options, **digits))})
        assert entity.Create(x=good).x == good
        with pytest.raises(ValueError, match="1 validation error"):
            entity.Patch(x=bad)

    def test_digits_and_places_hold(self) -> None:
        for value in ("1.234", "99999999999.00", "NaN", "Infinity"):
            with pytest.raises(ValueError, match="1 validation error"):
                Customer.Create(name="x", credit=value)
        with pytest.raises(ValueError, match="1 validation error"):
            Customer.Create(name="x", scores=["1.2345"])


class TestRecords:
    ROW: ClassVar[dict[str, Any]] = {
        "id": "0198c0de-0000-7000-8000-000000000001",
        "organization_id": "0198c0de-0000-7000-8000-000000000002",
        "version": 3,
        "created_at": "2026-01-01T00:00:00+00:00",
        "updated_at": "2026-01-01T00:00:00+00:00",
        "name": "Acme",
    }

    def test_a_record_is_frozen(self) -> None:
        record = Customer.model_validate(self.ROW)
        with pytest.raises(ValueError, match="frozen"):
            record.name = "other"

    def test_a_stored_row_is_read_as_it_is(self) -> None:
        assert Customer.model_validate({**self.ROW, "name": ""}).name == ""

    def test_a_private_field_that_was_not_read_is_not_there(self) -> None:
        record = Customer.model_validate(self.ROW)
        with pytest.raises(AttributeError, match="private=True"):
            _ = record.tax_number
        assert not hasattr(record, "tax_number")
        assert Customer.model_validate({**self.ROW, "tax_number": None}).tax_number is None

    def test_a_record_without_its_private_fields_can_be_written_out(self) -> None:
        record = Customer.model_validate(self.ROW)
        assert "tax_number" not in record.model_dump()
        assert "tax_number" not in record.model_dump_json()
        assert "tax_number" not in repr(record)
        assert Customer.model_validate_json(record.model_dump_json()) == record

    def test_a_relation_that_was_not_included_says_how_to_ask(self) -> None:
        with pytest.raises(AttributeError, match="include"):
            _ = Customer.model_validate(self.ROW).contacts  # type: ignore[attr-defined]

    def test_a_record_can_be_copied_and_pickled(self) -> None:
        record = Customer.model_validate(self.ROW)
        assert copy.deepcopy(record) == copy.copy(record) == pickle.loads(pickle.dumps(record)) == record


A = "Thing.x"

WRONG_FIELDS: list[tuple[str, Fields, tuple[str, ...]]] = [
    ("decimal without digits", {"x": (Decimal, ABSENT)}, (A, "field(digits=12, places=2)")),
    ("decimal without places", {"x": (Decimal, field(digits=5))}, (A, "digits and places")),
    ("list of decimals without digits", {"x": (list[Decimal], field())}, (A, "digits=12, places=2")),
    ("more places than digits", {"x": (Decimal, field(digits=2, places=3))}, (A, "digits=12, places=2")),
    ("no digits at all", {"x": (Decimal, field(digits=0, places=0))}, (A, "digits")),
    ("digits of an int", {"x": (int, field(digits=5, places=0))}, (A, "Decimal", "leave them out")),
    ("index on a list", {"x": (list[int], field(index=True))}, (A, "a list cannot be ordered", "leave out index")),
    ("unique document", {"x": (dict[str, Any], field(unique=True))}, (A, "a JSON document cannot be ordered")),
    ("index on unbounded text", {"x": (str, field(index=True))}, (A, "max_length of at most 600", "field(max_length")),
    ("unique long text", {"x": (str, field(unique=True, max_length=601))}, (A, "max_length of at most 600")),
    ("unique unbounded bytes", {"x": (bytes, field(unique=True))}, (A, "max_length of at most 600")),
    ("ignore_case alone", {"x": text(ignore_case=True)}, (A, "unique=True, ignore_case=True")),
    ("ignore_case of a number", {"x": (int, field(unique=True, ignore_case=True))}, (A, "str")),
    ("lowercase of a number", {"x": (int, field(lowercase=True))}, (A, "lowercase belongs to a str")),
    ("lowercase of a list", {"x": (list[str], field(lowercase=True))}, (A, "lowercase belongs to a str")),
    ("lowercase of choices", {"x": (Literal["a"], field(lowercase=True))}, (A, "lowercase belongs to a str")),
    ("both cases", {"x": text(unique=True, lowercase=True, ignore_case=True)}, (A, "leave ignore_case out")),
    ("default with a capital", {"x": text(lowercase=True, default="Ada")}, (A, "'Ada'", "small letters")),
    ("search in a number", {"x": (int, field(search=True))}, (A, "only str", "search=True")),
    ("default None", {"x": text(default=None)}, (A, "x: ... | None = field(default=None)")),
    ("default of another type", {"x": (int, field(default="many"))}, (A, "default")),
    ("default beyond its bound", {"x": (str, field(max_length=3, default="long"))}, (A, "default")),
    ("default that is no choice", {"x": (Literal["a"], field(default="b"))}, (A, "default")),
    ("two defaults", {"x": text(default="a", default_factory=str)}, (A, "default_factory")),
    ("max_length of an int", {"x": (int, field(max_length=5))}, (A, "max_length")),
    ("pattern of an int", {"x": (int, field(pattern="^1"))}, (A, "pattern")),
    ("ge of a str", {"x": (str, field(ge=5))}, (A, "ge")),
    ("ge of a list", {"x": (list[int], field(ge=5))}, (A, "ge")),
    ("max_length of a document", {"x": (dict[str, Any], field(max_length=5))}, (A, "max_length")),
    ("bound of another type", {"x": (int, field(ge="a"))}, (A, "ge")),
    ("negative max_length", {"x": (str, field(max_length=-1))}, (A, "max_length")),
    ("max_length as text", {"x": (str, field(max_length="5"))}, (A, "max_length")),  # type: ignore[arg-type]
    ("min above max", {"x": (str, field(min_length=5, max_length=3))}, (A, "min_length")),
    ("broken pattern", {"x": (str, field(pattern="("))}, (A, "pattern")),
    ("bounds by pydantic's Field", {"x": (str, Field(max_length=3))}, (A, "field(")),
    ("bounds in Annotated", {"x": (Annotated[str, Field(max_length=3)], ABSENT)}, (A, "field(")),
    ("union", {"x": (int | str, ABSENT)}, (A, "int | str", "no column type", "allowed are")),
    ("union with None", {"x": (int | str | None, ABSENT)}, (A, "no column type")),
    ("Any", {"x": (Any, ABSENT)}, (A, "Any", "no column type")),
    ("object", {"x": (object, ABSENT)}, (A, "object", "no column type")),
    ("set", {"x": (set[str], ABSENT)}, (A, "set", "list[...]")),
    ("tuple", {"x": (tuple[str, ...], ABSENT)}, (A, "tuple", "list[...]")),
    ("bare list", {"x": (list, ABSENT)}, (A, "list", "list[...]")),
    ("list that holds None", {"x": (list[int | None], ABSENT)}, (A, "a list holds scalars", "int | None")),
    ("list of lists", {"x": (list[list[int]], ABSENT)}, (A, "a list holds scalars")),
    ("list of documents", {"x": (list[Profile], ABSENT)}, (A, "a list holds scalars", "Pydantic model")),
    ("undefined name", {"x": ("Nowhere", ABSENT)}, (A, "Nowhere")),
    ("mixed Literal", {"x": (Literal["a", 1], ABSENT)}, (A, "all strings", "all integers")),
    ("Literal of bools", {"x": (Literal[True], ABSENT)}, (A, "all strings")),
    ("empty enum", {"x": (enum.Enum("Empty", {}), ABSENT)}, (A, "Empty", "all strings")),
    ("long choice", {"x": (Literal["a" * 201], ABSENT)}, (A, "at most 200 characters")),
    ("upper case", {"Big": text()}, ("Thing.Big", "snake case")),
    ("too long a name", {"x" * 41: text()}, ("Thing.xxx", "at most 40")),
    ("not ASCII", {"größe": text()}, ("Thing.größe", "ASCII")),
    ("leading underscore", {"_x": text()}, ("Thing", "underscore")),
    ("operator of filters", {"and": text()}, ("Thing.and", "reserved", "thing_and")),
    ("a name of pydantic", {"model_x": text()}, ("Thing.model_x", "reserved", "write another")),
    ("a method", {"copy": text()}, ("Thing.copy", "reserved", "write another")),
    ("base field", {"id": (int, field())}, ("Thing.id", "base's", "external_id")),
    ("base field of soft deletion", {"deleted_at": (datetime, field())}, ("Thing.deleted_at", "base's")),
    ("no field", {}, ("Thing", "declares no field", "write at least one")),
    ("reference of another type", {"x_id": (int, reference(Customer))}, ("Thing.x_id", "x_id: UUID = reference")),
    ("reference of text", {"x_id": (str, reference(Customer))}, ("Thing.x_id", "x_id: UUID = reference")),
    ("reference without _id", {"x": (UUID, reference(Customer))}, (A, "ends in _id", "x_id: UUID")),
    ("reference to no entity", {"x_id": (UUID, reference(int))}, ("Thing.x_id", "no entity", "reference(Customer)")),
    (
        "unknown on_delete",
        {"x_id": (UUID, reference(Customer, on_delete="forget"))},  # type: ignore[arg-type]
        ("Thing.x_id", "'forget'", "'restrict', 'cascade' or 'set_null'"),
    ),
    (
        "set_null without null",
        {"x_id": (UUID, reference(Customer, on_delete="set_null"))},
        ("Thing.x_id", "x_id: UUID | None = reference(..., default=None)"),
    ),
    ("default of a reference", {"x_id": (UUID, reference(Customer, default=5))}, ("Thing.x_id", "default")),
    ("reverse that is no name", {"x_id": (UUID, reference(Customer, reverse="My things"))}, ("Thing.x_id", "reverse")),
    ("reverse that is taken", {"x_id": (UUID, reference(Customer, reverse="model_dump"))}, ("Thing.x_id", "reverse")),
    ("relation that is taken", {"schema_id": (UUID, reference(Customer))}, ("Thing.schema_id", "schema")),
]

PAIR: Fields = {"a": text(), "b": text(), "long": (str, field()), "tags": (list[str], field()), "yes": (bool, field())}

WRONG_OPTIONS: list[tuple[str, Fields, dict[str, Any], tuple[str, ...]]] = [
    ("misspelt option", PAIR, {"softdelete": True}, ("Thing", "softdelete", "soft_delete")),
    ("misspelt field in unique", PAIR, {"unique": [Unique("a", "bb")]}, ("Thing", "'bb'", "did you mean 'b'")),
    ("misspelt field in index", PAIR, {"indexes": [Index("tag")]}, ("Thing", "'tag'", "did you mean 'tags'")),
    ("misspelt field in where", PAIR, {"unique": [Unique("a", where={"yess": True})]}, ("Thing", "did you mean 'yes'")),
    ("misspelt field in ignore_case", PAIR, {"unique": [Unique("a", ignore_case=["c"])]}, ("Thing", "'c'")),
    ("ignore_case of another field", PAIR, {"unique": [Unique("a", ignore_case=["b"])]}, ("Thing", "ignore_case")),
    ("ignore_case of no text", PAIR, {"unique": [Unique("a", "yes", ignore_case=["yes"])]}, ("Thing", "ignore_case")),
    ("no field in a key", PAIR, {"unique": [Unique()]}, ("Thing", "names no field")),
    ("field twice in a key", PAIR, {"unique": [Unique("a", "a")]}, ("Thing", "twice")),
    ("list in a key", PAIR, {"indexes": [Index("tags")]}, ("Thing", "tags cannot be ordered")),
    ("long text in a key", PAIR, {"indexes": [Index("a", "long")]}, ("Thing", "long", "max_length of at most 600")),
    ("condition of another type", PAIR, {"unique": [Unique("a", where={"yes": "no"})]}, ("Thing", "yes")),
    ("null condition on non-null", PAIR, {"unique": [Unique("a", where={"b": None})]}, ("Thing", "b")),
    ("unique as tuples", PAIR, {"unique": [("a", "b")]}, ("Thing", "Unique('a', 'b')")),
    ("unique not in a list", PAIR, {"unique": Unique("a", "b")}, ("Thing", "unique=[Unique('a', 'b')]")),
    ("indexes as names", PAIR, {"indexes": ["a"]}, ("Thing", "Index('a')")),
    ("index among unique keys", PAIR, {"unique": [Index("a")]}, ("Thing", "Unique('a')")),
    ("same key twice", PAIR, {"unique": [Unique("a", "b"), Unique("a", "b")]}, ("Thing", "twice")),
    (
        "keys that differ in their condition's value only",
        PAIR,
        {"unique": [Unique("a", where={"b": "1"}), Unique("a", where={"b": "2"})]},
        ("Thing", "Unique('a'"),
    ),
    ("checks as a list", PAIR, {"checks": ["a <> b"]}, ("Thing", "checks=")),
    ("check without a name", PAIR, {"checks": {"A is not B": "a <> b"}}, ("Thing", "'A is not B'", "snake case")),
    ("soft_delete as text", PAIR, {"soft_delete": "yes"}, ("Thing", "soft_delete=True")),
    ("table's name", PAIR, {"table": "My things"}, ("Thing", "'My things'", "snake case")),
    ("long table's name", PAIR, {"table": "t" * 41}, ("Thing", "at most 40")),
    (
        "two checks of one name",
        {"a": text(check="a <> 'x'")},
        {"checks": {"a": "a <> 'y'"}},
        ("Thing", "a", "check"),
    ),
    (
        "two keys of one name",
        {"a": text(), "b": text(), "a_b": text(unique=True)},
        {"unique": [Unique("a", "b")]},
        ("Thing", "things_a_b_key"),
    ),
]


@pytest.mark.parametrize(("fields", "parts"), [row[1:] for row in WRONG_FIELDS], ids=[row[0] for row in WRONG_FIELDS])
@pytest.mark.filterwarnings("ignore:Field name")
def test_a_wrong_field_fails_at_import(fields: Fields, parts: tuple[str, ...]) -> None:
    with pytest.raises(errors.DeclarationError) as caught:
        declared(fields)
    message = str(caught.value)
    assert [part for part in parts if part not in message] == [], message
    assert len(message) < 600


@pytest.mark.parametrize(
    ("fields", "options", "parts"), [row[1:] for row in WRONG_OPTIONS], ids=[row[0] for row in WRONG_OPTIONS]
)
def test_a_wrong_option_fails_at_import(fields: Fields, options: dict[str, Any], parts: tuple[str, ...]) -> None:
    with pytest.raises(errors.DeclarationError) as caught:
        declared(fields, **options)
    message = str(caught.value)
    assert [part for part in parts if part not in message] == [], message


def test_a_field_without_an_annotation_fails_at_import() -> None:
    with pytest.raises(errors.DeclarationError, match=r"Thing.*'x'.*annotation"):
        type(Entity)("Thing", (Entity,), {"__module__": __name__, "x": field()})


def test_a_name_of_pydantic_is_refused_without_a_warning() -> None:
    with pytest.raises(errors.DeclarationError, match=r"Thing\.json: the name is reserved"):
        declared({"json": text()})


class TestRegistry:
    def refused(self, *entities: type[Entity]) -> str:
        with pytest.raises(errors.DeclarationError) as caught:
            Application("wrong", entities)
        return str(caught.value)

    def test_an_unknown_reference_is_told_with_a_suggestion(self) -> None:
        message = self.refused(Customer, declared({"customer_id": (UUID, reference("Custmer"))}))
        assert "Thing.customer_id" in message
        assert "'Custmer'" in message
        assert "did you mean 'Customer'?" in message

    def test_a_reference_to_an_entity_that_is_left_out(self) -> None:
        message = self.refused(declared({"customer_id": (UUID, reference(Customer))}))
        assert "Thing.customer_id" in message
        assert "'Customer'" in message

    def test_two_entities_of_one_name(self) -> None:
        assert "two entities are named Thing" in self.refused(
            declared({"x": text()}), declared({"x": text()}, table="others")
        )

    def test_two_entities_of_one_table(self) -> None:
        message = self.refused(declared({"x": text()}), declared({"x": text()}, "Other", table="things"))
        assert "Other and Thing share the table things" in message
        assert "table='...'" in message

    def test_two_relations_of_one_name(self) -> None:
        message = self.refused(
            Customer,
            declared({"buyer_id": (UUID, reference(Customer)), "seller_id": (UUID, reference(Customer))}),
        )
        assert "Thing.seller_id" in message
        assert "reverse='another_name'" in message

    def test_a_relation_named_like_a_field(self) -> None:
        message = self.refused(Customer, declared({"owner_id": (UUID, reference(Customer)), "owner": text()}))
        assert "Thing.owner_id" in message
        assert "rename the field" in message

    def test_a_reversed_relation_named_like_a_field(self) -> None:
        message = self.refused(Customer, declared({"owner_id": (UUID, reference(Customer, reverse="name"))}))
        assert "Thing.owner_id" in message
        assert "reverse=" in message

    def test_keys_of_two_tables_with_one_name(self) -> None:
        message = self.refused(
            declared({"b_c": text(unique=True)}, "First", table="a"),
            declared({"c": text(unique=True)}, "Second", table="a_b"),
        )
        assert "a_b_c_key" in message
        assert "First" in message
        assert "Second" in message

    @pytest.mark.parametrize("wrong", [int, Entity, "Customer", BaseModel])
    def test_what_is_no_entity(self, wrong: Any) -> None:
        with pytest.raises(errors.ConfigurationError, match="is no entity"):
            Application("wrong", [wrong])

    def test_a_class_of_another_application(self) -> None:
        registry = Registry([Customer])
        with pytest.raises(errors.ConfigurationError, match=r"Order is no entity of this application"):
            registry[Order]

    def test_a_class_of_the_same_name(self) -> None:
        with pytest.raises(errors.ConfigurationError, match="no entity of this application"):
            application.registry[declared({"x": text()}, "Customer")]

    def test_a_reference_to_itself_and_by_name(self) -> None:
        relations = application.registry.relations
        assert relations["Contact"]["manager"].target is Contact.__entity__
        assert relations["Contact"]["reports"].many
        later = declared({"customer_id": (UUID, reference("Customer"))})
        assert Registry([later, Customer]).relations["Customer"]["things"].target is later.__entity__

    def test_levels_are_stored_by_value(self) -> None:
        assert Customer.__entity__.fields["level"].kind.choices == tuple(level.value for level in Level)
