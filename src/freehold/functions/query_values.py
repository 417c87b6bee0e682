"""What the texts of a query string or a command line become, by the JSON Schema of the parameter that they are for.

A text cannot say whether it is a number, a choice or JSON; the schema does. So every parameter that a JSON body can have can be
written as texts:

    a scalar                  one text
    a choice of any type      the choice as JSON writes it, a string without its quotes
    a list of scalars         one text for each item
    an object, other lists    JSON: one text, or one for each item

If a parameter may be a text, a text stays one: `5` for `int | str` is the string.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from freehold.model.numbers import NUMBER

__all__ = ["Reader", "check_plus", "reader_of"]

Schema = Mapping[str, Any]  # Any: JSON
Reader = Callable[[Sequence[str]], Any]
"""What makes a value of all texts that were given for a parameter; raises ValueError."""

_LOST_PLUS = re.compile(r"(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d(?::\d\d(?:\.\d+)?)? \d\d:?\d\d")


def check_plus(text: str) -> None:
    """Refuses a moment or time whose `+` has become a space, as it does in a query string.

    Raises:
        ValueError: it is one; says what to write.
    """
    if len(text) <= 40 and _LOST_PLUS.fullmatch(text):
        raise ValueError("has a space before its offset: write the plus sign as %2B in a query string")


@dataclass
class _Accepted:
    """What a schema lets in.

    Args:
        texts, scalars, objects: whether strings, numbers (or booleans), objects.
        choices: the values that are named, by how they are written.
        items: the schemas of lists: of each place, and of all further ones.
        duration, moment: whether its strings are durations, or have a time with an offset.
    """

    texts: bool = False
    scalars: bool = False
    objects: bool = False
    choices: dict[str, Any] = field(default_factory=dict)
    lists: list[tuple[Sequence[Schema], Schema]] = field(default_factory=list)
    duration: bool = False
    moment: bool = False


def reader_of(schema: Schema, shared: Mapping[str, Schema], parse: Callable[[str], Any]) -> Reader:
    """What reads a parameter.

    Args:
        schema: the parameter's.
        shared: what it refers to, by name.
        parse: makes a value of JSON; raises ValueError.
    """
    accepted = _accepted(schema, shared)
    one = _single(accepted, parse)
    if not accepted.lists:
        return lambda texts: one(_only(texts))
    many = _list(*accepted.lists[0], shared, parse)
    if accepted.texts or accepted.scalars or accepted.objects or accepted.choices:
        return lambda texts: one(texts[0]) if len(texts) == 1 else many(texts)
    return many


def _only(texts: Sequence[str]) -> str:
    if len(texts) > 1:
        raise ValueError("is given more than once; give it once")
    return texts[0]


def _single(accepted: _Accepted, parse: Callable[[str], Any]) -> Callable[[str], Any]:
    structured = accepted.objects or bool(accepted.lists)
    choices = accepted.choices

    def read(text: str) -> Any:
        if text in choices:
            return choices[text]
        if structured and (text.lstrip()[:1] in ("{", "[", '"') or not (accepted.texts or accepted.scalars or choices)):
            try:
                return parse(text)
            except ValueError:
                if not accepted.texts:
                    raise
        if accepted.duration and len(text) <= 30 and NUMBER.fullmatch(text):
            return float(text)
        if accepted.moment:
            check_plus(text)
        return text

    return read


def _list(first: Sequence[Schema], rest: Schema, shared: Mapping[str, Schema], parse: Callable[[str], Any]) -> Reader:
    """What reads a list: items as texts; where items are objects or lists themselves, also all of it as one text of JSON."""
    kinds = [_accepted(schema, shared) for schema in (*first, rest)]
    readers = [_single(kind, parse) for kind in kinds]
    nested = any(kind.lists for kind in kinds)
    whole = nested or any(kind.objects for kind in kinds)

    def read(texts: Sequence[str]) -> list[Any]:
        if whole and len(texts) == 1 and texts[0].lstrip()[:1] == "[":
            found = parse(texts[0])
            if isinstance(found, list) and (first or not nested or all(isinstance(item, list) for item in found)):
                return found
        return [readers[min(place, len(readers) - 1)](text) for place, text in enumerate(texts)]

    return read


def _accepted(schema: Schema, shared: Mapping[str, Schema]) -> _Accepted:
    found = _Accepted()
    waiting: list[Schema] = [schema]
    seen: set[str] = set()
    while waiting:
        each = waiting.pop(0)
        name = each.get("$ref", "").rpartition("/")[2]
        if name:
            if name not in seen:
                seen.add(name)
                waiting.append(shared[name])
            continue
        parts = [*each.get("anyOf", ()), *each.get("oneOf", ()), *each.get("allOf", ())]
        waiting += parts
        if not parts:
            _add(found, each)
    return found


def _add(found: _Accepted, schema: Schema) -> None:
    if "enum" in schema or "const" in schema:
        for value in schema.get("enum", [schema.get("const")]):
            written = value if isinstance(value, str) else to_json(value).decode()
            if isinstance(value, str) or written not in found.choices:
                found.choices[written] = value
        return
    kind = schema.get("type")
    if kind == "object":
        found.objects = True
    elif kind == "array":
        found.lists.append((schema.get("prefixItems", ()), schema.get("items") or {}))
    elif kind in ("integer", "number", "boolean"):
        found.scalars = True
    elif kind != "null":
        found.texts = True
        form = schema.get("format")
        found.duration = found.duration or form == "duration"
        found.moment = found.moment or form in ("date-time", "time")
