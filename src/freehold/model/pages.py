"""Orders, pages and cursors.

A page is continued from the values of its last (or first) row's order fields, never from a count of rows. The cursor
that carries them is signed, and bound to what was asked: organization, entity, order and filter.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Generic, Literal, TypeVar

from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode
from pydantic_core import from_json, to_json

from freehold.errors import CursorError, Issue, ValidationError
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.issues import shown
from freehold.model.registry import suggestion
from freehold.model.values import from_json_shape, stored
from freehold.model.vocabulary import Vocabulary

__all__ = [
    "MAXIMUM_CURSOR",
    "CursorSigner",
    "Include",
    "IncludeLike",
    "Order",
    "OrderBy",
    "Page",
    "Sort",
    "binding",
    "parse_limit",
    "parse_order",
]

RecordT = TypeVar("RecordT")

MAXIMUM_LIMIT = 1_000
"""Rows of one page."""
MAXIMUM_CURSOR = 70_000
"""Characters of a cursor."""
MAXIMUM_ORDERS = 8
"""Fields of one order."""
MAXIMUM_SORTED_TEXT = 1_000
"""Characters of a string to sort by: a cursor carries it."""


@dataclass(frozen=True, slots=True)
class Order:
    """A field to sort by, where `"name"` or `"-name"` does not say enough.

    Args:
        field: its name.
        descending: from high to low.
        nulls: where nulls stand; by default they count as the highest value, as in PostgreSQL.
    """

    field: str
    descending: bool = False
    nulls: Literal["first", "last"] | None = None


OrderBy = str | Order | Sequence[str | Order] | None
"""An order as callers write it."""


@dataclass(frozen=True, slots=True)
class Sort:
    """A parsed order: one column, its direction and where its nulls stand."""

    field: FieldDescription
    descending: bool
    nulls_first: bool


def parse_order(
    order_by: OrderBy, entity: EntityDescription, vocabulary: Vocabulary | None = None, *, subject: str = "order_by"
) -> tuple[Sort, ...]:
    """Reads an order; the id is added at the end, so that no two rows are equal in it.

    Args:
        order_by: as callers write it.
        entity: whose records are ordered.
        vocabulary: the fields that it may name; None is all.
        subject: what the argument is called, for errors.

    Raises:
        ValidationError: an unknown, unsortable, private or repeated field.
    """
    if order_by is None or isinstance(order_by, str):
        return _parse_words(() if order_by is None else (order_by,), entity, vocabulary, subject)
    if type(order_by) is list and len(order_by) <= MAXIMUM_ORDERS and all(type(item) is str for item in order_by):
        return _parse_words(tuple(order_by), entity, vocabulary, subject)
    items = [order_by] if isinstance(order_by, Order) else order_by
    return _parse_order(items, entity, vocabulary, subject)


@lru_cache(maxsize=4096)
def _parse_words(
    words: tuple[str, ...], entity: EntityDescription, vocabulary: Vocabulary | None, subject: str
) -> tuple[Sort, ...]:
    """The usual order, by names of fields: the same object each time, so that statements can be kept for it."""
    return _parse_order(words, entity, vocabulary, subject)


def _parse_order(
    items: Any, entity: EntityDescription, vocabulary: Vocabulary | None, subject: str
) -> tuple[Sort, ...]:
    fields = entity.fields if vocabulary is None else vocabulary.fields[entity.name]
    issues: list[Issue] = []
    sorts: dict[str, Sort] = {}
    if isinstance(items, Mapping) or not isinstance(items, Sequence):
        raise ValidationError.single(
            (), f"must be a list of field names, not {type(items).__name__}", "list_type", subject=subject
        )
    if len(items) > MAXIMUM_ORDERS:
        raise ValidationError.single((), f"names more than {MAXIMUM_ORDERS} fields", "too_long", subject=subject)
    for index, item in enumerate(items):
        if isinstance(item, str):
            item = Order(item.removeprefix("-"), item.startswith("-"))
        problem = _order_problem(item, entity, fields, sorts)
        if problem:
            issues.append(Issue((index,), *problem))
            continue
        nulls = item.nulls or ("first" if item.descending else "last")
        if "id" not in sorts:  # what comes after the id decides nothing
            sorts[item.field] = Sort(entity.fields[item.field], item.descending, nulls == "first")
    if issues:
        raise ValidationError(issues, subject=subject)
    if "id" not in sorts:
        last_descends = next(reversed(sorts.values())).descending if sorts else False
        sorts["id"] = Sort(entity.fields["id"], last_descends, last_descends)
    return tuple(sorts.values())


def _order_problem(
    item: Any, entity: EntityDescription, fields: Mapping[str, FieldDescription], sorts: Mapping[str, Sort]
) -> tuple[str, str] | None:
    if not isinstance(item, Order):
        return f"must be a field's name or an Order, not {type(item).__name__}", "order_type"
    if not isinstance(item.field, str):
        return f"must name a field, not {shown(item.field)}", "order_type"
    field = fields.get(item.field)
    if field is None:
        return (
            f"{shown(item.field)} is no field of {entity.name}{suggestion(item.field, _sortable(fields))}",
            "unknown_field",
        )
    if not field.kind.orderable:
        return f"{item.field} has no order; sort by a scalar field", "unsortable"
    longest = field.declaration.bounds.get("max_length", MAXIMUM_SORTED_TEXT + 1)
    if field.kind.name in ("text", "bytes") and not field.kind.choices and longest > MAXIMUM_SORTED_TEXT:
        return (
            f"{item.field} may be too long to sort by; declare it with max_length of at most {MAXIMUM_SORTED_TEXT}",
            "unsortable",
        )
    if field.private:
        return f"{item.field} is private; a page's cursor would carry it out", "private_field"
    if item.nulls not in (None, "first", "last"):
        return "nulls must be 'first' or 'last'", "nulls"
    if item.field in sorts:
        return f"{item.field} is named twice", "repeated_field"
    return None


def _sortable(fields: Mapping[str, FieldDescription]) -> list[str]:
    """What to suggest: an order often comes from a caller, who need not learn the names of private fields."""
    return [field.name for field in fields.values() if field.kind.orderable and not field.private]


def parse_limit(limit: Any, *, subject: str = "limit") -> int:
    """Checks a page's size: 1 to 1,000 rows."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAXIMUM_LIMIT:
        raise ValidationError.single(
            (), f"must be a whole number from 1 to {MAXIMUM_LIMIT}, not {shown(limit)}", "limit", subject=subject
        )
    return limit


@dataclass(frozen=True, slots=True)
class Include:
    """How a relation is included.

    Args:
        where: a filter on the related records.
        order_by: their order; by default by id.
        limit: how many at most for each record (references bring one).
        select: only these fields; by default all but the private ones.
        include: what is included in them in turn.
        count: bring their number instead, as `<relation>_count`.
    """

    where: Mapping[str, Any] | None = None  # Any: values of every kind
    order_by: OrderBy = None
    limit: int = 50
    select: Sequence[str] | None = None
    include: "Mapping[str, IncludeLike] | Sequence[str] | None" = None
    count: bool = False


IncludeLike = Include | Literal[True, "count"]
"""True is `Include()`, "count" is `Include(count=True)`."""


class CursorSigner:
    """Makes cursors opaque and proof against editing.

    Args:
        key: shared by all processes that serve the same lists.
    """

    def __init__(self, key: bytes) -> None:
        # Derived once: a page that goes on makes a cursor, and that must not be most of its work.
        derived = hmac.digest(key, b"freehold.cursor", "sha256")
        self._signer = Signer(derived, key_derivation="none", digest_method=hashlib.sha256)

    def sign(self, binding: str, values: Sequence[Any]) -> str:
        """The cursor's text."""
        return self._signed(to_json([binding, list(values)]))

    def _signed(self, payload: bytes) -> str:
        return self._signer.sign(base64_encode(payload)).decode()

    def read(self, text: Any, binding: str, sorts: Sequence[Sort], *, subject: str) -> tuple[Any, ...]:
        """The values of the order fields, as Python values.

        Raises:
            CursorError: it is no cursor, was edited, or belongs to another list.
        """
        return tuple(
            None if value is None else stored(from_json_shape(sort.field, value))
            for sort, value in zip(sorts, self.values(text, binding, subject=subject), strict=True)
        )

    def values(self, text: Any, binding: str, *, subject: str) -> list[Any]:
        """The values that were signed. Errors as in `read`."""
        if not isinstance(text, str) or len(text) > MAXIMUM_CURSOR:
            raise self._error(subject, "is no cursor of a page", "cursor_type")
        try:
            payload = base64_decode(self._signer.unsign(text))
            bound, values = from_json(payload)
            if self._signed(payload) != text:  # base64 has several spellings of one signature
                raise BadData("not the canonical text")
        except (BadData, ValueError, TypeError):
            raise self._error(subject, "is no cursor that was made here, or was edited", "cursor_signature") from None
        if bound != binding:
            raise self._error(
                subject,
                "belongs to another list: organization, entity, order and filter must be those of the page it came from",
                "cursor_binding",
            )
        return list(values)

    @staticmethod
    def _error(subject: str, message: str, code: str) -> CursorError:
        return CursorError(
            [Issue((), message, code)], subject=subject, hint="start again from the first page, without a cursor"
        )


def binding(
    organization: object, entity: EntityDescription, sorts: Sequence[Sort], where: Any, flags: object = None
) -> str:
    """The fingerprint of what a cursor belongs to."""
    order = [(sort.field.name, sort.descending, sort.nulls_first) for sort in sorts]
    asked = [organization, entity.name, order, _ordered(where), flags]
    text = to_json(asked, fallback=str, inf_nan_mode="constants", bytes_mode="hex")
    return hashlib.sha256(text).hexdigest()[:24]


def _ordered(value: Any) -> Any:
    """The same for equal values in every process: a set has no order of its own."""
    if isinstance(value, Mapping):
        return {str(key): _ordered(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(_ordered, value), key=repr)
    return [_ordered(item) for item in value] if isinstance(value, list | tuple) else value


class Page(Generic[RecordT]):
    """Some records of a list, in order.

    Args:
        records: parsed; empty where the page was asked `as_json`.
        json: the records as PostgreSQL wrote them, a JSON array; None unless asked.
        total: how many records match in all, where asked.
        ends: makes the JSON values of the order fields of the row read first and of the one read last.
        near: whether the page was continued from a cursor, so that there is a page on that side.
        far: whether there are more rows on the other side.
        backward: whether it was read backwards.
        signer, binding: for the cursors, which are made when they are asked for.
    """

    def __init__(
        self,
        records: Sequence[RecordT],
        *,
        json: bytes | None = None,
        total: int | None = None,
        ends: Callable[[], Sequence[Sequence[Any]]] = lambda: (),
        near: bool = False,
        far: bool = False,
        backward: bool = False,
        signer: CursorSigner | None = None,
        binding: str = "",
    ) -> None:
        self.records = tuple(records)
        self.json = json
        self.total = total
        self._ends = ends
        self._has = {"next": near, "previous": far} if backward else {"next": far, "previous": near}
        self._backward = backward
        self._signer = signer
        self._binding = binding

    def __iter__(self) -> Iterator[RecordT]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> RecordT:
        return self.records[index]

    def __repr__(self) -> str:
        return f"Page({len(self.records)} records, {self._has})"

    @cached_property
    def next(self) -> str | None:
        """The cursor to give as `after` for the next page; None on the last."""
        return self._cursor("next", first=self._backward)

    @cached_property
    def previous(self) -> str | None:
        """The cursor to give as `before` for the page before; None on the first."""
        return self._cursor("previous", first=not self._backward)

    def _cursor(self, side: str, *, first: bool) -> str | None:
        """The cursor of the row that was read first (nearest to where the page was continued from) or last."""
        if not self._has[side] or self._signer is None:
            return None
        return self._signer.sign(self._binding, self._ends()[0 if first else -1])
