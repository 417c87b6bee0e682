"""The operations of the OpenAPI document: what stands at the addresses of tables, and at those of functions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from freehold.functions.schemas import PREFIX
from freehold.server.openapi_examples import example_of
from freehold.server.openapi_filters import filter_parameters, query_parameter, read_parameters
from freehold.server.openapi_parts import TITLES, part_of

__all__ = ["ACTIONS", "Operation", "action_operation", "function_operations"]

Told = dict[str, Any]
Function = Mapping[str, Any]
Manifest = Mapping[str, Any]

ACTIONS: Mapping[str, tuple[str, str]] = {
    "list": ("get", ""),
    "create": ("post", ""),
    "get": ("get", "/{id}"),
    "update": ("patch", "/{id}"),
    "delete": ("delete", "/{id}"),
    "history": ("get", "/{id}/history"),
    "restore": ("post", "/{id}/restore"),
    "aggregate": ("get", "/aggregate"),
    "export": ("get", "/export"),
    "import": ("post", "/import"),
}
"""The method of each action, and where it stands below the table's address."""

LINES, EVENTS = "application/x-ndjson", "text/event-stream"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method at one address.

    Args:
        path, method: where.
        id: names it for generators, unless another one has the name.
        tag, tag_description: the group that it is shown in.
        told: the operation object, without what is above.
    """

    path: str
    method: str
    id: str
    tag: str
    tag_description: str
    told: Told


def action_operation(manifest: Manifest, entity: Mapping[str, Any], action: str, function: Function) -> Operation:
    """What stands at an address of a table: the function of that action, whether the entity offers it or another took its place."""
    method, below = ACTIONS[action]
    names = function["parameters"]["properties"]
    versioned = "version" in names and action in ("update", "delete", "restore")
    told = _about(function)
    parameters = [_shared("Id")] if "{id}" in below else []
    if versioned:
        parameters.append(_shared("IfMatch"))
    if action == "get" and function["action"] is not None:
        parameters.append(_shared("IfNoneMatch"))
    if method == "get" or function["content"]:
        parameters.extend(_read(manifest, entity, function))
    body = _body(manifest, function, action)
    if body is not None:
        told["requestBody"] = body
    told["parameters"] = [*parameters, *_headers(function)]
    told["responses"] = _responses(
        manifest,
        function,
        _success(manifest, function, action),
        [*([428] if versioned else []), *([413, 415] if body else [])],
    )
    path = f"/api/{entity['table']}{below}"
    return Operation(path, method, _id(function), entity["table"], _described(entity), told)


def function_operations(
    manifest: Manifest, entity: Mapping[str, Any] | None, function: Function
) -> Iterator[Operation]:
    """A function at its own address: by POST, and a query by GET too, where its arguments fit in a query string."""
    tag = "functions" if entity is None else entity["table"]
    described = "Functions of the application." if entity is None else _described(entity)
    if function["content"]:
        return  # a file has an address only with its table
    path = f"/api/functions/{function['name']}"
    schema = function["parameters"]
    success = _success(manifest, function, None)
    if function["kind"] == "query" and (parameters := _query(schema, manifest["schemas"])) is not None:
        told = {**_about(function), "parameters": [*parameters, *_headers(function)]}
        told["responses"] = _responses(manifest, function, success, [])
        yield Operation(path, "get", _id(function), tag, described, told)
    told = _about(function)
    if schema["properties"]:
        told["requestBody"] = _json_body(manifest, schema, required=bool(schema.get("required")))
    told["parameters"] = _headers(function)
    told["responses"] = _responses(manifest, function, success, [413, 415])
    id = _id(function) if function["kind"] == "command" else f"{_id(function)}_posted"
    yield Operation(path, "post", id, tag, described, told)


def _about(function: Function) -> Told:
    about = [function["description"]] if function["description"] else []
    if function["permission"] is not None:
        about.append(f"Needs the permission `{function['permission']}`.")
    about += [f"At most {rate['requests']} calls in {rate['per']:g} s by {rate['by']}." for rate in function["rates"]]
    told: Told = {"summary": function["summary"] or function["name"], "description": "\n\n".join(about)}
    if function["public"]:
        told["security"] = []
    return told


def _read(manifest: Manifest, entity: Mapping[str, Any], function: Function) -> list[Told]:
    """The query string of a read."""
    if function["action"] is None:  # another function took the place: its parameters are its own
        rest = {name: schema for name, schema in function["parameters"]["properties"].items() if name != "id"}
        return _query({**function["parameters"], "properties": rest}, manifest["schemas"]) or []
    own = list(read_parameters(manifest, entity, function))
    filters = filter_parameters(entity) if "where" in function["parameters"]["properties"] else []
    taken = {parameter["name"] for parameter in own}
    return [*own, *(parameter for parameter in filters if parameter["name"] not in taken)]


def _query(schema: Mapping[str, Any], shared: Mapping[str, Any]) -> list[Told] | None:
    """Parameters as a query string; None where a required one does not fit there."""
    found = []
    required = schema.get("required", ())
    for name, each in schema["properties"].items():
        parameter = query_parameter(name, each, shared, required=name in required)
        if parameter is not None:
            found.append(parameter)
        elif name in required:
            return None
    return found


def _body(manifest: Manifest, function: Function, action: str) -> Told | None:
    """The body of a write to a table: the values of a record, or a function's own parameters."""
    if function["content"]:
        return {"required": True, "content": {media: {"schema": {"type": "string"}} for media in ("text/csv", LINES)}}
    if action not in ("create", "update"):
        return None
    schema = function["parameters"]
    wrapped = next((name for name in ("values", "changes") if name in schema["properties"]), None)
    if wrapped is not None:
        inner = dict(schema["properties"][wrapped])
        inner.pop("description", None)
        if action == "update" and function["action"] is not None:
            inner["minProperties"] = 1
        return _json_body(manifest, inner, required=True)
    known = ("id", "version") if action == "update" else ()
    rest = {name: each for name, each in schema["properties"].items() if name not in known}
    required = [name for name in schema.get("required", ()) if name not in known]
    return _json_body(manifest, {**schema, "properties": rest, "required": required}, required=bool(required))


def _json_body(manifest: Manifest, schema: Mapping[str, Any], *, required: bool) -> Told:
    content: Told = {"schema": dict(schema)}
    example = example_of(schema, manifest["schemas"])
    if example is not None:
        content["example"] = example
    return {"required": required, "content": {"application/json": content}}


def _headers(function: Function) -> list[Told]:
    if function["public"]:
        return []
    found = [_shared("Organization")]
    if function["kind"] == "command":
        key = _shared("IdempotencyKey")
        if function["idempotent"] == "key":
            key = {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "description": "A new UUID with each new call, the same when it is repeated.",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,200}$"},
            }
        found.append(key)
    return found


def _success(manifest: Manifest, function: Function, action: str | None) -> dict[str, Told]:
    """The answers of a call that did what it should."""
    headers = {"X-Request-Id": _header("RequestId")}
    if function["kind"] == "command" and not function["public"]:
        headers["Idempotency-Replayed"] = _header("Replayed")
    if function["stream"]:
        content = {LINES: {"schema": {"type": "string"}}, EVENTS: {"schema": {"type": "string"}}}
        told = "One item after the other, each as JSON: a line, or the data of an event."
        return {"200": {"description": told, "headers": headers, "content": content, "x-item": function["result"]}}
    if function["media"]:
        content = {media.partition(";")[0]: {"schema": {"type": "string"}} for media in function["media"]}
        return {"200": {"description": "The file.", "headers": headers, "content": content}}
    record = action in ("get", "create", "update", "delete", "restore")
    if record and function["action"] is not None:
        headers["ETag"] = _header("ETag")
    if action == "create" and function["action"] is not None:
        headers["Location"] = _header("Location")
    if function["page"] and action is not None:
        headers["Link"] = _header("Link")
    result = function["result"]
    if action == "get" and function["action"] is not None:
        result = {"anyOf": [result, {"$ref": PREFIX + part_of(manifest, result["$ref"].removeprefix(PREFIX))}]}
    answer = {"description": _answered(action), "headers": headers, "content": {"application/json": {"schema": result}}}
    if action == "create" and function["action"] is not None:
        return {"201": answer}
    if action == "get" and function["action"] is not None:
        unchanged = {"ETag": _header("ETag"), "X-Request-Id": _header("RequestId")}
        return {"200": answer, "304": {"description": "It is as the ETag tells.", "headers": unchanged}}
    if action == "delete" and function["action"] is None:
        return {"200": answer, "204": {"description": "It is done.", "headers": headers}}
    return {"200": answer}


def _answered(action: str | None) -> str:
    told = {"create": "The new record.", "get": "The record.", "delete": "The record as it was deleted."}
    return told.get(action or "", "The answer.")


def _responses(manifest: Manifest, function: Function, success: Mapping[str, Told], more: list[int]) -> Told:
    statuses: Mapping[str, int] = {error["code"]: error["status"] for error in manifest["errors"]}
    met = {statuses[code] for code in function["errors"] if statuses.get(code) in TITLES}
    problems = {
        str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted({*met, *more, 400})
    }
    return {**success, **problems, "default": {"$ref": "#/components/responses/Problem"}}


def _described(entity: Mapping[str, Any]) -> str:
    return f"{entity['name']} records."


def _id(function: Function) -> str:
    return str(function["name"]).replace(".", "_")


def _shared(name: str) -> Told:
    return {"$ref": f"#/components/parameters/{name}"}


def _header(name: str) -> Told:
    return {"$ref": f"#/components/headers/{name}"}
