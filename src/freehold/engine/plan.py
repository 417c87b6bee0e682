"""The statements that make the schema of a set of declarations."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from sqlalchemy import ForeignKeyConstraint
from sqlalchemy.dialects.postgresql.base import PGDialect, PGIdentifierPreparer
from sqlalchemy.schema import CreateIndex, CreateTable

from freehold.engine.blocks import Roles, blocks
from freehold.engine.folding import folding
from freehold.engine.functions import entity_objects
from freehold.engine.protection import noting
from freehold.engine.search import tokenizer
from freehold.engine.tables import build_tables
from freehold.model.registry import Registry
from freehold.sql.identifiers import Schemas, quoted

__all__ = ["DIALECT", "Plan", "plan"]


class _Quoting(PGIdentifierPreparer):
    """Quotes every name. SQLAlchemy quotes the words that it knows as reserved, and PostgreSQL reserves others too."""

    def _requires_quotes(self, value: str) -> bool:  # noqa: ARG002  # SQLAlchemy's
        return True


class _Dialect(PGDialect):
    preparer = _Quoting
    supports_statement_cache = True


DIALECT = _Dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # SQLAlchemy's constructor is not annotated
"""Compiles DDL. With its usual style of parameters it would double percent signs."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What makes the schema, in the order in which it has to be run.

    Args:
        registry: the declarations.
        schemas: the names of the schemas.
        roles: the names of the roles.
        rooms: other rooms' SQL, each as (package, file).
    """

    registry: Registry
    schemas: Schemas
    roles: Roles
    rooms: tuple[tuple[str, str], ...] = ()

    def under(self, schemas: Schemas) -> "Plan":
        """The same declarations under other names of schemas."""
        return replace(self, schemas=schemas)

    @cached_property
    def setup(self) -> list[str]:
        """Schemas, the engine's own objects and those of other rooms; repeatable. The first ones become the owner."""
        owner, application = quoted(self.roles.owner), quoted(self.roles.application)
        statements = [
            f"create schema if not exists {quoted(name)} authorization {owner}"
            for name in (self.schemas.engine, self.schemas.application)
        ]
        statements += [
            f"set local role {owner}",
            f"grant usage on schema {quoted(self.schemas.application)} to {application}",
        ]
        own = [("freehold.engine", name) for name in ("engine.sql", "units.sql", "bulk.sql")]
        for package, file in (*own, *self.rooms):
            statements += blocks(package, file, self.schemas, self.roles).values()
        statements += [
            *folding(self.schemas, application),
            tokenizer(self.schemas),
            *blocks("freehold.engine", "search.sql", self.schemas, self.roles).values(),
            *blocks("freehold.engine", "protection.sql", self.schemas, self.roles).values(),
        ]
        return [*statements, noting(statements, self.schemas)]

    @cached_property
    def tables(self) -> Mapping[str, list[str]]:
        """The statements that create each table and its indexes, by table."""
        made = {}
        for table in build_tables(self.registry, self.schemas).tables.values():
            create = str(CreateTable(table, include_foreign_key_constraints=[]).compile(dialect=DIALECT)).strip()
            indexes = sorted(table.indexes, key=lambda index: str(index.name))
            made[table.name] = [create, *(str(CreateIndex(index).compile(dialect=DIALECT)) for index in indexes)]
        return made

    @cached_property
    def references(self) -> Mapping[str, list[str]]:
        """The foreign keys of each table, added when all tables are there."""
        return {
            table.name: [
                f"alter table {self.schemas.table(table.name)} add " + _reference(constraint, self.schemas)
                for constraint in sorted(table.foreign_key_constraints, key=lambda constraint: str(constraint.name))
            ]
            for table in build_tables(self.registry, self.schemas).tables.values()
        }

    @cached_property
    def derived(self) -> list[str]:
        """Policies, triggers, functions and grants of the entities; repeatable."""
        return [
            text
            for entity in self.registry.entities.values()
            for text in entity_objects(entity, self.schemas, self.roles, self.registry)
        ]

    @cached_property
    def columns(self) -> list[tuple[str, str]]:
        """The columns that the code reads and writes, each with its table."""
        return [(entity.table, name) for entity in self.registry.entities.values() for name in entity.fields]

    @cached_property
    def digest(self) -> str:
        """Changes when anything in the plan does."""
        return hashlib.sha256("\n".join(self.statements()).encode()).hexdigest()

    def statements(self) -> list[str]:
        """All of them, in order, for an empty database."""
        tables = [statement for statements in self.tables.values() for statement in statements]
        references = [statement for statements in self.references.values() for statement in statements]
        return [*self.setup, *tables, *references, *self.derived]


def plan(registry: Registry, schemas: Schemas, roles: Roles, rooms: Sequence[tuple[str, str]] = ()) -> Plan:
    """Plans the schema.

    Args:
        registry: the declarations.
        schemas: the names of the schemas.
        roles: the names of the roles.
        rooms: other rooms' SQL, each as (package, file).
    """
    return Plan(registry, schemas, roles, tuple(rooms))


def _reference(constraint: ForeignKeyConstraint, schemas: Schemas) -> str:
    columns = ", ".join(quoted(name) for name in constraint.column_keys)
    target = constraint.elements[0].target_fullname.split(".")[1]
    return (
        f"constraint {quoted(str(constraint.name))} foreign key ({columns}) references {schemas.table(target)} "
        f"(organization_id, id) on delete {constraint.ondelete}"
    )
