"""What can be wrong with a declaration beyond one field's type: its options against each other, and its keys.

Each check answers with what is wrong and what to write instead, or with None. The class and field are added by who asks.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, ValidationError

from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.fields import Index, Unique
from freehold.model.inputs import prepared

__all__ = [
    "bounds_problem",
    "condition_problem",
    "counter_problem",
    "default_problem",
    "key_problem",
    "options_problem",
    "repeated_name",
    "samples_problem",
    "undeclared_problem",
]

_LENGTHS = ("min_length", "max_length")
_LIMITS = ("ge", "gt", "le", "lt")
_LIMITED = ("integer", "float", "decimal", "date", "datetime", "time", "duration")


def undeclared_problem(info: FieldInfo) -> str | None:
    """What Pydantic's own Field or Annotated said, which no column and no input schema would hear of."""
    if info.metadata or info.alias or info.validation_alias or info.serialization_alias:
        return "bounds and aliases of Pydantic's Field are not heard here; write them as field(max_length=..., ge=..., ...)"
    return None


def bounds_problem(field: FieldDescription) -> str | None:
    """A bound that does not apply to the field's type, or is none."""
    bounds, kind = field.declaration.bounds, field.kind
    allowed: tuple[str, ...] = ()
    if kind.many or kind.name == "bytes":
        allowed = _LENGTHS
    elif kind.choices:
        allowed = ()
    elif kind.name == "text":
        allowed = (*_LENGTHS, "pattern")
    elif kind.name in _LIMITED:
        allowed = _LIMITS
    for name, bound in bounds.items():
        if name not in allowed:
            return f"{name} does not apply to this type; " + (
                f"it takes {', '.join(allowed)}" if allowed else "leave it out"
            )
        if name in _LENGTHS and (isinstance(bound, bool) or not isinstance(bound, int) or bound < 0):
            return f"{name}={bound!r} must be a whole number from 0 on"
        try:
            TypeAdapter(prepared(field.annotation, {name: bound}))
        except Exception:  # noqa: BLE001  # whatever Pydantic says of a bound, it is no bound
            return f"{name}={bound!r} is no bound of this type"
    if bounds.get("min_length", 0) > bounds.get("max_length", float("inf")):
        return "min_length is more than max_length; exchange them"
    return None


def counter_problem(field: FieldDescription) -> str | None:
    """A counter of another type, or one that counts nothing that can be an entity."""
    counting = field.declaration.counting
    if counting is None:
        return None
    if field.annotation is not int or field.nullable:
        return f"a counter is an int that is never null; write {field.name}: int = counter(...)"
    if not (isinstance(counting.of, str) or hasattr(counting.of, "__entity__")):
        return f"counter(of={counting.of!r}) is no entity; write counter(of='Bookmark')"
    if counting.via is not None and not isinstance(counting.via, str):
        return f"via={counting.via!r} is no name of a field; write counter(of=..., via='resource_id')"
    return None


def default_problem(field: FieldDescription) -> str | None:
    """A default that input would not be allowed to give."""
    declaration = field.declaration
    if declaration.default is PydanticUndefined or declaration.default is None:
        return None
    if declaration.default_factory is not None:
        return "both default and default_factory are given; leave one out"
    if declaration.lowercase and declaration.default != str(declaration.default).lower():
        return f"the default {declaration.default!r:.100} is not in small letters, as lowercase wants it"
    annotation = prepared(field.annotation, declaration.bounds, digits=declaration.digits, places=declaration.places)
    try:
        TypeAdapter(annotation).validate_python(declaration.default)
    except ValidationError as error:
        return f"the default {declaration.default!r:.100} is not valid: {error.errors()[0]['msg']}"
    return None


def options_problem(soft_delete: Any, unique: Any, indexes: Any, checks: Any) -> str | None:
    """A class option of another type."""
    if not isinstance(soft_delete, bool):
        return f"soft_delete={soft_delete!r} must be a bool; write soft_delete=True"
    for option, wanted, given in (("unique", Unique, unique), ("indexes", Index, indexes)):
        if isinstance(given, Index | Unique):
            return f"{option} is a list; write {option}=[{given!r}]"
        if isinstance(given, str) or not isinstance(given, Sequence):
            return f"{option} must be a list, such as {option}=[{wanted.__name__}('name')]"
        for key in given:
            if not isinstance(key, wanted):
                names = key.fields if isinstance(key, Index | Unique) else (key,) if isinstance(key, str) else key
                shown = ", ".join(map(repr, names)) if isinstance(names, Iterable) else "'name'"
                return f"{option} holds {key!r}; write {wanted.__name__}({shown})"
    if checks is not None and not isinstance(checks, Mapping):
        return "checks is a mapping from names to SQL; write checks={'name': 'a <> b'}"
    for condition in (checks or {}).values():
        if not isinstance(condition, str):
            return f"a check is SQL, not {condition!r:.80}; write checks={{'name': 'a <> b'}}"
    return None


def samples_problem(samples: Any, fields: Iterable[str]) -> str | None:
    """A class option `samples` that names no fields."""
    if samples is None:
        return None
    if not isinstance(samples, Mapping):
        return "samples is a mapping from fields to values; write samples={'name': 'x'}"
    for name in samples:
        if name not in fields:
            close = difflib.get_close_matches(str(name), list(fields), 1)
            return f"samples names {name!r}, which is no field" + (f"; did you mean {close[0]!r}?" if close else "")
    return None


def key_problem(entity: EntityDescription, key: Index | Unique) -> str | None:
    """What is wrong with a composite key whose fields are all known."""
    if len(set(key.fields)) < len(key.fields):
        return f"{key!r} names a field twice"
    for name in key.fields if isinstance(key, Unique) else ():
        if entity.fields[name].declaration.counting is not None:
            return f"{key!r}: {name} is a counter, which others change; leave it out"
    for name in key.ignore_case if isinstance(key, Unique) else ():
        if name not in key.fields or entity.fields[name].kind.name != "text":
            return f"{key!r}: ignore_case={name!r} must be one of its str fields"
    problem = condition_problem(entity, key.where)
    return f"{key!r}: {problem}" if problem else None


def condition_problem(entity: EntityDescription, where: Mapping[str, Any]) -> str | None:
    """A value that a field, which is known, cannot equal."""
    for name, value in where.items():
        field = entity.fields[name]
        if value is None and not field.nullable:
            return f"{name} is never null; leave the condition out"
        if value is not None:
            try:
                field.kind.adapter.validate_python(value, strict=not field.kind.choices)
            except ValidationError as error:
                return f"{name}={value!r} is no value of the field: {error.errors()[0]['msg']}"
    return None


def repeated_name(entity: EntityDescription) -> str | None:
    """Two indexes or constraints of an entity that would have the same name in the database."""
    seen: dict[str, object] = {}
    for name, what in (*entity.index_names, *entity.constraint_names):
        if name in seen:
            same = (
                "is declared twice" if repr(seen[name]) == repr(what) else f"and {seen[name]!r} share the name {name}"
            )
            return f"{what!r} {same}; leave one out, or name a field differently"
        seen[name] = what
    return None
