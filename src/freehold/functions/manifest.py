"""The manifest: all that an application declares, as JSON-able values.

It is what every generator reads in place of the code: the OpenAPI document, clients, tools, the console, and the comparison with an
earlier one (`differences`). The same declarations give the same bytes in every process.

It tells of private fields and of checks' SQL, and is for the application's makers. What strangers may see is made from it by
`freehold.server.openapi`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from freehold.functions.declaration import Function
from freehold.functions.described import described_entity
from freehold.functions.failures import described_errors, errors_of
from freehold.functions.schemas import schemas_of
from freehold.identity.roles import Roles
from freehold.model.filters import operators_of
from freehold.model.kinds import SCALARS, Kind
from freehold.model.registry import Registry

__all__ = ["VERSION", "Manifest", "manifest_bytes", "manifest_of"]

VERSION = 1
"""Of the manifest's own form."""

Manifest = dict[str, Any]  # Any: JSON


def manifest_of(name: str, registry: Registry, functions: Sequence[Function], roles: Roles) -> Manifest:
    """The manifest of an application.

    Args:
        name: its name.
        registry: its entities.
        functions: all of them, in the order of their names.
        roles: what its roles grant.
    """
    schemas = schemas_of(registry, functions)
    grants = roles.grants
    return {
        "manifest": VERSION,
        "name": name,
        "entities": [described_entity(registry, entity, schemas) for entity in registry.entities.values()],
        "functions": [
            _described(function, schemas.parameters[function.name], schemas.results[function.name])
            for function in functions
        ],
        "schemas": schemas.shared,
        "permissions": _permissions(functions),
        "roles": None if grants is None else {role: sorted(grants[role]) for role in sorted(grants)},
        "operators": _operators(),
        "errors": described_errors(),
    }


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """A manifest as text for files and comparisons: the same values are the same bytes."""
    return (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()


def _described(function: Function, parameters: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": function.name,
        "kind": function.kind,
        "summary": function.summary,
        "description": function.description,
        "entity": function.entity,
        "action": function.action,
        "permission": function.permission,
        "public": function.public,
        "idempotent": function.idempotent,
        "timeout": function.timeout,
        "rates": [{"requests": rate.requests, "per": rate.per, "by": rate.by} for rate in function.rates],
        "cache": function.cache,
        "live": function.live,
        "stream": function.stream,
        "page": function.result.page,
        "media": list(function.media),
        "content": function.content,
        "query_key": function.name.split(".") if function.kind == "query" else None,
        "parameters": parameters,
        "result": result,
        "errors": errors_of(function),
    }


def _permissions(functions: Sequence[Function]) -> dict[str, list[str]]:
    """All permissions, with the functions that need each."""
    found: dict[str, list[str]] = {}
    for function in functions:
        if function.permission is not None:
            found.setdefault(function.permission, []).append(function.name)
    return dict(sorted(found.items()))


def _operators() -> dict[str, list[str]]:
    """The operators of filters, by kind; those of a list's and a choice's fields stand with the fields."""
    kinds = {name: Kind(name, sql, python, orderable=True) for python, (name, sql) in SCALARS.items()}
    kinds["json"] = Kind("json", "jsonb", dict, orderable=False)
    return {name: list(operators_of(kind)) for name, kind in kinds.items()}
