"""What of a change of the contract breaks callers, and what does not: in both directions."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from freehold import Application, errors
from freehold.functions.containment import gaps
from freehold.functions.differences import Difference, differences
from tests.functions.shop import shop

Manifest = dict[str, Any]


def function(manifest: Manifest, name: str) -> dict[str, Any]:
    return next(each for each in manifest["functions"] if each["name"] == name)


def entity(manifest: Manifest, name: str) -> dict[str, Any]:
    return next(each for each in manifest["entities"] if each["name"] == name)


def parameter(name: str, which: str, **said: Any) -> Callable[[Manifest], None]:
    def change(manifest: Manifest) -> None:
        function(manifest, name)["parameters"]["properties"][which].update(said)

    return change


def attribute(name: str, **said: Any) -> Callable[[Manifest], None]:
    return lambda manifest: function(manifest, name).update(said)


def schema(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Manifest], None]:
    def changed(manifest: Manifest) -> None:
        change(manifest["schemas"][name])

    return changed


def found(change: Callable[[Manifest], object]) -> list[Difference]:
    old = shop.manifest()
    new = copy.deepcopy(old)
    change(new)
    return differences(old, new)


NULLABLE = {"anyOf": [{"type": "string"}, {"type": "null"}]}

BREAKING: dict[str, tuple[Callable[[Manifest], object], str, str]] = {
    "function": (lambda m: m["functions"].remove(function(m, "whoami")), "function whoami", "is gone"),
    "parameter required": (
        lambda m: function(m, "customers.figures")["parameters"].update(required=["least"]),
        "parameters.least",
        "is required now",
    ),
    "new required parameter": (
        lambda m: function(m, "whoami")["parameters"].update(properties={"x": {"type": "string"}}, required=["x"]),
        "parameters.x",
        "is required now",
    ),
    "parameter removed": (
        lambda m: function(m, "customers.named")["parameters"]["properties"].pop("order"),
        "parameters.order",
        "is not known any more",
    ),
    "tighter bound": (parameter("customers.named", "limit", maximum=50), "parameters.limit", "maximum is 50, was 100"),
    "narrower type": (
        lambda m: function(m, "customers.named")["parameters"]["properties"].update(order={"type": "string"}),
        "parameters.order",
        "does not take null any more",
    ),
    "item's bound": (
        lambda m: function(m, "customers.named")["parameters"]["properties"]["names"]["items"].update(maxLength=5),
        "parameters.names.[]",
        "maxLength is 5, was 100000",
    ),
    "parameter of a model": (
        schema("Line", lambda s: s["properties"]["number"].update(maxLength=20)),
        "parameters.lines.[].number",
        "maxLength",
    ),
    "required in a model": (
        schema("Line", lambda s: (s["properties"].update(note={"type": "string"}), s["required"].append("note"))),
        "parameters.lines.[].note",
        "is required now",
    ),
    "ignored in a model": (
        schema("Line", lambda s: (s["properties"].pop("total"), s["required"].remove("total"))),
        "parameters.lines.[].total",
        "is ignored now",
    ),
    "value of a parameter": (
        lambda m: function(m, "hello")["parameters"]["properties"].update(name={"enum": ["you", "me"], "type": "string"}),
        "parameters.name",
        "takes only some values now",
    ),
    "result's field": (
        schema("Figures", lambda s: (s["properties"].pop("best"), s["required"].remove("best"))),
        "result.best",
        "is gone",
    ),
    "result's field optional": (schema("Figures", lambda s: s["required"].remove("credit")), "result.credit", "may be absent now"),
    "result's field null": (
        schema("Figures", lambda s: s["properties"].update(customers={"anyOf": [{"type": "integer"}, {"type": "null"}]})),
        "result.customers",
        "can be null now",
    ),
    "result's new value": (
        schema("Customer", lambda s: s["properties"]["status"]["enum"].append("lost")),
        "result.status",
        "'lost' is new",
    ),
    "included field's new value": (
        schema("Level", lambda s: s["enum"].append("middle")),
        "result.level",
        "'middle' is new",
    ),
    "optional result's field": (schema("Customer", lambda s: s["properties"].pop("orders")), "result.orders", "is gone"),
    "permission": (attribute("whoami", permission="whoami"), "permission", "is whoami, was none"),
    "other permission": (attribute("customers.pay", permission="pay"), "permission", "is pay"),
    "public": (attribute("hello", public=False), "public", "is no, was yes"),
    "kind": (attribute("whoami", kind="command"), "kind", "is command, was query"),
    "key": (attribute("orders.place", idempotent="key"), "idempotent", "is key, was no"),
    "stream": (attribute("customers.stream", stream=False), "stream", "is no, was yes"),
    "rate": (attribute("whoami", rates=[{"requests": 5, "per": 1.0, "by": "actor"}]), "rates", "5 in 1 s by actor, was none"),
    "tighter rate": (attribute("customers.pay", rates=[{"requests": 4, "per": 60.0, "by": "actor"}]), "rates", "is 4 in 60 s"),
    "entity": (lambda m: entity(m, "Order").update(exposed={}), "entity Order", "is gone"),
    "field": (lambda m: entity(m, "Customer")["fields"].remove(field(m, "rating")), "fields.rating", "is gone"),
    "private field": (lambda m: field(m, "rating").update(private=True), "fields.rating", "is gone"),
    "field's kind": (lambda m: field(m, "rating").update(kind="text"), "fields.rating", "is text, was float"),
    "operator": (lambda m: field(m, "name")["operators"].remove("contains"), "fields.name", "filters cannot use contains"),
    "choice": (lambda m: field(m, "status")["choices"].remove("vip"), "fields.status", "'vip' cannot be filtered by"),
    "order": (lambda m: field(m, "name").update(sortable=False), "fields.name", "sortable is no"),
    "relation": (lambda m: entity(m, "Customer")["relations"].pop(), "relations.", "is gone"),
    "unique": (
        lambda m: entity(m, "Customer")["unique"].append({"name": "k", "fields": ["name"], "where": {}, "ignore_case": []}),
        "unique.k",
        "is new",
    ),
    "check": (lambda m: entity(m, "Customer")["checks"].update(c="credit < 5"), "checks.c", "is new"),
    "role": (lambda m: m["roles"].update(sales=["*.list"]), "role sales", "is granted no more"),
    "error": (lambda m: m["errors"].pop(), "error FH900", "is gone"),
    "status": (lambda m: m["errors"][5].update(status=400), "error FH100", "is 400, was 422"),
}  # fmt: skip


def field(manifest: Manifest, name: str) -> dict[str, Any]:
    return next(each for each in entity(manifest, "Customer")["fields"] if each["name"] == name)


COMPATIBLE: dict[str, tuple[Callable[[Manifest], object], str, str]] = {
    "new function": (lambda m: m["functions"].append({**function(m, "whoami"), "name": "other"}), "function other", "is new"),
    "new optional parameter": (
        lambda m: function(m, "whoami")["parameters"].update(properties={"x": {"type": "string"}}),
        "parameters.x",
        "is new",
    ),
    "optional now": (
        lambda m: function(m, "customers.named")["parameters"].pop("required"),
        "parameters.names",
        "is not required any more",
    ),
    "wider bound": (parameter("customers.named", "limit", maximum=500), "parameters.limit", "maximum is 500, was 100"),
    "wider type": (
        lambda m: function(m, "hello")["parameters"]["properties"].update(name=NULLABLE),
        "parameters.name",
        "",
    ),
    "new value of a parameter": (
        schema("CustomerCreate", lambda s: s["properties"]["status"]["enum"].append("lost")),
        "",
        "",
    ),
    "default": (parameter("customers.named", "limit", default=20), "parameters.limit", "default is 20, was 50"),
    "result's new field": (
        schema("Figures", lambda s: (s["properties"].update(x={"type": "string"}), s["required"].append("x"))),
        "result.x",
        "is new",
    ),
    "result's value gone": (
        schema("Customer", lambda s: s["properties"]["status"]["enum"].remove("vip")),
        "result.status",
        "'vip' is gone",
    ),
    "result narrower": (
        schema("Figures", lambda s: s["properties"].update(best={"type": "string"})),
        "result.best",
        "is never null any more",
    ),
    "no permission": (attribute("customers.pay", permission=None), "permission", "is none"),
    "public now": (attribute("whoami", public=True), "public", "is yes"),
    "no key": (attribute("customers.pay", idempotent=False), "idempotent", ""),
    "wider rate": (attribute("customers.pay", rates=[{"requests": 6, "per": 60.0, "by": "actor"}]), "rates", "is 6 in 60 s"),
    "timeout": (attribute("sleepy", timeout=5), "timeout", "is 5, was 0.2"),
    "error met": (attribute("whoami", errors=[]), "errors", "is met no more"),
    "new field": (
        lambda m: entity(m, "Customer")["fields"].append({**field(m, "rating"), "name": "x"}),
        "fields.x",
        "is new",
    ),
    "private field's kind": (lambda m: field(m, "tax_number").update(kind="integer"), "", ""),
    "unique": (lambda m: entity(m, "Customer").update(unique=[]), "unique.customers_email_key", "is gone"),
    "role": (lambda m: m["roles"].update(guest=["*"]), "role guest", "is granted now"),
    "new error": (lambda m: m["errors"].append({"code": "FH999", "name": "X", "status": 500}), "error FH999", "is new"),
    "order": (lambda m: m["functions"].reverse(), "", ""),
}  # fmt: skip


@pytest.mark.parametrize(("change", "where", "told"), BREAKING.values(), ids=BREAKING)
def test_what_breaks_callers_is_told_as_breaking(change: Any, where: str, told: str) -> None:
    all_found = found(change)
    assert any(each.breaking and where in f"{each.where} {each.path}" and told in each.change for each in all_found), (
        all_found
    )


@pytest.mark.parametrize(("change", "where", "told"), COMPATIBLE.values(), ids=COMPATIBLE)
def test_what_does_not_break_callers_is_told_as_that(change: Any, where: str, told: str) -> None:
    all_found = found(change)
    assert not any(each.breaking for each in all_found), all_found
    if where:
        assert any(where in f"{each.where} {each.path}" and told in each.change for each in all_found), all_found


def test_nothing_is_found_where_nothing_changed() -> None:
    assert differences(shop.manifest(), shop.manifest()) == []


def test_without_declared_roles_every_role_has_every_permission() -> None:
    everything = {**shop.manifest(), "roles": None}
    named = found(lambda manifest: manifest.update(roles=None))
    assert {each.where for each in named} == {"role guest", "role sales"}
    assert not any(each.breaking for each in named)
    lost = differences(everything, shop.manifest())
    assert {each.where for each in lost if each.breaking} == {"role guest", "role sales"}


def test_what_is_no_manifest_is_refused() -> None:
    for wrong in ({}, [], {"manifest": 2}):
        with pytest.raises(errors.ConfigurationError, match="old manifest"):
            differences(wrong, shop.manifest())  # type: ignore[arg-type]
    assert differences(Application("none", []).manifest(), shop.manifest())


# A schema as manifests have them, with the values that it takes; a few of its parts may be changed.

SCALARS = st.one_of(
    st.fixed_dictionaries({"type": st.just("string")}, optional={"minLength": st.integers(0, 3), "maxLength": st.integers(3, 6)}),
    st.fixed_dictionaries({"type": st.just("integer")}, optional={"minimum": st.integers(-3, 0), "maximum": st.integers(0, 3)}),
    st.fixed_dictionaries({"type": st.just("number")}, optional={"exclusiveMinimum": st.integers(-3, 0)}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True).map(lambda values: {"enum": values, "type": "string"}),
    st.sampled_from(["One", "Two"]).map(lambda name: {"$ref": f"#/schemas/{name}"}),
    st.just({}),
)  # fmt: skip


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["x", "y", "z"])
    return st.builds(
        lambda properties, required, more: {
            "type": "object",
            "properties": properties,
            "required": [name for name in sorted(required) if name in properties],
            **({} if more else {"additionalProperties": False}),
        },
        st.dictionaries(names, inner, max_size=3),
        st.sets(names, max_size=2),
        st.booleans(),
    )


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(lambda item, most: {"type": "array", "items": item, "maxItems": most}, inner, st.integers(1, 3)),
        st.lists(inner, min_size=1, max_size=3).map(lambda items: {"anyOf": items}),
        objects(inner),
    )


SCHEMAS = st.recursive(SCALARS, nested, max_leaves=6)
SHARED = st.fixed_dictionaries({"One": objects(SCALARS), "Two": SCHEMAS.filter(lambda each: "$ref" not in str(each))})


def values(schema: Any, shared: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that a schema takes, mostly, and without names that it does not declare."""
    if "$ref" in schema:
        return values(shared[schema["$ref"].rpartition("/")[2]], shared, depth + 1) if depth < 4 else st.none()
    if "anyOf" in schema:
        return st.one_of(*(values(each, shared, depth) for each in schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            properties = schema["properties"]
            required = {name: values(properties[name], shared, depth) for name in schema["required"]}
            rest = {name: values(each, shared, depth) for name, each in properties.items() if name not in required}
            return st.fixed_dictionaries(required, optional=rest)
        case "array":
            return st.lists(values(schema["items"], shared, depth), max_size=schema["maxItems"])
        case "string":
            return st.text("abz", min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 7))
        case "integer":
            return st.integers(schema.get("minimum", -5), schema.get("maximum", 5))
        case "number":
            return st.sampled_from([-4, -3, -2.5, -1, -0.5, 0, 0.5, 7])
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return st.sampled_from([None, 1, 0.5, "a", True, [], {}, {"x": 1}])


def validator(schema: Any, shared: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({"$ref": "#/root", "root": schema, "schemas": shared})


def edited(draw: Any, schema: Any) -> Any:
    """A schema with one thing in it changed, anywhere."""
    made = copy.deepcopy(schema)
    places = [made]
    for place in places:
        places += place.get("properties", {}).values()
        places += place.get("anyOf", [])
        places += [place["items"]] if "items" in place else []
    place = draw(st.sampled_from(places))
    numbers = [key for key, value in place.items() if isinstance(value, int) and not isinstance(value, bool)]
    edits = [*numbers, *(key for key in ("enum", "properties", "required", "anyOf", "type") if place.get(key))]
    if not edits:
        return made
    match draw(st.sampled_from(edits)):
        case "enum" | "required" | "anyOf" as key if len(place[key]) > 1 or key == "required":
            place[key].pop()
        case "properties" if draw(st.booleans()):
            place["required"] = sorted(place["properties"])
        case "properties":
            place["properties"].pop(draw(st.sampled_from(sorted(place["properties"]))))
            place["required"] = [name for name in place["required"] if name in place["properties"]]
            place["additionalProperties"] = False
        case "type" if place["type"] in ("integer", "number"):
            place["type"] = "number" if place["type"] == "integer" else "integer"
        case key if key in numbers:
            place[key] += draw(st.sampled_from([-1, 1]))
    return made


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.data())
def test_what_the_old_schema_takes_the_new_one_takes_where_no_gap_is_found(data: st.DataObject) -> None:
    old, old_shared = data.draw(SCHEMAS), data.draw(SHARED)
    how = data.draw(st.sampled_from(["same", "wider", "other", "near", "near", "near", "near shared", "near shared"]))
    new, new_shared = old, old_shared
    match how:
        case "wider":
            new = {"anyOf": [old, data.draw(SCALARS)]}
        case "other":
            new, new_shared = data.draw(SCHEMAS), data.draw(SHARED)
        case "near":
            new = edited(data.draw, old)
        case "near shared":
            new_shared = {name: edited(data.draw, each) for name, each in old_shared.items()}
    found = gaps(old, new, old_shared, new_shared)
    if how in ("same", "wider"):
        assert found == []
    taken, other = validator(old, old_shared), validator(new, new_shared)
    for value in data.draw(st.lists(values(old, old_shared), min_size=1, max_size=5)):
        if not found and taken.is_valid(value):
            assert other.is_valid(value), (old, new, value)


@pytest.mark.parametrize("what", ["least", "most"])
def test_schemas_that_refer_to_themselves_are_compared_to_their_end(what: str) -> None:
    def tree(bound: int) -> dict[str, Any]:
        leaf = {"anyOf": [{"$ref": "#/schemas/Tree"}, {"type": "null"}]}
        properties = {
            "value": {"type": "integer", "maximum": bound},
            "left": leaf,
            "right": {"$ref": "#/schemas/Other"},
        }
        other = {"type": "object", "properties": {"back": {"$ref": "#/schemas/Tree"}}, "required": []}
        return {"Tree": {"type": "object", "properties": properties, "required": ["value"]}, "Other": other}

    root = {"type": "array", "items": {"$ref": "#/schemas/Other"}}
    assert gaps(root, root, tree(5), tree(5)) == []
    assert gaps(root, root, tree(5), tree(6)) == []
    narrower = gaps(root, root, tree(6), tree(5))
    assert [gap.path for gap in narrower if gap.what == "maximum"] == [("[]", "back", "value")]
