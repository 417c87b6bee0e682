"""The OpenAPI 3.1 document of an application: a pure function of its manifest.

It tells strangers what they can call, and nothing of what they cannot see: no private field, no function's code, no SQL, and only
the schemas that calls need.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from freehold.functions.batch import MOST
from freehold.functions.manifest import manifest_bytes
from freehold.functions.schemas import PREFIX, references, with_references
from freehold.server.openapi_operations import ACTIONS, Operation, action_operation, function_operations
from freehold.server.openapi_parts import (
    COMPONENTS,
    HEADERS,
    OWN_PROBLEM,
    PARAMETERS,
    PROBLEM,
    own_names,
    problem_responses,
    record_schemas,
)

__all__ = ["openapi"]

METHODS = ("get", "post", "patch", "delete")

_ABOUT = """Every call is made on behalf of the organization that its credential belongs to; there is no parameter for it. Whoever
belongs to several names one in the header `Freehold-Organization`.

Errors are problem details (RFC 9457) with a stable `code`, all `issues` of the input at once, and a `hint`. A record's `ETag` is its
version: `If-None-Match` saves the body of what has not changed, and `If-Match` is what changes and deletions are based on.
Decimals are texts, durations seconds, bytes hexadecimal. No text holds the character U+0000."""


def openapi(manifest: Mapping[str, Any], *, root: str = "", batch: int = MOST) -> dict[str, Any]:
    """The document.

    Args:
        manifest: of the application.
        root: the path below which the server is mounted, without a slash at its end.
        batch: calls of one batch at most.
    """
    own = own_names(manifest)
    paths: dict[str, dict[str, Any]] = {}
    names: set[str] = set()
    tags: dict[str, str] = {}
    for operation in _operations(manifest, batch):
        tags.setdefault(operation.tag, operation.tag_description)
        told = dict(operation.told)
        told["operationId"] = _unique(operation.id, names)
        told["tags"] = [operation.tag]
        paths.setdefault(operation.path, {})[operation.method] = with_references(told, own, COMPONENTS)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": manifest["name"],
            "version": hashlib.sha256(manifest_bytes(manifest)).hexdigest()[:12],
            "description": _ABOUT,
        },
        **({"servers": [{"url": root}]} if root else {}),
        "tags": [{"name": name, **({"description": told} if told else {})} for name, told in sorted(tags.items())],
        "security": [{"credential": []}],
        "paths": {
            path: {method: paths[path][method] for method in METHODS if method in paths[path]} for path in sorted(paths)
        },
        "components": {
            "securitySchemes": {
                "credential": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key (`fh_...`), or a token of one of the issuers that the application believes.",
                }
            },
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "responses": problem_responses(own),
        },
    }
    document["components"]["schemas"] = _schemas(document, manifest, own[OWN_PROBLEM])
    return document


def _operations(manifest: Mapping[str, Any], batch: int) -> Iterator[Operation]:
    """All operations, those of tables first."""
    tables = {entity["table"]: entity for entity in manifest["entities"]}
    for function in manifest["functions"]:
        table, _, action = function["name"].partition(".")
        if table in tables and action in ACTIONS:
            yield action_operation(manifest, tables[table], action, function)
        if function["action"] is None:
            yield from function_operations(manifest, tables.get(table), function)
    if manifest["functions"]:
        yield _batch(batch)


def _schemas(document: Mapping[str, Any], manifest: Mapping[str, Any], problem: str) -> dict[str, Any]:
    """The schemas that operations lead to, directly or by others."""
    known = {**manifest["schemas"], **record_schemas(manifest), problem: PROBLEM}
    found: dict[str, Any] = {}
    waiting = [name for name in references(document) if name in known]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = with_references(known[name], {}, COMPONENTS)
            waiting.extend(references(known[name]))
    return dict(sorted(found.items()))


def _batch(most: int) -> Operation:
    told = {
        "summary": "Several calls of one caller.",
        "description": "Each call is a transaction of its own, with its own result or problem. Neighbouring queries run together.",
        "security": [{"credential": []}, {}],
        "parameters": [{"$ref": "#/components/parameters/Organization"}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _calls(most)}}},
        "responses": {
            "200": {
                "description": "What became of the calls, in their order.",
                "headers": {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}},
                "content": {"application/json": {"schema": _RESULTS}},
            },
            **{
                str(status): {"$ref": f"#/components/responses/Problem{status}"}
                for status in (400, 401, 413, 415, 422, 429, 500, 503, 504)
            },
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }
    return Operation("/api/batch", "post", "batch", "functions", "Functions of the application.", told)


def _calls(most: int) -> dict[str, Any]:
    call = {
        "type": "object",
        "properties": {
            "id": {
                "anyOf": [{"type": "string", "maxLength": 200}, {"type": "null"}],
                "description": "by which its result is told; without it, its place in the list",
            },
            "function": {"type": "string", "maxLength": 200},
            "arguments": {"type": "object", "description": "by name"},
            "key": {
                "anyOf": [{"type": "string", "pattern": "^[A-Za-z0-9_-]{1,200}$"}, {"type": "null"}],
                "description": "an idempotency key",
            },
        },
        "required": ["function"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"calls": {"type": "array", "items": call, "minItems": 1, "maxItems": most}},
        "required": ["calls"],
        "additionalProperties": False,
    }


_RESULTS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "result": {"description": "what the function answered"},
                    "version": {"type": "integer", "description": "of the record that the result is"},
                    "created": {"type": "string", "format": "uuid", "description": "the id of a new record"},
                    "repeated": {"type": "boolean", "description": "whether an earlier call with the key had done it"},
                    "problem": {"$ref": PREFIX + OWN_PROBLEM},
                },
                "required": ["id"],
            },
        }
    },
    "required": ["results"],
}


def _unique(id: str, names: set[str]) -> str:
    while id in names:
        id += "_"
    names.add(id)
    return id
