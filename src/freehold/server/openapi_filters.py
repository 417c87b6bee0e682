"""Query strings as the OpenAPI document tells of them: filters, orders, and arguments of queries."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from freehold.model.moments import TIME

__all__ = ["filter_parameters", "query_parameter", "read_parameters"]

MOST_FILTERS = 60
"""Conditions that are told of for one list. There are more: each operator of each field, and those of related records."""
MOST_CHOICES = 50
"""Values of one `in`, as told: a query string has its bounds."""
LONGEST_TEXT = 1_000
"""Characters of a text in a query string, as told: the whole of it has 16 KB."""

Schema = dict[str, Any]
Field = Mapping[str, Any]

_RESERVED = frozenset(
    {"where", "order", "limit", "after", "before", "include", "select", "search", "total", "deleted", "group_by"}
    | {"sum", "avg", "min", "max", "fields"}
)
"""Parameters of lists and aggregates; a field of such a name is reached as `where.<name>`."""

_SCALARS: Mapping[str, Schema] = {
    "text": {"type": "string", "maxLength": LONGEST_TEXT},
    "integer": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float": {"type": "number"},
    "decimal": {"type": "string", "pattern": r"^-?\d{1,20}(\.\d{1,20})?$"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
    "time": {"type": "string", "pattern": TIME},
    "uuid": {"type": "string", "format": "uuid"},
}
"""How a value is written in a query string, by kind; conditions on other kinds are written in JSON."""

_TOLD = {
    "eq": "Equal.",
    "ne": "Not equal.",
    "in": "One of these, with commas; a comma in a value is written %2C.",
    "gt": "More than.",
    "gte": "At least.",
    "lt": "Less than.",
    "lte": "At most.",
    "contains": "Has this in it.",
    "starts_with": "Begins with this.",
    "is_null": "Whether there is none.",
}
_ROUNDS = (("eq",), ("gte", "lte", "in"), ("is_null", "contains", "starts_with"), ("gt", "lt", "ne"))
"""What is told of first, where not all can be."""


def filter_parameters(entity: Mapping[str, Any]) -> list[Schema]:
    """The usual conditions on an entity's own fields, as parameters."""
    found = [
        _condition(field, operator)
        for operators in _ROUNDS
        for field in _visible(entity)
        for operator in operators
        if _usual(field, operator)
    ]
    return sorted(found[:MOST_FILTERS], key=lambda parameter: str(parameter["name"]))


def _usual(field: Field, operator: str) -> bool:
    if operator not in field["operators"] or field["kind"] not in _SCALARS:
        return False
    if field["base"] and (field["name"] not in ("id", "created_at", "updated_at") or operator == "is_null"):
        return False
    if field["kind"] == "datetime" and operator == "eq":
        return False
    if operator == "is_null":
        return bool(field["nullable"])
    if field["many"]:
        return operator == "contains"
    if field["kind"] in ("boolean", "uuid") or field["choices"]:
        return operator in (("eq",) if field["kind"] == "boolean" else ("eq", "ne", "in"))
    return operator != "in" or field["kind"] in ("text", "integer")


def _condition(field: Field, operator: str) -> Schema:
    name, path = field["name"], field["name"] if operator == "eq" else f"{field['name']}.{operator}"
    value = _value(field)
    parameter: Schema = {
        "name": f"where.{path}" if name in _RESERVED else path,
        "in": "query",
        "description": _TOLD[operator],
    }
    if operator == "is_null":
        return {**parameter, "schema": {"type": "boolean"}}
    if operator == "in":
        return {**parameter, **_several(value, MOST_CHOICES)}
    return {**parameter, "schema": value}


def _value(field: Field) -> Schema:
    if field["choices"]:
        return {"type": "integer" if field["kind"] == "integer" else "string", "enum": list(field["choices"])}
    return dict(_SCALARS[field["kind"]])


def _several(item: Schema, most: int) -> Schema:
    """A list with commas."""
    schema = {"type": "array", "items": item, "minItems": 1, "maxItems": most}
    return {"style": "form", "explode": False, "schema": schema}


def read_parameters(
    manifest: Mapping[str, Any], entity: Mapping[str, Any], function: Mapping[str, Any]
) -> Iterator[Schema]:
    """The parameters of a function of an entity that reads: its own, with the names that they can have."""
    properties = function["parameters"]["properties"]
    for name, schema in properties.items():
        if name == "id":
            continue
        parameter = {"name": name, "in": "query", "description": schema.get("description", "")}
        listed = _LISTS.get(name)
        if name == "where":
            yield {**parameter, "content": {"application/json": {"schema": {"type": "object"}}}}
        elif name == "include":
            names = _relations(manifest, entity)
            if names:
                yield {**parameter, **_several({"type": "string", "enum": names}, min(len(names), 30))}
        elif listed is not None:
            names = listed(entity)
            if names:
                yield {**parameter, **_several({"type": "string", "enum": names}, 8 if name == "order" else len(names))}
        elif (told := query_parameter(name, schema, manifest["schemas"], required=False)) is not None:
            yield told


def _visible(entity: Mapping[str, Any]) -> list[Field]:
    return [field for field in entity["fields"] if not field["private"]]


def _orders(entity: Mapping[str, Any]) -> list[str]:
    names = [field["name"] for field in _visible(entity) if field["sortable"]]
    return [*names, *(f"-{name}" for name in names)]


def _fields(entity: Mapping[str, Any]) -> list[str]:
    return [field["name"] for field in _visible(entity)]


def _numbers(entity: Mapping[str, Any]) -> list[str]:
    kinds = ("integer", "float", "decimal")
    return [field["name"] for field in _visible(entity) if field["kind"] in kinds and not field["many"]]


def _measured(entity: Mapping[str, Any]) -> list[str]:
    kinds = _SCALARS.keys() - {"uuid", "boolean"}
    return [field["name"] for field in _visible(entity) if "gte" in field["operators"] and field["kind"] in kinds]


def _grouped(entity: Mapping[str, Any]) -> list[str]:
    return [field["name"] for field in _visible(entity) if field["kind"] in _SCALARS and not field["many"]]


_LISTS: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "order": _orders,
    "select": _fields,
    "fields": _fields,
    "group_by": _grouped,
    "sum": _numbers,
    "avg": _numbers,
    "min": _measured,
    "max": _measured,
}


def _relations(manifest: Mapping[str, Any], entity: Mapping[str, Any]) -> list[str]:
    """What can be included: relations to entities that can be read, and their counts."""
    readable = {
        each["name"]
        for each in manifest["entities"]
        if {f"{each['table']}.list", f"{each['table']}.get"} & {function["name"] for function in manifest["functions"]}
    }
    relations = [relation for relation in entity["relations"] if relation["target"] in readable]
    counts = [f"{relation['name']}.count" for relation in relations if relation["many"]]
    return [relation["name"] for relation in relations] + counts


def query_parameter(
    name: str, schema: Mapping[str, Any], shared: Mapping[str, Any], *, required: bool
) -> Schema | None:
    """An argument of a query as a parameter of its query string; None where it cannot be written there.

    Args:
        name: the argument's.
        schema: the argument's. Null is not written, but left out.
        shared: what it refers to, by name.
        required: whether it must be given.
    """
    told = {key: value for key, value in schema.items() if key in ("default", "description") and value is not None}
    choices = [_led(each, shared) for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    texts = [each for each in choices if each.get("type") == "string"]
    bare = dict(texts[0] if texts else choices[0]) if choices else {}
    described = {"description": told["description"]} if "description" in told else {}
    parameter: Schema = {"name": name, "in": "query", **({"required": True} if required else {}), **described}
    bare.pop("description", None)
    if "default" in told:
        bare["default"] = told["default"]
    kind = bare.get("type")
    if kind == "array":
        item = _led(bare.get("items", {}), shared)
        if item.get("type") in (None, "array", "object") and not {"enum", "const"} & item.keys():
            return {**parameter, "content": {"application/json": {"schema": bare}}}
        bare |= {"items": _short(item), "maxItems": min(bare.get("maxItems", MOST_CHOICES), MOST_CHOICES)}
        return {**parameter, "style": "form", "explode": True, "schema": bare}
    bare = bare if name in ("after", "before") else _short(bare)  # a cursor is as long as it is
    if kind in ("string", "integer", "number", "boolean") or {"enum", "const"} & bare.keys():
        return {**parameter, "schema": bare}
    return {**parameter, "content": {"application/json": {"schema": bare}}}


def _led(schema: Mapping[str, Any], shared: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a schema refers to, where that is a choice: a text of a query string, and no JSON. Else the schema."""
    reference = schema.get("$ref")
    found = None if reference is None else shared.get(reference.rpartition("/")[2])
    return {key: value for key, value in found.items() if key != "title"} if found and "enum" in found else schema


def _short(schema: Mapping[str, Any]) -> Schema:
    """A text's schema, with the length that a query string has room for."""
    if schema.get("type") != "string" or schema.get("maxLength", LONGEST_TEXT + 1) <= LONGEST_TEXT:
        return dict(schema)
    if {"format", "pattern", "enum", "const"} & schema.keys() or schema.get("minLength", 0) > LONGEST_TEXT:
        return dict(schema)
    return {**schema, "maxLength": LONGEST_TEXT}
