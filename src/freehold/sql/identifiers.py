"""The one place where identifiers and literals are quoted."""

import re
from dataclasses import dataclass

from freehold.errors import ConfigurationError
from freehold.model.description import EntityDescription

__all__ = ["Schemas", "literal", "quoted"]


def quoted(name: str) -> str:
    """An identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | int | bool | None) -> str:
    """A constant of a declaration, for DDL. Values of calls are never written into SQL: they are bound."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("'", "''")
    return f" E'{escaped.replace(chr(92), chr(92) * 2)}'" if "\\" in escaped else f"'{escaped}'"


@dataclass(frozen=True)
class Schemas:
    """The names of the two schemas, so that several applications can share a database.

    Args:
        engine: Freehold's own: the log, the context functions, organizations. Also the prefix of the settings.
        application: the entities' tables.
    """

    engine: str = "freehold"
    application: str = "app"

    def __post_init__(self) -> None:
        for name in (self.engine, self.application):
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name) or name.startswith("pg_"):
                raise ConfigurationError(
                    f"the schema's name {name!r} must be snake case of at most 31 characters, not starting with pg_"
                )
        if self.engine == self.application:
            raise ConfigurationError("the engine's schema and the application's schema must differ")

    def table(self, name: str) -> str:
        """A table of the application, with its schema."""
        return f"{quoted(self.application)}.{quoted(name)}"

    def rows(self, entity: EntityDescription) -> str:
        """What the rows of an entity are read from, for a FROM clause in which `e` is the entered context."""
        return self.table(entity.table)

    def changes(self, entity: EntityDescription) -> str:
        """The condition that a row `l` of the log is a change of the entity, whatever its class was called then."""
        known = f"from {self.own('names_of')}({literal(entity.name)}) as k"
        names = f"(select array_agg(k.alias order by k.alias) {known})::text[]"
        # A name that other classes have had too counts where it was this one's: null is everywhere.
        span = f"((select array_agg(k.span order by k.alias) {known})::int8multirange[])[array_position({names}, l.entity)]"
        return (
            f"l.organization_id = e.organization_id and l.kind = 'change' and l.entity = any ({names}) "
            f"and coalesce(l.position <@ {span}, true)"
        )

    def shaped(self, entity: EntityDescription) -> str:
        """The position of the log from which on the entity's rows have the names and types that hold now."""
        return f"(select {self.own('shaped_at')}({self.relation(entity)}))"

    def relation(self, entity: EntityDescription) -> str:
        """An entity's table, as an argument of a function."""
        return f"{literal(self.table(entity.table))}::regclass"

    @property
    def entry(self) -> str:
        """Enters the context that $1 and $2 tell, as `e`."""
        return f"{self.own('enter')}($1::uuid, $2::text) as e (organization_id)"

    def own(self, name: str) -> str:
        """A table or function of the engine, with its schema."""
        return f"{quoted(self.engine)}.{quoted(name)}"
