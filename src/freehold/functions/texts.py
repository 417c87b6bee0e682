"""Arguments of a read as query strings and command lines have them.

    status=active & total.gte=100 & customer.status.in=a,b & order=-created_at & include=contacts,orders.count

A name that is no parameter of the function is a condition: a path to a field, and an operator at its end, or none for
`eq`. `where.limit=5` is a condition on a field that is named like a parameter; `where={...}` is a filter in JSON. All conditions
must hold. What a name leads to, and whether a value fits there, is not decided here: the function's own checks tell of that, so
that a caller learns nothing of what it may not name.

The values of `in`, `not_in` and `between` stand between commas, or each in a parameter of its own. A comma that belongs to a text is
written as `%2C` in a query string (`Quoted`). Values that have no commas, such as numbers and choices, are parted at these too: many
clients encode every comma.
A text is taken apart by `str.split` and nothing cleverer, so that no text takes long.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from freehold.errors import Issue, RequestError, ValidationError
from freehold.functions.arguments import checked_json
from freehold.functions.query_values import check_plus
from freehold.model.description import EntityDescription
from freehold.model.filters import OPERATORS, Target, find_target
from freehold.model.kinds import Kind
from freehold.model.numbers import NUMBER
from freehold.model.permissions import EVERYTHING
from freehold.model.registry import Registry
from freehold.model.vocabulary import offered

__all__ = ["Quoted", "list_arguments", "read_arguments"]


class Quoted(str):
    """A text in which a comma was written as `%2C`, and so separates nothing.

    Args:
        text: all of it.
        parts: what stands between the commas that do separate.
    """

    __slots__ = ("parts",)

    parts: tuple[str, ...]

    def __new__(cls, text: str, parts: Sequence[str]) -> "Quoted":
        """Makes one."""
        made = super().__new__(cls, text)
        made.parts = tuple(parts)
        return made


LIST = ("where", "order", "limit", "after", "before", "include", "select", "search", "total", "deleted")
LISTS = ("order", "select", "group_by", "sum", "avg", "min", "max", "fields")
"""Parameters that are lists of names: what is given for them more than once is one list."""
SEVERAL = ("in", "not_in", "between")
MAXIMUM_CONDITIONS = 200
"""Conditions in one query string."""


def list_arguments(
    entity: EntityDescription,
    registry: Registry,
    texts: Mapping[str, Sequence[str]],
    *,
    parameters: Collection[str] = LIST,
) -> dict[str, Any]:
    """The arguments of `list`, or of another function with a filter.

    Args:
        entity: whose records are read.
        registry: the entities.
        texts: by name, all that were given for it, in order.
        parameters: the function's. Every other name is a condition.

    Raises:
        ValidationError: a text cannot be read, or a name is given too often; all of these at once.
    """
    reader = _Reader(entity, registry)
    for name, given in texts.items():
        if name in parameters:
            reader.parameter(name, given)
        else:
            reader.condition(name.removeprefix("where."), given, name)
    return reader.arguments()


def read_arguments(texts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The arguments of a function without a filter, such as `get`. Raises as `list_arguments` does."""
    reader = _Reader(None, None)
    for name, given in texts.items():
        reader.parameter(name, given)
    return reader.arguments()


class _Reader:
    """Collects arguments, and what is wrong with the texts for them."""

    def __init__(self, entity: EntityDescription | None, registry: Registry | None) -> None:
        self._entity = entity
        self._vocabulary = None if registry is None else offered(registry, EVERYTHING)
        self._made: dict[str, Any] = {}
        self._where: dict[str, Any] = {}
        self._json: Any = None
        self._conditions = 0
        self._issues: list[Issue] = []

    def arguments(self) -> dict[str, Any]:
        if self._issues:
            raise ValidationError(self._issues, subject="query")
        if self._json is not None:
            self._made["where"] = {"and": [self._json, self._where]} if self._where else self._json
        elif self._where:
            self._made["where"] = self._where
        return self._made

    def parameter(self, name: str, texts: Sequence[str]) -> None:
        try:
            if name == "where":
                self._json = _json(_single(texts))
            elif name == "include":
                self._made[name] = _includes(texts)
            else:
                self._made[name] = list(texts) if name in LISTS else _single(texts)
        except ValueError as error:
            self._issue(name, str(error))

    def condition(self, path: str, texts: Sequence[str], name: str) -> None:
        self._conditions += 1
        if self._conditions > MAXIMUM_CONDITIONS:
            if self._conditions == MAXIMUM_CONDITIONS + 1:
                self._issue(name, f"is one of more than {MAXIMUM_CONDITIONS} conditions; use fewer")
            return
        path, operator, target = self._split(path)
        whole = False
        if len(texts) > 1:
            several = {"eq": "in", "ne": "not_in"}.get(operator, operator)
            if several not in SEVERAL or (target is not None and target.kind.many):
                self._issue(name, "is given more than once; give it once, or write where={...}")
                return
            whole, operator = several != operator, several  # each text is one value where no operator said "several"
        try:
            value = _operands(texts, operator, target, whole=whole)
        except ValueError as error:
            self._issue(name, str(error))
            return
        given = self._where.setdefault(path, {})
        if operator in given:
            self._issue(name, f"says {operator} of {path} a second time; give it once")
            return
        given[operator] = value

    def _split(self, path: str) -> tuple[str, str, Target | None]:
        """The path to a field, the operator at its end, and what the path leads to, where that is known."""
        head, point, last = path.rpartition(".")
        target = self._target(path)
        if target is None and point and last in OPERATORS:
            return head, last, self._target(head)
        return path, "eq", target

    def _target(self, path: str) -> Target | None:
        if self._entity is None or self._vocabulary is None:
            return None
        try:
            return find_target(path, self._entity, self._vocabulary, ())
        except ValidationError:
            return None

    def _issue(self, name: str, message: str) -> None:
        if len(self._issues) < 50:
            self._issues.append(Issue((name,), message, "text"))


def _operands(texts: Sequence[str], operator: str, target: Target | None, *, whole: bool) -> Any:
    if len(texts) == 1:
        return _operand(texts[0], operator, target)
    return [_value(part, target) for text in texts for part in ([text] if whole else _parts(text, target))]


def _operand(text: str, operator: str, target: Target | None) -> Any:
    if operator == "is_null":
        return {"true": True, "false": False}.get(text.lower(), text)
    if operator in SEVERAL:
        return [_value(part, target) for part in _parts(text, target)] if text else []
    if target is not None and target.kind.many and operator in ("eq", "ne"):
        return [_value(part, target) for part in _parts(text, target)] if text else []
    return _value(text, target)


def _parts(text: str, target: Target | None) -> Sequence[str]:
    """What stands between commas."""
    if isinstance(text, Quoted) and _has_commas(target):
        return text.parts
    return text.split(",")


def _has_commas(target: Target | None) -> bool:
    """Whether a value of a field may have a comma in it."""
    if target is None:
        return True
    kind = target.kind
    if kind.choices:
        return any("," in str(choice) for choice in kind.choices)
    return kind.name in ("text", "json")


def _value(text: str, target: Target | None) -> Any:
    """A text as what the field's kind says, where a text would not be taken for it."""
    kind: Kind | None = None if target is None else target.kind
    if kind is not None and kind.name in ("datetime", "time"):
        check_plus(text)
    if kind is not None and kind.name == "duration":
        return _number(text, float)
    if kind is not None and kind.name == "integer" and kind.choices:
        return _number(text, int)
    return text


def _number(text: str, number: type[int] | type[float]) -> Any:
    try:
        return number(text) if len(text) <= 30 and NUMBER.fullmatch(text) else text
    except ValueError:
        return text


def _includes(texts: Sequence[str]) -> Any:
    """Relations: names with commas, `orders.count`, `lines.product`; or JSON."""
    if len(texts) == 1 and texts[0].lstrip()[:1] in ("{", "["):
        return _json(texts[0])
    found: dict[str, Any] = {}
    for path in [part.strip() for text in texts for part in text.split(",")]:
        *outer, last = path.split(".")
        if len(outer) > 8:
            raise ValueError("is nested too deeply")
        counted = bool(outer) and last == "count"
        if counted:
            *outer, last = outer
        here = found
        for step in outer:
            here = here.setdefault(step, {}).setdefault("include", {})
        if last in here and ("count" in here[last]) != counted:
            raise ValueError(f"brings {last[:50]!r} and counts it; a relation comes in one way")
        here.setdefault(last, {}).update({"count": True} if counted else {})
    return found


def _single(texts: Sequence[str]) -> str:
    if len(texts) != 1:
        raise ValueError("is given more than once; give it once")
    return texts[0]


def _json(text: str) -> Any:
    try:
        return checked_json(text.encode())
    except RequestError as error:
        raise ValueError(f"must be JSON: {error.message}") from None
    except UnicodeEncodeError:
        raise ValueError("must be text that UTF-8 can hold") from None
