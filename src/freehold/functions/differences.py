"""What of a change of the manifest breaks callers.

What callers give may only be taken more freely, what they get may only be told more narrowly: a parameter's type may become wider and
a result's narrower, never the other way round. Where it cannot be decided, a change counts as breaking.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from freehold.errors import ConfigurationError
from freehold.functions.containment import Gap, gaps
from freehold.model.permissions import permits

__all__ = ["Difference", "differences"]

READABLE = 1
"""The version of manifests that can be compared."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One change.

    Args:
        breaking: whether a caller that did right before can fail or misread.
        where: what changed: `function customers.list`, `entity Customer`, `role sales`, `error FH100`.
        path: the place within it: `parameters.limit`; empty for the whole.
        change: what changed, in a few words.
    """

    breaking: bool
    where: str
    path: str
    change: str

    def as_dict(self) -> dict[str, Any]:
        """The difference as JSON-able values."""
        return {"breaking": self.breaking, "where": self.where, "path": self.path, "change": self.change}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """The differences of two manifests, the breaking ones first.

    Args:
        old: as callers know it.
        new: as it is to be.

    Raises:
        ConfigurationError: one of them is no manifest of this version.
    """
    for which, manifest in (("old", old), ("new", new)):
        if not isinstance(manifest, Mapping) or manifest.get("manifest") != READABLE:
            raise ConfigurationError(
                f"the {which} manifest is none of version {READABLE}",
                hint="write one with freehold manifest --output FILE",
            )
    found = [*_functions(old, new), *_entities(old, new), *_roles(old, new), *_errors(old, new)]
    return sorted(dict.fromkeys(found), key=lambda each: (not each.breaking, each.where, each.path, each.change))


def _functions(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    before, after = _named(old["functions"]), _named(new["functions"])
    for name in sorted(before.keys() | after.keys()):
        where = f"function {name}"
        if name not in after:
            yield Difference(True, where, "", "is gone")
        elif name not in before:
            yield Difference(False, where, "", "is new")
        else:
            yield from _function(where, before[name], after[name])
            yield from _schemas(where, "parameters", before[name], after[name], old, new, given=True)
            yield from _schemas(where, "result", before[name], after[name], old, new, given=False)


def _function(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for name, breaks in _ATTRIBUTES.items():
        was, is_ = old.get(name), new.get(name)
        if was != is_:
            yield Difference(breaks(was, is_), where, name, f"is {_shown(is_)}, was {_shown(was)}")
    if _stricter(old["rates"], new["rates"]) or old["rates"] != new["rates"]:
        yield Difference(
            _stricter(old["rates"], new["rates"]),
            where,
            "rates",
            f"is {_rates(new['rates'])}, was {_rates(old['rates'])}",
        )
    for code in sorted(set(old["errors"]) ^ set(new["errors"])):
        told = "is met no more" if code in old["errors"] else "can be met now"
        yield Difference(False, where, "errors", f"{code} {told}")


_ATTRIBUTES: Mapping[str, Callable[[Any, Any], bool]] = {
    "kind": lambda old, new: True,  # noqa: ARG005  # a query is called by GET and may be kept, a command neither
    "permission": lambda old, new: new is not None,  # noqa: ARG005
    "public": lambda old, new: old,  # noqa: ARG005
    "idempotent": lambda old, new: new == "key" or (old is True and not new),
    "stream": lambda old, new: True,  # noqa: ARG005
    "media": lambda old, new: not set(old) <= set(new),
    "content": lambda old, new: True,  # noqa: ARG005
    "live": lambda old, new: old,  # noqa: ARG005
    "timeout": lambda old, new: False,  # noqa: ARG005
    "cache": lambda old, new: False,  # noqa: ARG005
}
"""What a function says besides its schemas, and whether a change of it breaks callers."""


def _stricter(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> bool:
    """Whether calls that were within the old rates can be beyond a new one."""
    return not all(any(_within(there, rate) for there in old) for rate in new)


def _within(there: Mapping[str, Any], rate: Mapping[str, Any]) -> bool:
    """Whether who keeps one rate keeps another: no more at once, and no more in the long run."""
    same = there["by"] == rate["by"]
    return bool(
        same
        and there["requests"] <= rate["requests"]
        and there["requests"] * rate["per"] <= rate["requests"] * there["per"]
    )


def _schemas(
    where: str,
    part: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    *,
    given: bool,
) -> Iterator[Difference]:
    """The differences of what callers give, or of what they get."""
    narrower = gaps(before[part], after[part], old["schemas"], new["schemas"])
    wider = gaps(after[part], before[part], new["schemas"], old["schemas"])
    worse, better = (narrower, wider) if given else (wider, narrower)
    broken = {_path(part, gap) for gap in worse}
    for gap in worse:
        yield Difference(True, where, _path(part, gap), _told(gap, inner_is_old=given, given=given))
    for gap in better:
        absent = gap.what == "required" and not gap.inner  # told of as a new name
        if _path(part, gap) not in broken and not absent:
            yield Difference(False, where, _path(part, gap), _told(gap, inner_is_old=not given, given=given))
    was, is_ = _properties(before[part], old["schemas"], part), _properties(after[part], new["schemas"], part)
    for path in sorted(is_ - was - broken):
        yield Difference(False, where, path, "is new")
    for path in sorted(was - is_ - broken):
        yield Difference(True, where, path, "is ignored now" if given else "is gone")
    if given:
        yield from _defaults(where, before[part], after[part])


def _told(gap: Gap, *, inner_is_old: bool, given: bool) -> str:
    """A gap in a few words, from the side of who reads the new manifest."""
    was, is_ = (gap.inner, gap.outer) if inner_is_old else (gap.outer, gap.inner)
    if gap.what == "required":
        if given:
            return "is required now" if inner_is_old else "is not required any more"
        if inner_is_old:
            return "is always there now"
        return "may be absent now" if gap.inner else "is gone"
    if gap.what == "unknown":
        return "is not known any more" if inner_is_old else "is new"
    if gap.what == "value":
        values = gap.inner
        if values is None:
            return "takes only some values now" if inner_is_old else "takes any value now"
        listed = ", ".join(map(repr, values))
        return f"{listed} {'is gone' if inner_is_old else 'is new'}"
    if gap.what == "schema":
        return f"{gap.inner} is another"
    if gap.what == "type" and given:
        return f"does not take {gap.inner} any more" if inner_is_old else f"takes {gap.inner} too"
    if gap.what == "type":
        return f"is never {gap.inner} any more" if inner_is_old else f"can be {gap.inner} now"
    return f"{gap.what} is {_shown(is_)}, was {_shown(was)}"


def _properties(schema: Any, shared: Mapping[str, Any], path: str) -> set[str]:
    """All names in a schema, by path; of what is referenced several times, those where it is met first."""
    found: set[str] = set()
    waiting: list[tuple[Any, str]] = [(schema, path)]
    met: set[str] = set()
    while waiting:
        inner, where = waiting.pop(0)
        if not isinstance(inner, dict):
            continue
        name = str(inner.get("$ref", "")).rpartition("/")[2]
        if name and name not in met:
            met.add(name)
            waiting.append((shared[name], where))
        for each, schema_ in inner.get("properties", {}).items():
            found.add(f"{where}.{each}")
            waiting.append((schema_, f"{where}.{each}"))
        waiting.append((inner.get("items"), f"{where}.[]"))
        waiting.extend((choice, where) for keyword in ("anyOf", "oneOf") for choice in inner.get(keyword, ()))
    return found


def _defaults(where: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    was, is_ = before.get("properties", {}), after.get("properties", {})
    for name in sorted(was.keys() & is_.keys()):
        if was[name].get("default") != is_[name].get("default") and "default" in was[name] and "default" in is_[name]:
            change = f"default is {_shown(is_[name]['default'])}, was {_shown(was[name]['default'])}"
            yield Difference(False, where, f"parameters.{name}", change)


def _entities(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    """What filters, orders and includes can name, and what writes must keep, of entities that are exposed."""
    before, after = (_named(entity for entity in side["entities"] if entity["exposed"]) for side in (old, new))
    for name in sorted(before.keys() | after.keys()):
        where = f"entity {name}"
        if name not in after:
            yield Difference(True, where, "", "is gone")
        elif name not in before:
            yield Difference(False, where, "", "is new")
        else:
            yield from _parts(where, "fields", before[name], after[name], _field_changes)
            yield from _parts(where, "relations", before[name], after[name], _relation_changes)
            yield from _rules(where, before[name], after[name])


def _parts(
    where: str,
    part: str,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    changes: Callable[[Mapping[str, Any], Mapping[str, Any]], Iterator[tuple[bool, str]]],
) -> Iterator[Difference]:
    before, after = (_named(each for each in side[part] if not each.get("private")) for side in (old, new))
    for name in sorted(before.keys() | after.keys()):
        path = f"{part}.{name}"
        if name not in after:
            yield Difference(True, where, path, "is gone")
        elif name not in before:
            yield Difference(False, where, path, "is new")
        else:
            for breaking, change in changes(before[name], after[name]):
                yield Difference(breaking, where, path, change)


def _field_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    if (old["kind"], old["many"]) != (new["kind"], new["many"]):
        yield True, f"is {_kind(new)}, was {_kind(old)}"
    for operator in old["operators"]:
        if operator not in new["operators"]:
            yield True, f"filters cannot use {operator} any more"
    for what in ("sortable", "search"):
        if old[what] != new[what]:
            yield old[what], f"{what} is {_shown(new[what])}, was {_shown(old[what])}"
    gone = [value for value in old["choices"] if value not in new["choices"]]
    if new["choices"] and gone:
        yield True, f"{', '.join(map(repr, gone))} cannot be filtered by any more"


def _relation_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    if (old["target"], old["many"]) != (new["target"], new["many"]):
        yield True, f"leads to {new['target']}, led to {old['target']}"


def _rules(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    """Keys and checks: a new one refuses what was taken."""
    was, is_ = ({key["name"]: key for key in side["unique"]} for side in (old, new))
    for name in sorted(was.keys() | is_.keys()):
        if was.get(name) != is_.get(name):
            told = "is gone" if name not in is_ else "is new" if name not in was else "is another"
            yield Difference(name in is_, where, f"unique.{name}", told)
    for name in sorted(old["checks"].keys() | new["checks"].keys()):
        if old["checks"].get(name) != new["checks"].get(name):
            told = "is gone" if name not in new["checks"] else "is new" if name not in old["checks"] else "is another"
            yield Difference(name in new["checks"], where, f"checks.{name}", told)


def _roles(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    before, after = old["roles"], new["roles"]
    for role in sorted({*(before or {}), *(after or {})}):
        was = frozenset(["*"]) if before is None else frozenset(before.get(role, ()))
        is_ = frozenset(["*"]) if after is None else frozenset(after.get(role, ()))
        for permission in sorted({*old["permissions"], *new["permissions"]}):
            had, has = permits(was, permission), permits(is_, permission)
            if had and not has and permission in old["permissions"]:
                yield Difference(True, f"role {role}", permission, "is granted no more")
            elif has and not had and permission in new["permissions"]:
                yield Difference(False, f"role {role}", permission, "is granted now")


def _errors(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    before, after = ({error["code"]: error for error in side["errors"]} for side in (old, new))
    for code in sorted(before.keys() | after.keys()):
        where = f"error {code}"
        if code not in after:
            yield Difference(True, where, "", "is gone")
        elif code not in before:
            yield Difference(False, where, "", "is new")
        elif before[code]["status"] != after[code]["status"]:
            yield Difference(True, where, "status", f"is {after[code]['status']}, was {before[code]['status']}")


def _named(items: Any) -> dict[str, Any]:
    return {item["name"]: item for item in items}


def _path(part: str, gap: Gap) -> str:
    return ".".join([part, *gap.path])


def _kind(field: Mapping[str, Any]) -> str:
    return f"a list of {field['kind']}" if field["many"] else str(field["kind"])


def _rates(rates: list[dict[str, Any]]) -> str:
    return ", ".join(f"{rate['requests']} in {rate['per']:g} s by {rate['by']}" for rate in rates) or "none"


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
