"""An entity as the manifest has it."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticUndefined

from freehold.functions.schemas import Schemas
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.fields import Index, Unique
from freehold.model.filters import operators_of
from freehold.model.pages import MAXIMUM_SORTED_TEXT
from freehold.model.registry import Registry
from freehold.model.values import shaped, to_json_shape

__all__ = ["described_entity"]


def described_entity(registry: Registry, entity: EntityDescription, schemas: Schemas) -> dict[str, Any]:
    """All that an entity declares, as JSON-able values.

    Args:
        registry: knows its relations and counters.
        entity: which.
        schemas: have what input it takes.
    """
    return {
        "name": entity.name,
        "table": entity.table,
        "soft_delete": entity.soft_delete,
        "fields": [_field(registry, entity, field) for field in entity.fields.values()],
        "relations": [
            {"name": relation.name, "target": relation.target.name, "field": relation.field.name, "many": relation.many}
            for relation in registry.relations[entity.name].values()
        ],
        "unique": [_key(name, key) for name, key in entity.unique_keys.items()],
        "indexes": [_key(entity.key_name(key), key) for key in entity.indexes],
        "checks": dict(entity.checks),
        "exposed": dict(entity.exposed),
        "create": schemas.inputs[entity.name, "create"],
        "patch": schemas.inputs[entity.name, "patch"],
    }


def _field(registry: Registry, entity: EntityDescription, field: FieldDescription) -> dict[str, Any]:
    said = field.declaration
    bounds = {name: _plain(bound) for name, bound in said.bounds.items()}
    return {
        "name": field.name,
        "kind": field.kind.name,
        "type": field.sql_type,
        "many": field.kind.many,
        "nullable": field.nullable,
        "required": said.required and not field.base,
        **_default(field),
        "choices": list(field.kind.choices),
        "bounds": bounds,
        "digits": said.digits,
        "places": said.places,
        "base": field.base,
        "private": field.private,
        "immutable": said.immutable,
        "lowercase": said.lowercase,
        "unique": said.unique,
        "index": said.index,
        "search": said.search,
        "sortable": _sortable(field),
        "operators": list(operators_of(field.kind)),
        "reference": _reference(registry, entity, field),
        "counter": _counter(registry, entity, field),
        "description": said.description,
    }


def _default(field: FieldDescription) -> dict[str, Any]:
    """The default where there is one; `generated` where each record gets another."""
    said = field.declaration
    if said.default_factory is not None:
        empty = said.default_factory in (list, dict)
        return {"default": said.default_factory()} if empty else {"generated": True}
    if said.default is PydanticUndefined or field.base:
        return {}
    return {"default": _plain(said.default)}


def _plain(value: Any) -> Any:
    return shaped(value)


def _sortable(field: FieldDescription) -> bool:
    if not field.kind.orderable or field.private:
        return False
    longest = field.declaration.bounds.get("max_length", MAXIMUM_SORTED_TEXT + 1)
    return field.kind.name not in ("text", "bytes") or bool(field.kind.choices) or longest <= MAXIMUM_SORTED_TEXT


def _reference(registry: Registry, entity: EntityDescription, field: FieldDescription) -> dict[str, Any] | None:
    if field.relation is None:
        return None
    relation = registry.relations[entity.name][field.relation]
    return {"entity": relation.target.name, "relation": relation.name, "on_delete": field.declaration.on_delete}


def _counter(registry: Registry, entity: EntityDescription, field: FieldDescription) -> dict[str, Any] | None:
    """What a counter counts; None for other fields."""
    for counter in registry.counters:
        if counter.name == f"{entity.name}.{field.name}":
            return {"of": counter.counted.name, "via": counter.reference.name, "where": dict(counter.where)}
    return None


def _key(name: str, key: Index | Unique) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "fields": list(key.fields), "where": _where(key.where)}
    if isinstance(key, Unique):
        made["ignore_case"] = list(key.ignore_case)
    return made


def _where(where: Mapping[str, Any]) -> dict[str, Any]:
    return {name: to_json_shape(value) for name, value in where.items()}
