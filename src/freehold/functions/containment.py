"""Whether all values that one JSON Schema takes are taken by another one, and where not.

It knows the keywords that Freehold's manifests have. What it cannot decide it takes for a difference, so that "nothing is
found" can be relied on. Names that an object does not declare are no part of the contract, and are not looked at.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Gap", "gaps"]

Schema = Any  # Any: JSON

_NOTES = frozenset({"title", "description", "default", "examples", "deprecated", "discriminator", "$comment"})
"""What says nothing about values."""
_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EXACT = (
    "pattern",
    "format",
    "multipleOf",
    "uniqueItems",
    "propertyNames",
    "patternProperties",
    "const",
    "contentEncoding",
)
_KNOWN = {
    *_NOTES, *_LEAST, *_MOST, *_EXACT, "type", "enum", "items", "prefixItems", "properties", "required", "additionalProperties",
}  # fmt: skip
_CHOICES = ("anyOf", "oneOf")


@dataclass(frozen=True, slots=True)
class Gap:
    """Values of the inner schema that the outer one does not take.

    Args:
        path: where, outermost first: names, and `[]` for the items of a list.
        what: the keyword that they fail; `type`, `value` (of an enumeration), `required`, `unknown` (a name) or `schema`.
        inner, outer: what the two say of it.
    """

    path: tuple[str, ...]
    what: str
    inner: Any
    outer: Any


def gaps(
    inner: Schema, outer: Schema, inner_shared: Mapping[str, Schema], outer_shared: Mapping[str, Schema]
) -> list[Gap]:
    """Where values that `inner` takes are not taken by `outer`; nothing is found only where all are.

    Args:
        inner, outer: the schemas.
        inner_shared, outer_shared: what their references lead to.
    """
    comparison = _Comparison(inner_shared, outer_shared)
    comparison.settle(inner, outer)
    return list(comparison.gaps(inner, outer, ()))


class _Comparison:
    """Compares two schemas whose references may lead back to themselves.

    First it settles which pairs of referenced schemas do not fit: all are taken to fit, until one is found that does not, and
    then again with what is known by then. Only after that the gaps are told, those of a pair where it is met first.
    """

    def __init__(self, inner: Mapping[str, Schema], outer: Mapping[str, Schema]) -> None:
        self.inner = inner
        self.outer = outer
        self.failing: set[tuple[str, str]] = set()
        self.met: set[tuple[str, str]] = set()
        self.told: set[tuple[str, str]] | None = None
        """The pairs whose gaps were told; None while it is being settled."""

    def settle(self, inner: Schema, outer: Schema) -> None:
        list(self.gaps(inner, outer, ()))
        changed = True
        while changed:
            changed = False
            looked: set[tuple[str, str]] = set()
            while self.met - looked:
                pair = min(self.met - looked)
                looked.add(pair)
                if pair not in self.failing and any(True for _ in list(self.pair(pair, ()))):
                    self.failing.add(pair)
                    changed = True
        self.told = set()

    def gaps(self, inner: Schema, outer: Schema, path: tuple[str, ...]) -> Iterator[Gap]:
        inners, outers = _alternatives(inner, self.inner), _alternatives(outer, self.outer)
        for each in inners:
            yield from self.among(each, outers, path)

    def pair(self, pair: tuple[str, str], path: tuple[str, ...]) -> Iterator[Gap]:
        """The gaps of two referenced schemas."""
        yield from self.single(_referenced(pair[0], self.inner), _referenced(pair[1], self.outer), path)

    def referenced(self, pair: tuple[str, str], path: tuple[str, ...]) -> Iterator[Gap]:
        """The gaps of two referenced schemas, as far as they are settled."""
        self.met.add(pair)
        if pair not in self.failing:
            return
        if self.told is None or pair in self.told:
            yield Gap(path, "schema", *pair)
            return
        self.told.add(pair)
        yield from self.pair(pair, path)

    def among(self, inner: Schema, outers: Sequence[Schema], path: tuple[str, ...]) -> Iterator[Gap]:
        """The gaps of one alternative: none where some alternative of the outer schema takes all of it."""
        found = []
        for outer in outers:
            problems = list(self.single(inner, outer, path))
            if not problems:
                return
            found.append((problems, outer))
        kind = _type_of(_followed(inner, self.inner))
        near = [problems for problems, outer in found if kind == _type_of(_followed(outer, self.outer)) is not None]
        if len(near) == 1:
            yield from near[0]
        elif len(found) == 1:
            yield from found[0][0]
        else:
            told = " or ".join(_told(_followed(outer, self.outer)) for outer in outers)
            yield Gap(path, "type", _told(_followed(inner, self.inner)), told)

    def single(self, inner: Schema, outer: Schema, path: tuple[str, ...]) -> Iterator[Gap]:
        if "$ref" in _keys(inner) and "$ref" in _keys(outer):
            yield from self.referenced((inner["$ref"], outer["$ref"]), path)
            return
        inner = _referenced(inner["$ref"], self.inner) if "$ref" in _keys(inner) else inner
        outer = _referenced(outer["$ref"], self.outer) if "$ref" in _keys(outer) else outer
        if outer is True or (isinstance(outer, dict) and not set(outer) - _NOTES):
            return
        if inner is False:
            return
        if not isinstance(inner, dict) or not isinstance(outer, dict) or not set(inner) - _NOTES:
            yield Gap(path, "type", _told(inner), _told(outer))
            return
        strange = sorted((set(inner) | set(outer)) - _KNOWN)
        for keyword in strange:
            if inner.get(keyword) != outer.get(keyword):
                yield Gap(path, "schema", keyword, keyword)
        if "enum" in inner or "const" in inner:
            yield from _values(inner, outer, path)
            return
        if "enum" in outer:
            yield Gap(path, "value", None, outer["enum"])
            return
        if not _type_fits(_type_of(inner), _type_of(outer)):
            yield Gap(path, "type", _told(inner), _told(outer))
            return
        yield from _bounds(inner, outer, path)
        yield from self.items(inner, outer, path)
        yield from self.properties(inner, outer, path)

    def items(self, inner: Schema, outer: Schema, path: tuple[str, ...]) -> Iterator[Gap]:
        if inner.get("prefixItems") or outer.get("prefixItems"):
            given, wanted = inner.get("prefixItems", []), outer.get("prefixItems", [])
            if len(given) != len(wanted):
                yield Gap(path, "schema", "prefixItems", "prefixItems")
                return
            for index, (item, other) in enumerate(zip(given, wanted, strict=True)):
                yield from self.gaps(item, other, (*path, str(index)))
        if "items" in outer:
            yield from self.gaps(inner.get("items", True), outer["items"], (*path, "[]"))

    def properties(self, inner: Schema, outer: Schema, path: tuple[str, ...]) -> Iterator[Gap]:
        given, wanted = inner.get("properties", {}), outer.get("properties", {})
        rest, other_rest = inner.get("additionalProperties", True), outer.get("additionalProperties", True)
        for name in outer.get("required", ()):
            if name not in inner.get("required", ()):
                yield Gap((*path, name), "required", name in given, True)
        for name, schema in given.items():
            if name in wanted:
                yield from self.gaps(schema, wanted[name], (*path, name))
            elif other_rest is False:
                yield Gap((*path, name), "unknown", True, False)
            elif other_rest is not True:
                yield from self.gaps(schema, other_rest, (*path, name))
        if isinstance(rest, dict) and other_rest is not True:
            yield from self.gaps(rest, other_rest, (*path, "*"))
        elif rest is True and other_rest is not True and _type_of(inner) == "object":
            # Any name was taken before, with any value.
            yield Gap((*path, "*"), "unknown", True, other_rest is not False)


def _alternatives(schema: Schema, shared: Mapping[str, Schema]) -> list[Schema]:
    """A schema's alternatives, none with alternatives of its own; references are followed only where these lie behind them."""
    if not isinstance(schema, dict):
        return [schema]
    if "$ref" in schema and not set(schema) - _NOTES - {"$ref"}:
        found = _alternatives(_referenced(schema["$ref"], shared), shared)
        return found if len(found) > 1 else [schema]
    for keyword in _CHOICES:
        if keyword in schema and not set(schema) - _NOTES - {keyword}:
            return [each for item in schema[keyword] for each in _alternatives(item, shared)]
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": each} for each in schema["type"]]
    return [schema]


def _referenced(reference: str, shared: Mapping[str, Schema]) -> Schema:
    return shared[reference.rpartition("/")[2]]


def _followed(schema: Schema, shared: Mapping[str, Schema]) -> Schema:
    return _referenced(schema["$ref"], shared) if "$ref" in _keys(schema) else schema


def _keys(schema: Schema) -> Mapping[str, Any]:
    return schema if isinstance(schema, dict) else {}


def _values(inner: Schema, outer: Schema, path: tuple[str, ...]) -> Iterator[Gap]:
    given = inner.get("enum", [inner.get("const")])
    if "enum" in outer or "const" in outer:
        wanted = outer.get("enum", [outer.get("const")])
        missing = [value for value in given if not any(_same(value, other) for other in wanted)]
        if missing:
            yield Gap(path, "value", missing, wanted)
        return
    kinds = {_kind(value) for value in given}
    if not all(_type_fits(kind, _type_of(outer)) for kind in kinds):
        yield Gap(path, "type", _told(inner), _told(outer))
        return
    asked = [keyword for keyword in (*_LEAST, *_MOST, *_EXACT) if keyword in outer]
    for keyword in asked:
        if inner.get(keyword) != outer[keyword] and not all(_keeps(value, keyword, outer[keyword]) for value in given):
            yield Gap(path, keyword, given, outer[keyword])


def _keeps(value: Any, keyword: str, bound: Any) -> bool:
    """Whether a value of an enumeration keeps a bound; what is not known for sure is taken for no."""
    if isinstance(value, str) and keyword in ("minLength", "maxLength"):
        return bool(len(value) >= bound if keyword == "minLength" else len(value) <= bound)
    if isinstance(value, int) and keyword in ("minimum", "maximum"):
        return bool(value >= bound if keyword == "minimum" else value <= bound)
    return False


def _bounds(inner: Schema, outer: Schema, path: tuple[str, ...]) -> Iterator[Gap]:
    for keyword in (*_LEAST, *_MOST):
        bound, own = outer.get(keyword), inner.get(keyword)
        if bound is None or (own is not None and (own >= bound if keyword in _LEAST else own <= bound)):
            continue
        strict = inner.get({"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}.get(keyword, ""))
        if strict is not None and (strict >= bound if keyword in _LEAST else strict <= bound):
            continue
        loose = inner.get({"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}.get(keyword, ""))
        if loose is not None and (loose > bound if keyword in _LEAST else loose < bound):
            continue
        yield Gap(path, keyword, own, bound)
    for keyword in _EXACT:
        if keyword in outer and inner.get(keyword) != outer[keyword]:
            yield Gap(path, keyword, inner.get(keyword), outer[keyword])


def _type_of(schema: Schema) -> str | None:
    if not isinstance(schema, dict):
        return None
    if isinstance(schema.get("type"), str):
        return str(schema["type"])
    if "properties" in schema or "required" in schema:
        return "object"
    return _kind(schema["const"]) if "const" in schema else None


def _type_fits(inner: str | None, outer: str | None) -> bool:
    return outer is None or inner == outer or (inner == "integer" and outer == "number")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    kinds = {int: "integer", float: "number", str: "string", list: "array"}
    return kinds.get(type(value), "object")


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _told(schema: Schema) -> str:
    """A schema in a few words."""
    if not isinstance(schema, dict):
        return "nothing" if schema is False else "anything"
    if "enum" in schema:
        return "one of " + ", ".join(map(repr, schema["enum"]))
    if schema.get("title") and _type_of(schema) == "object":
        return str(schema["title"])
    kind = _type_of(schema) or "anything"
    return f"{kind} ({schema['format']})" if "format" in schema else kind
