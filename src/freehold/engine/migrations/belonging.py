"""Tells what declarations make from what somebody made beside them, which is left alone.

Two things are somebody's own: what a revision made by SQL that a person wrote, and what no declaration could have made (an
exclusion constraint, an index on an expression, a generated column). Everything else that is declared no more goes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from freehold.engine.migrations.structure import Column, Constraint, Index, Structure, TableStructure
from freehold.engine.migrations.writing import type_text

__all__ = ["belonging"]

T = TypeVar("T")


def belonging(
    before: Structure, after: Structure, own: frozenset[str] = frozenset(), *, formed: bool = True
) -> Structure:
    """Some tables without what is somebody's own.

    Args:
        before: the tables.
        after: those that are declared: what is in both belongs to the declarations.
        own: the names of what SQL that a person wrote made.
        formed: whether to tell by the form too; after a rename, what is in a table is named after the old one.
    """
    kept = {}
    for name, table in before.items():
        declared = after.get(name)
        if declared is not None or (name not in own and (not formed or _entity(table))):
            kept[name] = _belonging(table, declared or TableStructure(name), own, formed)
    return kept


def _belonging(table: TableStructure, declared: TableStructure, own: frozenset[str], formed: bool) -> TableStructure:
    def kept(each: Mapping[str, T], there: Mapping[str, T], made: Callable[[T], bool]) -> dict[str, T]:
        return {
            name: value
            for name, value in each.items()
            if name in there or (f"{table.name}.{name}" not in own and (not formed or made(value)))
        }

    return replace(
        table,
        columns=kept(table.columns, declared.columns, _column),
        constraints=kept(table.constraints, declared.constraints, lambda each: _constraint(table.name, each)),
        indexes=kept(table.indexes, declared.indexes, lambda each: _index(table.name, each)),
    )


def _entity(table: TableStructure) -> bool:
    """Whether a table has the key of an entity's."""
    return any(each.kind == "p" and each.columns == ("organization_id", "id") for each in table.constraints.values())


def _column(column: Column) -> bool:
    try:
        type_text(column)
    except ValueError:
        return False
    return column.generated is None or re.fullmatch(r"_\w+_key", column.name) is not None


def _constraint(table: str, constraint: Constraint) -> bool:
    return constraint.kind == "p" or (constraint.kind in ("c", "f") and constraint.name.startswith(table[:40]))


def _index(table: str, index: Index) -> bool:
    """Under the names that declarations give; on columns, or on a text in one case."""
    named = index.name.startswith(table[:40]) and index.name.endswith(("_idx", "_key"))
    plain = all(re.fullmatch(r'\w+|"[^"]+"|\(?(lower|\{engine\}\.\w+)\(.*', key) for key in index.keys)
    return named and plain and index.method == "btree" and index.keys[:1] == ("organization_id",)
