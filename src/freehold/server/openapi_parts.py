"""What the operations of the OpenAPI document share: headers, problems, and records of which only some fields are asked for."""

from collections.abc import Mapping
from typing import Any

from freehold.functions.schemas import PREFIX, free_name, with_references

__all__ = [
    "COMPONENTS",
    "HEADERS",
    "OWN_PROBLEM",
    "PARAMETERS",
    "PROBLEM",
    "TITLES",
    "own_names",
    "part_of",
    "problem_responses",
    "record_schemas",
]

COMPONENTS = "#/components/schemas/"
OWN_PROBLEM = "$Problem"
"""What the document's own problem is called until it is known which names the application has taken."""

PARAMETERS: Mapping[str, Any] = {
    "Organization": {
        "name": "Freehold-Organization",
        "in": "header",
        "description": "The slug or id of the organization, for callers who belong to several.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 100},
    },
    "Id": {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The record's id.",
        "schema": {"type": "string", "format": "uuid"},
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "required": True,
        "description": "The ETag that came with the record: the change is made only where nobody has changed it since.",
        "schema": {"type": "string", "pattern": '^"[1-9][0-9]{0,8}(-[0-9a-f]{1,32})?"$'},
        "example": '"7"',
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The ETag that came with the record: where it is still right, the answer is 304, without a body.",
        "schema": {"type": "string", "pattern": '^"[0-9a-f-]{1,60}"$'},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A new UUID with each new call, the same when it is repeated: it is done once, and answered alike.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,200}$"},
    },
}

HEADERS: Mapping[str, Any] = {
    "RequestId": {
        "description": "Names the request: the log has it, and each change in a history.",
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "The record's version, in quotes; with a digest where the answer holds more than that tells.",
        "schema": {"type": "string"},
    },
    "Location": {"description": "Where the new record is.", "schema": {"type": "string"}},
    "Link": {"description": 'The pages around this one: `rel="next"` and `rel="prev"`.', "schema": {"type": "string"}},
    "RetryAfter": {"description": "Seconds after which to ask again.", "schema": {"type": "integer", "minimum": 0}},
    "Replayed": {
        "description": "`true` where an earlier call with the same key had done it.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}},
}

PROBLEM: Mapping[str, Any] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457).",
    "type": "object",
    "properties": {
        "type": {"type": "string", "description": "a URI that names the kind of problem"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "what went wrong, for people"},
        "instance": {"type": "string", "description": "the path of the request"},
        "code": {"type": "string", "pattern": "^FH[0-9]{3}$", "description": "what went wrong, for programs"},
        "hint": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "what to do about it"},
        "request_id": {"type": "string"},
        "issues": {
            "type": "array",
            "description": "all that is wrong with the input",
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
                    "message": {"type": "string"},
                    "code": {"type": "string"},
                },
                "required": ["path", "message", "code"],
            },
        },
    },
    "required": ["type", "title", "status", "detail", "code"],
}

TITLES: Mapping[int, str] = {
    400: "The request cannot be read, or a cursor is of another list.",
    401: "There is no credential, or it is not valid.",
    403: "The caller may not do this.",
    404: "There is no such record.",
    409: "It cannot be done in the present state; of a conflict, `current` is the record as it is now.",
    410: "It reaches back further than is known.",
    413: "The body is too large.",
    415: "The body is no JSON.",
    422: "The input is not valid.",
    428: "The version is missing that was read.",
    429: "The caller has asked for more than it may for now.",
    500: "The program has failed.",
    503: "The database cannot be reached.",
    504: "It took too long.",
}
_HEADERS_OF = {
    401: {"WWW-Authenticate": "Authenticate"},
    429: {"Retry-After": "RetryAfter"},
    503: {"Retry-After": "RetryAfter"},
}


def own_names(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The names that schemas of the document's own get beside those of the application."""
    taken = {*manifest["schemas"], *(part_of(manifest, entity["name"]) for entity in manifest["entities"])}
    return {OWN_PROBLEM: free_name("Problem", taken)}


def part_of(manifest: Mapping[str, Any], name: str) -> str:
    """The name of the schema of a record of which only some fields are asked for."""
    return free_name(f"{name}Part", manifest["schemas"])


def problem_responses(names: Mapping[str, str]) -> dict[str, Any]:
    """The answers that tell of problems, by status, and `Problem` for all others."""
    made = {f"Problem{status}": _problem(told, _HEADERS_OF.get(status, {})) for status, told in sorted(TITLES.items())}
    made["Problem"] = _problem("Anything else that went wrong.", {})
    found: dict[str, Any] = with_references(made, names, COMPONENTS)
    return found


def _problem(told: str, headers: Mapping[str, str]) -> dict[str, Any]:
    names = {"X-Request-Id": "RequestId", **headers}
    return {
        "description": told,
        "headers": {name: {"$ref": f"#/components/headers/{which}"} for name, which in names.items()},
        "content": {"application/problem+json": {"schema": {"$ref": PREFIX + OWN_PROBLEM}}},
    }


def record_schemas(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Records of which a call may ask for some fields (`CustomerPart`), and what can hold them in place of whole ones."""
    shared: Mapping[str, Any] = manifest["schemas"]
    records = [entity["name"] for entity in manifest["entities"] if entity["name"] in shared]
    names = {name: part_of(manifest, name) for name in records}
    part = {name: {"anyOf": [{"$ref": PREFIX + name}, {"$ref": PREFIX + names[name]}]} for name in records}
    pages = _pages(manifest)
    relations = {
        entity["name"]: {relation["name"] for relation in entity["relations"]} for entity in manifest["entities"]
    }
    made: dict[str, Any] = {}
    for name in records:
        properties = {
            key: _with_parts(schema, part) if key in relations[name] else schema
            for key, schema in shared[name]["properties"].items()
        }
        made[name] = {**shared[name], "properties": properties}
        made[names[name]] = {
            "title": names[name],
            "description": f"{name}, with the fields that `select` asks for.",
            "type": "object",
            "properties": properties,
            "required": ["id"],
        }
        if name in pages:
            page = shared[pages[name]]
            data = {**page["properties"]["data"], "items": part[name]}
            made[pages[name]] = {**page, "properties": {**page["properties"], "data": data}}
    return made


def _pages(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The schemas of pages, by that of their items."""
    found = {}
    for function in manifest["functions"]:
        page = function["result"].get("$ref", "").removeprefix(PREFIX)
        if function["page"] and page:
            item = manifest["schemas"][page]["properties"]["data"]["items"]["$ref"]
            found[item.removeprefix(PREFIX)] = page
    return found


def _with_parts(schema: Any, part: Mapping[str, Any]) -> Any:
    """A relation's schema, in which each record may be a part of one."""
    if isinstance(schema, list):
        return [_with_parts(each, part) for each in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return part.get(reference.removeprefix(PREFIX), schema)
    return {key: _with_parts(value, part) for key, value in schema.items()}
