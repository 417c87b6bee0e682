"""What is written in an entity's body: fields, references, counters, unique keys and indexes.

`field`, `reference` and `counter` return a `Declaration`, which the entity's metaclass takes out again; type checkers see the
field's own type.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as data_field
from typing import Any, Literal

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

__all__ = ["UNREAD", "Counting", "Declaration", "Index", "OnDelete", "Unique", "counter", "field", "reference"]

UNREAD: Any = object()
"""Stands for a private field that a read did not bring."""

OnDelete = Literal["restrict", "cascade", "set_null"]


@dataclass(frozen=True, slots=True)
class Counting:
    """What `counter(...)` said. See there for the meaning of each."""

    of: Any  # Any: an Entity class, which is declared in a higher module, or its name
    via: str | None = None
    where: Mapping[str, str | int | bool | None] = data_field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Declaration:
    """What `field(...)`, `reference(...)` or `counter(...)` said. See there for the meaning of each."""

    default: Any = PydanticUndefined
    default_factory: Callable[[], Any] | None = None
    bounds: Mapping[str, Any] = data_field(default_factory=dict)
    digits: int | None = None
    places: int | None = None
    index: bool = False
    unique: bool = False
    ignore_case: bool = False
    lowercase: bool = False
    check: str | None = None
    search: bool = False
    private: bool = False
    immutable: bool = False
    description: str | None = None
    target: Any = None  # Any: an Entity class, which is declared in a higher module, or its name
    on_delete: OnDelete = "restrict"
    reverse: str | None = None
    revisit: bool = False
    counting: Counting | None = None

    @property
    def required(self) -> bool:
        """Whether input must give the field."""
        return self.default is PydanticUndefined and self.default_factory is None

    def as_row_field(self) -> FieldInfo:
        """The field of the entity's own class: typed, with its default, without bounds (stored rows are read as they are)."""
        if self.private:
            return FieldInfo(default=UNREAD, exclude=True, description=self.description)
        if self.default_factory is not None:
            return FieldInfo(default_factory=self.default_factory, description=self.description)
        return FieldInfo(default=self.default, description=self.description)


def field(
    *,
    default: Any = PydanticUndefined,
    default_factory: Callable[[], Any] | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    pattern: str | None = None,
    ge: Any = None,
    gt: Any = None,
    le: Any = None,
    lt: Any = None,
    digits: int | None = None,
    places: int | None = None,
    index: bool = False,
    unique: bool = False,
    ignore_case: bool = False,
    lowercase: bool = False,
    check: str | None = None,
    search: bool = False,
    private: bool = False,
    immutable: bool = False,
    description: str | None = None,
) -> Any:
    """Declares a field of an entity.

    Args:
        default: the value where input gives none; without it (and without `default_factory`) the field is required.
        default_factory: makes the default anew for each record.
        min_length, max_length: bounds in characters (str), items (list) or bytes (bytes). Without `max_length` a str
            holds 100,000 characters, a list 1,000 items, bytes 1,000,000.
        pattern: a regular expression (Rust's syntax) that a str must match somewhere; anchor it with ^ and $.
        ge, gt, le, lt: bounds of a number, date, datetime, time or timedelta. They become a CHECK constraint too.
        digits, places: a Decimal's digits in all, and those after the point. A Decimal needs both.
        index: an index on (organization, field, id), which filters and orders use. For scalars; that of a Decimal is on a generated column.
        unique: no two records of an organization have the same value; deleted records do not count.
        ignore_case: with `unique`: values that differ only in case are the same, by Unicode's full case folding: `Straße` and `STRASSE`.
        lowercase: a str is kept in small letters, however it is given; bounds and pattern hold for the small letters.
        check: an SQL condition on the table's columns that each row must satisfy: `"quantity <> 0"`.
        search: `session.search` looks in this field (str or list[str]). An entity's first searchable field counts most, then
            the second and the third; the others count alike.
        private: left out of every answer unless the call asks for it, and of what `model_dump` makes of a record.
        immutable: given at creation, never changed.
        description: for people: shown in generated schemas.
    """
    bounds = {
        "min_length": min_length,
        "max_length": max_length,
        "pattern": pattern,
        "ge": ge,
        "gt": gt,
        "le": le,
        "lt": lt,
    }
    return Declaration(
        default=default,
        default_factory=default_factory,
        bounds={name: bound for name, bound in bounds.items() if bound is not None},
        digits=digits,
        places=places,
        index=index,
        unique=unique,
        ignore_case=ignore_case,
        lowercase=lowercase,
        check=check,
        search=search,
        private=private,
        immutable=immutable,
        description=description,
    )


def reference(
    target: Any,
    *,
    on_delete: OnDelete = "restrict",
    default: Any = PydanticUndefined,
    reverse: str | None = None,
    revisit: bool = False,
    unique: bool = False,
    private: bool = False,
    immutable: bool = False,
    description: str | None = None,
) -> Any:
    """Declares a reference to a record of the same organization: `customer_id: UUID = reference(Customer)`.

    The relation is named after the field without `_id` (`customer`); the other way round it is named `reverse`.
    References are always indexed.

    Args:
        target: the entity's class, or its name where it is declared later (`"self"` for the class itself).
        on_delete: what happens here when the other record goes: it may not (restrict), this goes too (cascade), or
            this forgets it (set_null; the field must be `UUID | None`).
        default: as in `field`; usually None for an optional reference.
        reverse: the relation's name on the other entity; by default this entity's table name.
        revisit: whether an include may go back over this reference, either way: `orders` of the `customer` of an order.
            Without it, a read brings no record a second time by the way that it came.
        unique: at most one record refers to each target.
        private, immutable, description: as in `field`.
    """
    return Declaration(
        default=default,
        index=True,
        unique=unique,
        private=private,
        immutable=immutable,
        description=description,
        target=target,
        on_delete=on_delete,
        reverse=reverse,
        revisit=revisit,
    )


def counter(
    of: Any,
    *,
    via: str | None = None,
    where: Mapping[str, str | int | bool | None] | None = None,
    index: bool = False,
    private: bool = False,
    description: str | None = None,
) -> Any:
    """Declares how many records of another entity refer to each record: `bookmarks: int = counter(of="Bookmark")`.

    The database keeps the number, in the transaction that changes those records. Deleted ones do not count. Nobody can set it;
    it can be read, filtered and sorted by. A change of it is logged and is no new version.

    Args:
        of: the entity that is counted, or its name where it is declared later (`"self"` for the class itself). It refers to this one.
        via: the field of its reference, where several lead here: `"resource_id"`.
        where: only records whose fields equal these values: `{"kind": "star"}`; None is null.
        index: an index on (organization, counter, id), for lists that are sorted by it.
        private, description: as in `field`.
    """
    return Declaration(
        default=0,
        index=index,
        private=private,
        description=description,
        counting=Counting(of, via, dict(where or {})),
    )


class _Key:
    """The fields of a composite key, and which rows it is about."""

    def __init__(self, *fields: str, where: Mapping[str, str | int | bool | None] | None = None) -> None:
        self.fields = fields
        self.where = dict(where or {})

    def __repr__(self) -> str:
        condition = f", where={self.where!r}" if self.where else ""
        return f"{type(self).__name__}({', '.join(map(repr, self.fields))}{condition})"


class Index(_Key):
    """A composite index: `Index("last_name", "first_name")`.

    Args:
        fields: in the order of the index; the organization comes first by itself.
        where: only rows whose fields equal these values: `{"archived": False}`; None is null.
    """


class Unique(_Key):
    """A composite unique key within the organization: `Unique("warehouse", "product_id")`. Deleted records do not count.

    Args:
        fields: which together occur once.
        where: only rows whose fields equal these values: `Unique("customer_id", where={"is_primary": True})`.
        ignore_case: the str fields whose values are the same when they differ only in case.
    """

    def __init__(
        self,
        *fields: str,
        where: Mapping[str, str | int | bool | None] | None = None,
        ignore_case: Sequence[str] = (),
    ) -> None:
        super().__init__(*fields, where=where)
        self.ignore_case = tuple(ignore_case)
