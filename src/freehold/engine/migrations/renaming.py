"""Tells a renamed table or column from one that goes and another that comes."""

from collections.abc import Callable, Iterator, Sequence

from freehold.engine.migrations.structure import Structure, TableStructure
from freehold.engine.migrations.writing import Rename
from freehold.errors import MigrationError

__all__ = ["Ask", "column_renames", "table_renames"]

Ask = Callable[[str], bool] | None
"""Asks a person, and answers whether they said yes; None where nobody can be asked."""


class _Choices:
    """The pairs that a command line named, and who to ask about the others."""

    def __init__(self, named: Sequence[tuple[str, str]], never: bool, ask: Ask) -> None:
        self.named, self.never, self.ask = dict(named), never, ask

    def choose(self, what: str, old: str, candidates: Sequence[str]) -> str | None:
        """The new name of something that seems to be gone; None where it is really gone."""
        if old in self.named:
            if self.named[old] not in candidates:
                raise MigrationError(
                    f"--rename {old}={self.named[old]}: {self.named[old]} is no new {what} of the same type",
                    hint=f"possible are {', '.join(candidates)}" if candidates else "it can only be dropped and added",
                )
            return self.named[old]
        if self.never or not candidates:
            return None
        if self.ask is None:
            options = " or ".join(f"--rename {old}={new}" for new in candidates)
            raise MigrationError(
                f"the {what} {old} goes, and {', '.join(candidates)} of the same type comes: it may have been renamed",
                hint=f"say which: {options}, or --no-rename to drop it with its values",
            )
        for new in candidates:
            if self.ask(f"Was the {what} {old} renamed to {new}? If not, it is dropped with its values."):
                return new
        return None


def table_renames(
    before: Structure, after: Structure, named: Sequence[tuple[str, str]], *, never: bool, ask: Ask
) -> list[Rename]:
    """The tables that have another name now: those of the same columns, or that the command line names."""
    choices = _Choices(named, never, ask)
    new = [name for name in after if name not in before]
    found = []
    for old in [name for name in before if name not in after]:
        kinds = {column.name: column.kind for column in before[old].columns.values()}
        alike = [
            name
            for name in new
            if (old, name) in named or {c.name: c.kind for c in after[name].columns.values()} == kinds
        ]
        chosen = choices.choose("table", old, alike)
        if chosen is not None:
            new.remove(chosen)
            found.append(Rename(chosen, old, chosen, column=False))
    return found


def column_renames(
    before: Structure, after: Structure, named: Sequence[tuple[str, str]], *, never: bool, ask: Ask
) -> list[Rename]:
    """The columns that have another name now. On the command line they are `table.old=new`, or `table.old=table.new`."""
    pairs = [(old, f"{old.rpartition('.')[0]}.{new.rpartition('.')[2]}") for old, new in named]
    choices = _Choices(pairs, never, ask)
    found = []
    for table in sorted(before.keys() & after.keys()):
        old, new = before[table].columns, after[table].columns
        coming = [name for name in new if name not in old and new[name].generated is None]
        for name in [name for name in old if name not in new and old[name].generated is None]:
            alike = [f"{table}.{each}" for each in coming if new[each].kind == old[name].kind]
            chosen = choices.choose("column", f"{table}.{name}", alike)
            if chosen is not None:
                column = chosen.rpartition(".")[2]
                coming.remove(column)
                found.append(Rename(table, name, column))
                found.extend(_renamed_key(table, name, column, before[table], after[table]))
    return found


def _renamed_key(table: str, old: str, new: str, before: TableStructure, after: TableStructure) -> Iterator[Rename]:
    """The column that stands in for a Decimal in indexes has its name."""
    names = f"_{old}_key", f"_{new}_key"
    if names[0] in before.columns and names[1] in after.columns:
        yield Rename(table, *names)
