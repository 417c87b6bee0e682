"""Values that satisfy an entity's checks, where those of `freehold.doctor.samples` do not.

Each field that a check names gets a few candidates: values before and after its own, its bounds and choices, null, and what the
text of the checks suggests (its numbers and their neighbours, its strings, texts for its patterns, documents with its keys).
PostgreSQL evaluates the checks for combinations of them, many in one query; no row is written.

Fields that no check names together are searched apart, so that a few fields are combined at a time.
"""

import itertools
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_jsonable_python

from freehold.doctor.patterns import matching
from freehold.doctor.samples import NoValueError, value
from freehold.errors import FreeholdError
from freehold.model.context import new_id
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.inputs import prepared
from freehold.sql.identifiers import quoted
from freehold.store.session import Session

__all__ = ["checked_fields", "solutions"]

SOLUTIONS = 4
_COMBINATIONS = 3_000
"""That are tried for fields that checks name together."""
_CANDIDATES = 24
"""Of one field."""
_FAULTS = 40
"""Combinations for which evaluating a check may fail, as by a division by zero, before the search ends."""
_NEIGHBOURS = (1, 2, 3, 7)
_NUMBERS = (0, 1, 2, 3, 5, 10, 100, 1_000, -1)
_TEXT_LENGTH = 200

_QUERY = """
select _e._n as _n from json_array_elements(cast(:documents as json)) with ordinality as _e (_doc, _n),
    lateral (select 1 from json_populate_record(null::{table}, _e._doc) as _r where {checks}) as _held
order by _e._n limit {limit}
"""


def checked_fields(entity: EntityDescription, check: str) -> list[str]:
    """The fields that the text of a check names."""
    words = set(re.findall(r"\w+", re.sub(r"'(?:[^']|'')*'", " ", check)))
    return [name for name in entity.fields if name in words]


async def solutions(
    session: Session,
    entity: EntityDescription,
    values: Mapping[str, Any],
    *,
    number: int,
    mark: str = "",
    fixed: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """Values like those given that satisfy the entity's checks, the most like them first.

    Args:
        session: evaluates the checks.
        entity: whose checks.
        values: of its fields, to begin with.
        number, mark: which values; see `freehold.doctor.samples`.
        fixed: names of fields that keep their value.

    Returns:
        Some of them; none where none was found.
    """
    kept = {*fixed, *(name for name, field in entity.fields.items() if field.base)}
    changed: list[list[dict[str, Any]]] = []
    for names, checks in _components(entity):
        free = [name for name in names if name not in kept and entity.fields[name] in entity.given]
        pools = {name: _pool(entity.fields[name], values, checks, number, mark) for name in free}
        tried = [{**values, **chosen} for chosen in _combinations(pools)]
        held = await _held(session, entity, tried, checks)
        if not held:
            return []
        changed.append([{name: found[name] for name in free if name in found} for found in held])
    most = max(map(len, changed), default=0)
    return [
        {**values, **{name: value for part in changed for name, value in part[min(place, len(part) - 1)].items()}}
        for place in range(most)
    ]


def _components(entity: EntityDescription) -> list[tuple[list[str], list[str]]]:
    """Fields that checks name together, with these checks."""
    parts: list[tuple[set[str], list[str]]] = []
    for check in entity.checks.values():
        names, checks = set(checked_fields(entity, check)), [check]
        touching = [part for part in parts if part[0] & names]
        for part in touching:
            parts.remove(part)
            names, checks = names | part[0], part[1] + checks
        parts.append((names, checks))
    return [([name for name in entity.fields if name in names], checks) for names, checks in parts]


def _combinations(pools: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """All combinations, or, where they are too many, those of the first candidates and a sample of the others."""
    size = 1
    for pool in pools.values():
        size *= len(pool)
    if size <= _COMBINATIONS:
        yield from (dict(zip(pools, chosen, strict=True)) for chosen in itertools.product(*pools.values()))
        return
    first = max(2, int((_COMBINATIONS / 2) ** (1 / len(pools))))
    for chosen in itertools.islice(itertools.product(*(pool[:first] for pool in pools.values())), _COMBINATIONS // 2):
        yield dict(zip(pools, chosen, strict=True))
    chance = random.Random(0)  # noqa: S311  # the same sample each time, no secret
    for _ in range(_COMBINATIONS // 2):
        yield {name: chance.choice(pool) for name, pool in pools.items()}


async def _held(
    session: Session, entity: EntityDescription, tried: Sequence[dict[str, Any]], checks: Sequence[str]
) -> list[dict[str, Any]]:
    """The first of the combinations for which all of the checks hold."""
    conditions = " and ".join(f"({check}) is not false" for check in checks)
    query = _QUERY.format(table=quoted(entity.table), checks=conditions, limit=SOLUTIONS)
    found: list[dict[str, Any]] = []
    left, faults = [list(tried)], 0
    while left and len(found) < SOLUTIONS and faults < _FAULTS:
        part = left.pop(0)
        try:
            rows = await session.sql(None, query, documents=json.dumps([_row(entity, each) for each in part]))
        except FreeholdError:
            faults += 1
            half = len(part) // 2
            left[:0] = [part[:half], part[half:]] if half else []
            continue
        found += [part[row["_n"] - 1] for row in rows]
    return found[:SOLUTIONS]


def _row(entity: EntityDescription, values: Mapping[str, Any]) -> dict[str, Any]:
    """A record as JSON that PostgreSQL makes a row of."""
    now = datetime.now(UTC).isoformat()
    row: dict[str, Any] = {"id": str(new_id()), "version": 1, "created_at": now, "updated_at": now}
    for field in entity.own:
        row[field.name] = _as_json(values[field.name] if field.name in values else _default(field))
    return row


def _default(field: FieldDescription) -> Any:
    declared = field.declaration
    if field.declaration.counting is not None:
        return 0
    if declared.required:
        return None
    return declared.default_factory() if declared.default_factory else declared.default


def _as_json(given: Any) -> Any:
    if isinstance(given, bytes):
        return f"\\x{given.hex()}"
    if isinstance(given, timedelta):
        return f"{given / timedelta(microseconds=1):.0f} microseconds"
    if isinstance(given, BaseModel):
        return given.model_dump(mode="json")
    if isinstance(given, list):
        return [_as_json(each) for each in given]
    return to_jsonable_python(given)


def _pool(
    field: FieldDescription, values: Mapping[str, Any], checks: Sequence[str], number: int, mark: str
) -> list[Any]:
    """Candidates for a field, the likeliest first."""
    declared, found = field.declaration, [values[field.name]] if field.name in values else []
    if declared.target is not None:
        return [*found, None] if field.nullable and found else found or [None]
    if not declared.required:
        found.append(_default(field))
    adapter: TypeAdapter[Any] = TypeAdapter(
        prepared(
            field.annotation,
            declared.bounds,
            digits=declared.digits,
            places=declared.places,
            lowercase=declared.lowercase,
        )
    )
    current = found[0] if found else None
    for candidate in _candidates(field, current, " ".join(checks), number, mark):
        with suppress(pydantic.ValidationError, ValueError, OverflowError):
            found.append(adapter.validate_python(candidate))
    if field.nullable:
        found.insert(2, None)
    return list({repr(each): each for each in found}.values())[:_CANDIDATES]


def _candidates(field: FieldDescription, current: Any, text: str, number: int, mark: str) -> Iterator[Any]:
    strings = [each.replace("''", "'") for each in re.findall(r"'((?:[^']|'')*)'", text)]
    bare = re.sub(r"'(?:[^']|'')*'", " ", text)
    numbers = [int(each) for each in re.findall(r"(?<![\w.])\d{1,18}(?![\w.])", bare)]
    yield from field.kind.choices or ()
    if field.kind.many:
        yield from _lists(field, numbers, strings, number, mark)
    elif field.kind.name == "json":
        yield from _documents(current, text, strings, numbers)
    elif field.kind.name == "boolean":
        yield from (True, False)
    elif field.kind.name == "text":
        yield from _texts(current, strings, numbers, number)
    elif field.kind.name in ("integer", "decimal", "float"):
        yield from (near for each in numbers for near in (each, each + 1, each - 1))
        yield from re.findall(r"(?<![\w.])\d+\.\d+", bare)
        yield from (bound for bound in field.declaration.bounds.values() if not isinstance(bound, str))
        yield from _NUMBERS
    else:
        yield from strings
    for further in _NEIGHBOURS:
        with suppress(NoValueError):
            yield value(field, number + further, mark)


def _texts(current: Any, strings: Sequence[str], numbers: Sequence[int], number: int) -> Iterator[str]:
    now = current if isinstance(current, str) else "x"
    yield from (now.upper(), now.lower(), re.sub(r"\W", "", now), re.sub(r"\W", "", now).upper())
    for each in strings:
        yield each
        yield each.replace("%", "x").replace("_", "x")  # a pattern of LIKE
        yield from itertools.islice(matching(each, number), 3)
    for length in (each for each in numbers if each <= _TEXT_LENGTH):
        for filled in (now, "x", "1"):
            yield filled[:length].ljust(length, filled[-1:] or "x")


def _lists(
    field: FieldDescription, numbers: Sequence[int], strings: Sequence[str], number: int, mark: str
) -> Iterator[list[Any]]:
    yield []
    for length in (1, 2, *(each for each in numbers if each <= _TEXT_LENGTH)):
        single: list[Any] = []
        for place in range(length):
            with suppress(NoValueError):
                single += value(field, number + place, mark)[:1]
        yield single
    yield list(strings)
    yield from ([each] for each in strings)


def _documents(current: Any, text: str, strings: Sequence[str], numbers: Sequence[int]) -> Iterator[Any]:
    """Documents with the keys that checks ask for."""
    base = (
        current.model_dump() if isinstance(current, BaseModel) else dict(current) if isinstance(current, dict) else {}
    )
    for each in strings:
        with suppress(ValueError):
            contained = json.loads(each)
            yield {**base, **contained} if isinstance(contained, dict) else contained
    keys = re.findall(r"(?:->>?|\?)\s*'((?:[^']|'')*)'", text)
    plain = [each for each in strings if each not in keys]
    options = [*plain, *(near for each in numbers for near in (each, each + 1, each - 1)), 1, "x", True, []]
    for option in options:
        yield {**base, **dict.fromkeys(keys, option)}
    distinct = list(dict.fromkeys(keys))
    for chosen in itertools.islice(itertools.product(options, repeat=len(distinct)), _CANDIDATES):
        yield {**base, **dict(zip(distinct, chosen, strict=True))}
