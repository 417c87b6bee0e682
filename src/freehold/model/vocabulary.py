"""What of the declarations a read may name: fields and relations, by entity.

Code names all of them: its vocabulary is the registry. A caller from outside has a smaller one: no private field, and only
the relations to entities that it may read. What is not in a vocabulary is refused as what is not declared at all, so that
nobody learns from a refusal what there is.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.permissions import permits
from freehold.model.registry import Registry, Relation

__all__ = ["Offered", "Vocabulary", "offered", "readable"]


class Vocabulary(Protocol):
    """Fields and relations by the entity's name, and then by their own."""

    @property
    def fields(self) -> Mapping[str, Mapping[str, FieldDescription]]: ...  # noqa: D102
    @property
    def relations(self) -> Mapping[str, Mapping[str, Relation]]: ...  # noqa: D102
    def __hash__(self) -> int: ...


class Offered:
    """What a caller from outside may name.

    Args:
        registry: the entities.
        permissions: what the caller was granted.
    """

    def __init__(self, registry: Registry, permissions: frozenset[str]) -> None:
        self.fields: Mapping[str, Mapping[str, FieldDescription]] = {
            entity.name: {field.name: field for field in entity.public} for entity in registry.entities.values()
        }
        self.relations: Mapping[str, Mapping[str, Relation]] = {
            name: {
                relation.name: relation
                for relation in relations.values()
                if readable(relation.target, permissions) and not relation.field.private
            }
            for name, relations in registry.relations.items()
        }


@lru_cache(maxsize=1024)
def offered(registry: Registry, permissions: frozenset[str]) -> Offered:
    """What a caller with these permissions may name; the same object each time, so that what was parsed can be kept for it."""
    return Offered(registry, permissions)


def readable(entity: EntityDescription, permissions: frozenset[str]) -> bool:
    """Whether a caller may read records of an entity: it exposes `list` or `get`, and the caller has what that needs."""
    return any(
        needed is None or permits(permissions, needed)
        for action, needed in entity.exposed.items()
        if action in ("list", "get")
    )
