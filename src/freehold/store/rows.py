"""Rows of columns as entities.

What comes from an entity's own table is typed by its columns, so there is nothing to validate. Only what the driver
does not make by itself is converted: members of enums, and JSON documents.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter

from freehold.errors import ValidationError
from freehold.model.description import FieldDescription
from freehold.model.entity import Entity
from freehold.model.shapes import Shape
from freehold.store.slices import in_slices

__all__ = ["RowReader"]

EntityT = TypeVar("EntityT", bound=Entity)

_set = object.__setattr__


class RowReader:
    """Makes entities from rows that have the columns of a shape, in order.

    Args:
        shape: a plain one: an entity's fields, without relations.
    """

    def __init__(self, shape: Shape) -> None:
        cls = shape.entity.cls
        self._names = tuple(field.name for field in shape.fields)
        self._converters = [
            (field.name, converter) for field in shape.fields if (converter := _converter(field)) is not None
        ]
        # What the class has and the table has not (deleted_at where deletion is for good) has its default.
        self._absent = {
            name: info.default for name, info in cls.model_fields.items() if name not in shape.entity.fields
        }
        # What the table had not yet at the moment that is read about is null.
        self._absent |= {field.name: None for field in shape.entity.public if field not in shape.fields}
        self._documents = [place for place, field in enumerate(shape.fields) if field.kind.name == "json"]
        self._hook = cls.__pydantic_post_init__ is not None
        self._given = set(self._names)

    def read(self, cls: type[EntityT], rows: Sequence[Sequence[Any]]) -> list[EntityT]:
        """An entity of each row."""
        if rows and len(rows[0]) != len(self._names):
            raise ValueError(f"{len(rows[0])} columns are not those of {len(self._names)} fields")
        names, converters, made = self._names, self._converters, self.made
        records = []
        for row in rows:
            values = dict(zip(names, row, strict=False))
            if converters:
                self._convert(cls, values)
            records.append(made(cls, values))
        return records

    async def read_all(self, cls: type[EntityT], rows: Sequence[Sequence[Any]]) -> list[EntityT]:
        """The same; where there is much JSON to parse in them, other tasks have their turn between."""
        if not self._documents:
            return self.read(cls, rows)
        records: list[EntityT] = []
        async for part in in_slices(rows, self._weight):
            records += self.read(cls, part)
        return records

    def _weight(self, row: Sequence[Any]) -> int:
        return sum(len(row[place] or ()) for place in self._documents)

    def _convert(self, cls: type[EntityT], values: dict[str, Any]) -> None:
        for name, convert in self._converters:
            value = values[name]
            if value is not None:
                try:
                    values[name] = convert(value)
                except (KeyError, ValueError):  # also Pydantic's, which would quote the value
                    raise ValidationError.single(
                        (name,),
                        "holds a value that its declaration does not allow any more",
                        "stored_value",
                        subject=cls.__name__,
                    ) from None

    def made(self, cls: type[EntityT], values: dict[str, Any]) -> EntityT:
        """An entity of a row's values: what `model_construct` makes, without its search for aliases and defaults.

        All that are made here share the set of given fields. Pydantic copies it where it makes another model of one.
        """
        if self._absent:
            values.update(self._absent)
        record = cls.__new__(cls)
        _set(record, "__dict__", values)
        _set(record, "__pydantic_fields_set__", self._given)
        _set(record, "__pydantic_extra__", None)
        _set(record, "__pydantic_private__", None)
        if self._hook:
            record.model_post_init(None)
        return record


def _converter(field: FieldDescription) -> Callable[[Any], Any] | None:
    kind = field.kind
    if kind.name == "json":
        # The declared type without the bounds of input: what is stored is read as it is.
        adapter: TypeAdapter[Any] = TypeAdapter(field.annotation)
        return adapter.validator.validate_json
    if isinstance(kind.python, type) and issubclass(kind.python, enum.Enum):
        members = {member.value: member for member in kind.python}
        if kind.many:
            return lambda values: [members[value] for value in values]
        return members.__getitem__
    return None
