"""Creating many records: one statement for each chunk, and what happens to duplicates."""

import contextlib
import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

import pydantic
from pydantic_core import to_json

from freehold.errors import Issue, UniqueError, ValidationError
from freehold.model.context import new_id
from freehold.model.description import EntityDescription
from freehold.model.entity import Input
from freehold.model.fields import Unique
from freehold.model.folding import folded
from freehold.model.issues import validation_error
from freehold.model.registry import Registry, suggestion
from freehold.model.values import MAXIMUM_PAYLOAD, to_sql_text
from freehold.sql.identifiers import Schemas
from freehold.sql.writes import Duplicates, insert_text
from freehold.store.chunks import Item
from freehold.store.delivery import Line, isolated, refused
from freehold.store.outcomes import Outcome, Report

__all__ = ["Creation", "OnDuplicate", "Payloads", "independent", "indexed", "named_key"]

OnDuplicate = Literal["error", "skip", "update"]
SUBJECT = "create_many"


class Payloads:
    """Values of records as JSON, as `jsonb_populate_record` reads them.

    Args:
        entity: whose records.
    """

    def __init__(self, entity: EntityDescription) -> None:
        self._entity = entity
        # What Pydantic writes differently from how PostgreSQL reads it.
        self._converted = [field.name for field in entity.given if field.kind.name in ("bytes", "duration", "json")]
        # Documents and floats that are no numbers are written in other ways by a model than by themselves.
        self._plain = not any(field.kind.name in ("bytes", "duration", "json", "float") for field in entity.given)
        self._serializer = entity.cls.Create.__pydantic_serializer__
        self._names = [field.name for field in entity.given]

    def created(self, id: UUID, checked: Input) -> bytes:
        """A new record's id and values.

        Raises:
            ValidationError: as `encode` does.
        """
        if not self._plain:
            return self.encode({"id": id, **{name: getattr(checked, name) for name in self._names}})
        try:
            text = self._serializer.to_json(checked, warnings=False)  # what was not validated may hold anything
        except ValueError:
            raise self._no_json() from None
        return self._bounded(b'{"id":"%b",%b' % (id.hex.encode(), text[1:]))

    def encode(self, values: dict[str, Any]) -> bytes:
        """The values of one record, which are changed on the way.

        Raises:
            ValidationError: they are no JSON, or larger than 16 MB.
        """
        for name in self._converted:
            if values.get(name) is not None:
                values[name] = to_sql_text(values[name])
        try:
            text = to_json(values)
        except ValueError:  # Pydantic's too; what was not validated may hold anything
            raise self._no_json() from None
        return self._bounded(text)

    def _no_json(self) -> ValidationError:
        return ValidationError.single(
            (), "holds what is no JSON, such as a lone surrogate", "json_value", subject=self._entity.name
        )

    def _bounded(self, text: bytes) -> bytes:
        if len(text) > MAXIMUM_PAYLOAD:
            raise ValidationError.single(
                (), f"is larger than {MAXIMUM_PAYLOAD} bytes in all; split it", "too_long", subject=self._entity.name
            )
        return text


def indexed(index: int | None, error: pydantic.ValidationError, subject: str) -> ValidationError:
    """What Pydantic found in an item, with the item's index in each path."""
    found = validation_error(error, subject)
    if index is None:
        return found
    return ValidationError(
        [Issue((index, *issue.path), issue.message, issue.code) for issue in found.issues], subject=subject
    )


def named_key(entity: EntityDescription, key: str | Sequence[str] | None) -> Unique:
    """The unique key that a call names by its field or fields; the entity's only one where it names none.

    Raises:
        ValidationError: there is no such key, or none was named and there are several.
    """
    usable = [each for each in entity.unique_keys.values() if not any(entity.fields[name].base for name in each.fields)]
    known = [each.fields[0] if len(each.fields) == 1 else str(each.fields) for each in usable]
    if key is None:
        if len(usable) == 1:
            return usable[0]
        told = f"name one of its unique keys: {', '.join(known)}" if usable else f"{entity.name} has no unique key"
        raise ValidationError.single(("key",), told, "missing_key", subject=SUBJECT)
    if not isinstance(key, str) and not (isinstance(key, Collection) and all(isinstance(name, str) for name in key)):
        raise ValidationError.single(("key",), "must be a field's name, or several", "key_type", subject=SUBJECT)
    names = {key} if isinstance(key, str) else set(key)
    found = [each for each in usable if set(each.fields) == names]
    if len(found) != 1:
        what = "is no unique key" if not found else "is more than one unique key"
        raise ValidationError.single(
            ("key",), f"{', '.join(sorted(names))!r} {what} of {entity.name}{suggestion(', '.join(sorted(names)), known)}",
            "unknown_key", subject=SUBJECT,
        )  # fmt: skip
    return found[0]


def independent(registry: Registry, entity: EntityDescription) -> bool:
    """Whether new records may be written by two transactions at once without one waiting for the other.

    They may not where they refer to each other, or are counted: then both write the same records, in any order.
    """
    targets = [registry.relations[entity.name][str(field.relation)].target for field in entity.references]
    return all(target is not entity for target in targets) and not registry.counters_of(entity)


@dataclass(frozen=True)
class Creation:
    """How the items of one call are created.

    Args:
        entity: of the records.
        schemas: the names of the schemas.
        line: sends the statements.
        payloads: encodes.
        action: what happens to duplicates.
        key: of what; None where they are errors.
    """

    entity: EntityDescription
    schemas: Schemas
    line: Line
    payloads: Payloads
    action: OnDuplicate = "error"
    key: Unique | None = None

    def prepare(self, index: int, raw: Any) -> Item:
        """Checks and encodes an item."""
        model = self.entity.cls.Create
        if isinstance(raw, model):
            checked = raw
        elif isinstance(raw, Mapping):
            try:
                checked = model.model_validate(raw if type(raw) is dict else dict(raw))
            except pydantic.ValidationError as error:
                raise indexed(index, error, self.entity.name) from None
        else:
            raise ValidationError.single(
                (index,), f"must be a {model.__name__} or a mapping, not {type(raw).__name__}", "input_type",
                subject=self.entity.name,
            )  # fmt: skip
        id = new_id()
        given = self._settable(checked.model_fields_set) if self.action == "update" else ()
        takes = _taken(checked, self._keys)
        return Item(index, id.bytes, self.payloads.created(id, checked), fields=given, takes=takes)

    @cached_property
    def _keys(self) -> Sequence[Unique]:
        return list(self.entity.unique_keys.values())

    def _settable(self, given: Collection[str]) -> tuple[str, ...]:
        """The given fields that an update sets: not the key's own, which are the same (but for their case)."""
        assert self.key is not None  # where the action is update
        same = {name for name in self.key.fields if name not in self.key.ignore_case}
        return tuple(field.name for field in self.entity.changeable if field.name in given and field.name not in same)

    async def send(self, items: Sequence[Item], report: Report) -> None:
        """Creates the records of a chunk."""
        await isolated(items, report, self._insert if self.key is None else self._upsert)

    async def _insert(self, items: Sequence[Item], report: Report) -> None:
        try:
            await self.line.send(insert_text(self.entity, self.schemas), _rows(items))
        except UniqueError:
            if len(items) == 1:
                raise
            await isolated(items, report, self._insert_others)
        else:
            report.created([(item.index, item.key) for item in items])

    async def _insert_others(self, items: Sequence[Item], report: Report) -> None:
        """All but duplicates. Of which key they are is clear where there is one; else each is sent alone, for its own error."""
        answer = await self.line.send(insert_text(self.entity, self.schemas, Duplicates(None, "skip")), _rows(items))
        missing = {id for id, *_ in answer}
        report.created([(item.index, item.key) for item in items if str(item.id) not in missing])
        keys = list(self.entity.unique_keys.items())
        for item in items:
            if str(item.id) not in missing:
                continue
            if len(keys) == 1:
                name, key = keys[0]
                report.add(refused(item, UniqueError(self.entity.name, key.fields, constraint=name)))
            else:
                await isolated([item], report, self._insert)

    async def _upsert(self, items: Sequence[Item], report: Report) -> None:
        given = {item.fields for item in items}
        union = {name for fields in given for name in fields}
        duplicates = Duplicates(
            self.key,
            "update" if self.action == "update" else "skip",
            tuple(field.name for field in self.entity.changeable if field.name in union),
            mixed=len(given) > 1,
        )
        statement = insert_text(self.entity, self.schemas, duplicates)
        answer = await self.line.send(statement, _rows(items, given=duplicates.mixed))
        told = {id: (action, other, version) for id, action, other, version in answer}
        later = []
        for item in items:
            action, other, version = told.get(str(item.id), ("created", str(item.id), 1))
            if action == "later":
                later.append(item)
            else:
                report.add(Outcome(item.index, action, None if other is None else UUID(other), version))
        if later:
            await isolated(later, report, self._upsert)


def _taken(checked: Input, keys: Sequence[Unique]) -> tuple[int, ...]:
    """What an input would have in unique keys, as a hash for each that is about it: nulls are equal to nothing.

    Chunks whose items have the same do not travel together. It is enough to be right nearly always: see `delivery`.
    """
    found = []
    for number, key in enumerate(keys):
        values = [_same(getattr(checked, name, None), name in key.ignore_case) for name in key.fields]
        if None not in values and _about(checked, key):
            with contextlib.suppress(TypeError):  # an input that was not validated may hold anything
                found.append(hash((number, *values)))
    return tuple(found)


def _same(value: Any, ignoring_case: bool) -> Any:
    return folded(value) if ignoring_case and isinstance(value, str) else value


def _about(checked: Input, key: Unique) -> bool:
    """Whether a partial key is about an input."""
    given = {name: getattr(checked, name, value) for name, value in key.where.items()}
    return {name: value.value if isinstance(value, enum.Enum) else value for name, value in given.items()} == key.where


def _rows(items: Sequence[Item], *, given: bool = False) -> bytes:
    """What an insert's statement reads as $1."""
    rows = b'{"rows":[%b]' % b",".join([item.text for item in items])
    return rows + (b',"given":%b}' % to_json({str(item.id): item.fields for item in items}) if given else b"}")
