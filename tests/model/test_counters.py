"""Declarations of counters: what they become, and how a wrong one is told."""

from typing import Any
from uuid import UUID

import pytest

from freehold import Application, Entity, Unique, counter, errors, field, reference
from freehold.model.registry import Registry
from tests.counted import Bookmark, Resource, application
from tests.model.test_declarations import declared


class Shelf(Entity):
    name: str = field(max_length=10)


class Book(Entity):
    shelf_id: UUID = reference(Shelf)
    title: str = field(max_length=10)
    pages: int = field(default=0)
    tags: list[str] = field(default_factory=list)


def cases(counts: Any, annotation: Any = int) -> Registry:
    """An application whose Case has this counter, and whose Item refers to it twice."""
    case = declared({"name": (str, field(max_length=10)), "items": (annotation, counts)}, "Case")
    item = declared(
        {
            "case_id": (UUID, reference(case, reverse="first")),
            "other_id": (UUID | None, reference(case, default=None, reverse="second")),
            "kind": (str, field(max_length=10)),
            "tags": (list[str], field(default_factory=list)),
        },
        "Item",
    )
    return Registry([case, item, Shelf, Book])


def test_what_a_counter_is_to_the_application() -> None:
    found = {each.name: each for each in application.registry.counters}
    assert list(found) == [f"Resource.{name}" for name in ("marks", "stars", "seen_also", "notes", "copies")]
    stars = found["Resource.stars"]
    assert (stars.counted, stars.reference.name) == (Bookmark.__entity__, "resource_id")
    assert stars.where == {"kind": "star", "folder": None}
    assert found["Resource.copies"].counted is Resource.__entity__
    assert [each.name for each in application.registry.counters_of(Bookmark.__entity__)] == [
        "Resource.marks",
        "Resource.stars",
        "Resource.seen_also",
    ]


def test_it_is_read_and_never_given() -> None:
    entity = Resource.__entity__
    assert {"marks", "stars"} <= {each.name for each in entity.public}
    for names in (entity.given, entity.changeable, entity.incrementable):
        assert not entity.counters.keys() & {each.name for each in names}
    assert [each.name for each in entity.incrementable] == ["views", "likes", "stock", "credit"]
    assert not entity.counters.keys() & (Resource.Create.model_fields.keys() | Resource.Patch.model_fields.keys())


def test_the_manifest_tells_of_it() -> None:
    manifest = application.manifest()
    (told,) = [each for each in manifest["entities"] if each["name"] == "Resource"]
    fields = {each["name"]: each["counter"] for each in told["fields"]}
    assert fields["stars"] == {"of": "Bookmark", "via": "resource_id", "where": {"kind": "star", "folder": None}}
    assert fields["views"] is None
    assert told["create"] == {"$ref": "#/schemas/ResourceCreate"}
    assert "stars" not in manifest["schemas"]["ResourceCreate"]["properties"]


def test_a_class_may_be_given_in_place_of_its_name() -> None:
    later = declared({"owner_id": (UUID, reference("Owner", reverse="later"))}, "Later")
    owner = declared({"name": (str, field(max_length=10)), "many": (int, counter(later))}, "Owner")
    (found,) = Application("x", [later, owner]).registry.counters
    assert found.counted is later.__entity__


@pytest.mark.parametrize(
    ("counts", "annotation", "message"),
    [
        (counter("Item"), str, "Case.items: a counter is an int that is never null; write items: int = counter(...)"),
        (counter("Item"), int | None, "a counter is an int that is never null"),
        (counter(5), int, "Case.items: counter(of=5) is no entity"),
        (counter("Item", via=5), int, "via=5 is no name of a field"),  # type: ignore[arg-type]
        (counter("Itm"), int, "Case.items: counts 'Itm', no entity of this application; did you mean 'Item'?"),
        (counter("Book"), int, "Case.items: Book does not refer to Case; declare it there: case_id: UUID = reference(Case)"),
        (counter("Item"), int, "Case.items: Item refers to Case by case_id and other_id; say which: counter(..., via='case_id')"),
        (counter("Item", via="case"), int, "via='case' is no reference of Item to Case; write via='case_id' or 'other_id'"),
        (counter("Item", via="case_id", where={"kin": "x"}), int, "where names 'kin', which is no field of Item; did you mean 'kind'?"),
        (counter("Item", via="case_id", where={"version": 1}), int, "where names 'version', which is no field of Item"),
        (counter("Item", via="case_id", where={"tags": "x"}), int, "where compares str, int and bool fields; Item.tags is none"),
        (counter("Item", via="case_id", where={"kind": 5}), int, "where: kind=5 is no value of the field"),
        (counter("Item", via="case_id", where={"kind": None}), int, "where: kind is never null"),
    ],
)  # fmt: skip
def test_wrong_ones_are_told(counts: Any, annotation: Any, message: str) -> None:
    with pytest.raises(errors.DeclarationError) as caught:
        cases(counts, annotation)
    assert message in caught.value.message


def test_a_condition_on_a_counter_is_refused() -> None:
    """A counter that counted by another counter would never come to rest."""
    node = declared(
        {
            "above_id": (UUID | None, reference("self", default=None, reverse="children")),
            "below": (int, counter("self")),
            "leaves": (int, counter("self", where={"below": 0})),
        },
        "Node",
    )
    with pytest.raises(errors.DeclarationError, match=r"where compares str, int and bool fields; Node\.below is none"):
        Registry([node])


def test_it_is_in_no_unique_key() -> None:
    with pytest.raises(errors.DeclarationError, match="items is a counter, which others change; leave it out"):
        declared(
            {"name": (str, field(max_length=10)), "items": (int, counter("Item"))},
            "Case",
            unique=[Unique("name", "items")],
        )


def test_an_entity_needs_a_field_besides() -> None:
    with pytest.raises(errors.DeclarationError, match="declares no field"):
        declared({"items": (int, counter("Item"))}, "Case")


def test_the_relation_needs_another_name() -> None:
    """The counter takes the name that the relation would have by default."""
    case = declared({"name": (str, field(max_length=10)), "items": (int, counter("Item"))}, "Case")
    item = declared({"case_id": (UUID, reference(case))}, "Item")
    with pytest.raises(errors.DeclarationError, match=r"reference\(\.\.\., reverse='another_name'\)"):
        Registry([case, item])
