"""Which column of a file becomes which field of an entity."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from freehold.errors import FileError, Issue, ValidationError
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.registry import suggestion
from freehold.model.vocabulary import Vocabulary
from freehold.transfer.cells import ABSENT, CellError, Converter, from_json, from_text
from freehold.transfer.formats import Format
from freehold.transfer.rows import MAXIMUM_COLUMNS, Row

__all__ = ["Column", "Mapped", "Mapper", "Reference"]


@dataclass(frozen=True, eq=False)
class Reference:
    """A reference that is told by a unique field of the record it leads to.

    Args:
        field: the reference.
        target: the entity it leads to.
        by: the unique field.
    """

    field: FieldDescription
    target: EntityDescription
    by: FieldDescription


@dataclass(frozen=True, eq=False)
class Column:
    """A column and what becomes of it.

    Args:
        name: in the file.
        field: that it fills.
        convert: its values.
        reference: where they tell a record to look up.
    """

    name: str
    field: FieldDescription
    convert: Converter
    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class Mapped:
    """A row as input for an entity.

    Args:
        row: as it was read.
        values: by field.
        wanted: what is to be looked up, by the reference's column.
        issues: what is wrong with it so far.
    """

    row: Row
    values: dict[str, object]
    wanted: dict[Column, object]
    issues: list[Issue]


class Mapper:
    """Maps rows to the fields of an entity.

    A column that is not in the mapping goes to the field of its name. Columns of what Freehold keeps itself (id, version, ...) are left
    out; any other column that is no field is refused.

    Args:
        entity: what the rows become.
        vocabulary: the fields and relations that may be named.
        form: of the file.
        mapping: from columns to fields; `relation.field` is looked up by that unique field, and nothing leaves a column out.
        constants: the values of fields that are the same in all rows; a str is read as a cell of CSV.

    Raises:
        ValidationError: the mapping names what is not there.
    """

    def __init__(
        self,
        entity: EntityDescription,
        vocabulary: Vocabulary,
        form: Format,
        mapping: Mapping[str, str],
        constants: Mapping[str, object] | None = None,
    ) -> None:
        self._entity, self._vocabulary, self._form = entity, vocabulary, form
        self._known = vocabulary.fields[entity.name]
        self._mapping, self._constants = dict(mapping), dict(constants or {})
        self._columns: dict[str, Column | Issue | None] = {}
        self._unknown = 0
        self.fields = tuple(name for name in entity.cls.Create.model_fields if name in self._known)
        issues = [found for name in self._mapping if isinstance(found := self._column(name), Issue)]
        for name, value in self._constants.items():
            if name not in self.fields:
                issues.append(
                    Issue(
                        (name,),
                        f"is no field of {entity.name}{suggestion(name, self.fields, told=len(issues))}",
                        "unknown_field",
                    )
                )
            elif isinstance(value, str):
                issues += self._constant(name, value)
        issues += self._repeated()
        if issues:
            raise ValidationError(issues, subject="mapping")

    @property
    def known(self) -> tuple[Column, ...]:
        """The columns that were seen and fill a field."""
        return tuple(column for column in self._columns.values() if isinstance(column, Column))

    @property
    def left_out(self) -> tuple[str, ...]:
        """The columns that were seen and fill nothing."""
        return tuple(name[:LONGEST_NAME] for name, column in self._columns.items() if column is None)

    def check(self, columns: Iterable[str], name: str, key: Sequence[str] = ()) -> None:
        """Checks a file's header: that each column has a field, and each field that is required or in the key a column.

        Raises:
            FileError: a column that is mapped is not there.
            ValidationError: a column is no field, or a field that is required has no column.
        """
        columns = [column for column in columns if column]
        there = set(columns)
        for column in self._mapping:
            if column not in there:
                hint = f"its columns are {', '.join(columns)}"[:500]
                raise FileError(name, f"has no column {column!r:.80}{suggestion(column, columns)}", hint=hint)
        issues = [found for column in columns if isinstance(found := self._column(column), Issue)]
        issues += self._repeated()
        filled = {column.field.name for column in self.known} | self._constants.keys()
        for field in self._entity.given:
            if field.name in self.fields and field.declaration.required and field.name not in filled:
                issues.append(Issue((field.name,), "is required, and no column fills it", "missing"))
            elif field.name in key and field.name not in filled:
                issues.append(Issue((field.name,), "is in the key, and no column fills it", "missing"))
        if issues:
            hint = f"map columns to fields of {self._entity.name}: {', '.join(self.fields)}; or leave a column out by mapping it to nothing"
            raise ValidationError(issues, subject=f"the header of {name}", hint=hint)

    def map(self, row: Row) -> Mapped:
        """A row's values by field."""
        if row.problem is not None:
            return Mapped(row, {}, {}, [row.problem])
        mapped = Mapped(row, dict(self._constants), {}, [])
        for name, value in row.values.items():
            column = self._columns[name] if name in self._columns else self._column(name)
            if isinstance(column, Column):
                _fill(mapped, column, value)
            elif column is not None and len(mapped.issues) < MOST_ISSUES:
                mapped.issues.append(column)
        return mapped

    def _constant(self, name: str, value: str) -> list[Issue]:
        field = self._entity.fields[name]
        try:
            self._constants[name] = from_text(field, self._form, nullable=field.nullable)(value)
        except CellError as error:
            return [Issue((name,), error.message, error.code)]
        return []

    def _repeated(self) -> list[Issue]:
        """Fields that several columns fill."""
        issues = []
        filled = dict.fromkeys(self._constants, "a constant")
        for column in self.known:
            other = filled.setdefault(column.field.name, column.name)
            if other != column.name:
                message = (
                    f"fills {column.field.name}, as {other!r:.80} does; map one of them to another field, or to nothing"
                )
                issues.append(Issue((column.name,), message, "repeated_field"))
        return issues

    def _column(self, name: str) -> Column | Issue | None:
        if len(self._columns) > MAXIMUM_COLUMNS:
            return Issue((name,), f"is one of more than {MAXIMUM_COLUMNS:,} different columns", "too_many_columns")
        self._columns[name] = found = self._found(name, self._mapping.get(name, name))
        return found

    def _found(self, name: str, target: str) -> Column | Issue | None:
        """What becomes of a column: a field, nothing, or what is wrong with it."""
        convert = from_text if self._form.name == "csv" else from_json
        field = self._known.get(target)
        if field is not None and target in self.fields:
            return Column(name, field, convert(field, self._form, nullable=field.nullable))
        mapped = name in self._mapping
        if not target or (field is not None and not mapped):
            return None
        if field is not None:
            return Issue((name,), f"{target} is kept by Freehold; it cannot be imported", "kept_field")
        reference = self._reference(target)
        if isinstance(reference, Reference):
            nullable = reference.field.nullable
            return Column(name, reference.field, convert(reference.by, self._form, nullable=nullable), reference)
        return Issue((name,), reference, "unknown_field")

    def _reference(self, target: str) -> Reference | str:
        """The reference and the unique field that `relation.field` names, or what is wrong with it."""
        name, point, by = target.partition(".")
        relation = self._vocabulary.relations[self._entity.name].get(name) if point else None
        if relation is None or relation.many:
            self._unknown += 1
            told = suggestion(target, self.fields, told=self._unknown - 1)
            return f"{target!r:.80} is no field of {self._entity.name}{told}"
        unique = [
            key.fields[0]
            for key in relation.target.unique_keys.values()
            if len(key.fields) == 1 and not key.where and key.fields[0] in self._vocabulary.fields[relation.target.name]
        ]
        if by not in unique:
            known = suggestion(by, unique) if unique else "; it has none"
            return f"{by!r:.80} is no unique field of {relation.target.name}{known}"
        return Reference(relation.field, relation.target, relation.target.fields[by])


LONGEST_NAME = 200
"""Characters of a column's name that are told."""
MOST_ISSUES = 20
"""Columns that are wrong and are told of one row, or of the header."""


def _fill(mapped: Mapped, column: Column, value: object) -> None:
    try:
        converted = column.convert(value)
    except CellError as error:
        if len(mapped.issues) < MOST_ISSUES:
            mapped.issues.append(Issue((column.field.name,), error.message, error.code))
        mapped.values[column.field.name] = value
        return
    if converted is ABSENT:
        return
    if column.reference is None or converted is None:
        mapped.values[column.field.name] = converted
    else:
        mapped.wanted[column] = converted
