"""Records for tests, made from the declarations of their entities.

What is made is valid by construction: every kind of field, every bound, unique where it must be, with the records that
it must refer to. What only an SQL check demands is the caller's to give.
"""

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any, TypeVar
from uuid import UUID

from freehold.doctor.samples import NoValueError, value
from freehold.errors import ConfigurationError, UniqueError, ValidationError
from freehold.model.context import new_id
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.entity import Entity, Input
from freehold.model.fields import Unique
from freehold.model.issues import validation_error
from freehold.model.registry import suggestion
from freehold.store.session import Session

__all__ = ["Factory"]

EntityT = TypeVar("EntityT", bound=Entity)

_ATTEMPTS = 1_000
"""Numbers that are tried for one that is not taken yet."""
_PER_SEED = 1_000
"""Numbers between the first of one seed and the first of the next."""


class Factory:
    """Makes records in the organization of a session.

        factory = Factory(session)
        order = await factory.create(Order, total=5)            # with the customer that it needs
        other = await factory.create(Order, customer=acme)      # of a customer that is there

    The records of an entity are numbered, and so are their values: the third has the name `name 3`. Two runs make the same.

    Args:
        session: whose organization they are made in; None where only `build` is used.
        seed: another seed, other values.
        full: whether optional fields get a value too; else they get their defaults.
    """

    def __init__(self, session: Session | None = None, *, seed: int = 0, full: bool = False) -> None:
        self._session = session
        self._full = full
        self._first = seed * _PER_SEED + 1
        self._numbers: dict[str, count[int]] = {}
        self._taken: dict[str, set[tuple[Any, ...]]] = {}
        self._defined: dict[str, dict[str, Any]] = {}

    def define(self, entity: type[Entity], /, **values: Any) -> None:
        """Says what records of an entity get instead of what the factory would choose.

            factory.define(Order, number=lambda number: f"A-{number:04}", currency="EUR")

        Args:
            entity: their class.
            values: by field or relation; a function is called with the record's number.

        Raises:
            ConfigurationError: the entity has no such field.
        """
        description = entity.__entity__
        _check_names(description, values)
        self._defined.setdefault(description.name, {}).update(values)

    def build(self, entity: type[EntityT], /, **values: Any) -> Input:
        """The input of a record, without a database: `session.create(Order, factory.build(Order))`.

        A required reference that is not given gets an id that no record has.

        Args:
            entity: its class.
            values: by field, or by relation a record; they go before what the factory chooses.

        Raises:
            ConfigurationError: a value cannot be made, and must be given.
            ValidationError: a given value is not valid.
        """
        description = entity.__entity__
        given = self._given(description, values)
        for field in self._wanted_references(description, given):
            given[field.name] = new_id()
        return self._input(description, given, self._next(description))

    async def create(self, entity: type[EntityT], /, **values: Any) -> EntityT:
        """A record in the database, with the records that it must refer to.

        Args:
            entity: its class.
            values: by field, or by relation a record; they go before what the factory chooses.

        Raises:
            ConfigurationError: a value cannot be made, and must be given; or entities need each other.
            ValidationError: a given value is not valid, or the record breaks a check.
            UniqueError: a given value is taken.
        """
        return await self._create(entity, values, ())

    async def create_many(self, entity: type[EntityT], number: int, /, **values: Any) -> list[EntityT]:
        """So many records, each as from `create`.

        Args:
            entity: their class.
            number: how many.
            values: what they have in common.
        """
        return [await self.create(entity, **values) for _ in range(number)]

    async def _create(self, entity: type[EntityT], values: Mapping[str, Any], above: tuple[str, ...]) -> EntityT:
        description = entity.__entity__
        session = self._made_in(description)
        given = self._given(description, values)
        for field in self._wanted_references(description, given, above):
            target = self._target(description, field)
            given[field.name] = (await self._create(target.cls, {}, (*above, description.name))).id
        for _ in range(_ATTEMPTS):
            made = self._input(description, given, self._next(description))
            try:
                return await session.create(entity, made)
            except UniqueError as error:
                # Taken by a record that the factory did not make: the next number, if the value is the factory's.
                if all(name in given for name in error.fields):
                    raise
            except ValidationError as error:
                if any(issue.code == "check" for issue in error.issues) and error.hint is None:
                    error.hint = (
                        f"the factory does not read checks: give values that satisfy it, "
                        f"or say them once with factory.define({description.name}, ...) or class {description.name}(Entity, samples=...)"
                    )
                raise
        raise _exhausted(description, "its unique keys")

    def _next(self, entity: EntityDescription) -> int:
        return next(self._numbers.setdefault(entity.name, count(self._first)))

    def _given(self, entity: EntityDescription, values: Mapping[str, Any]) -> dict[str, Any]:
        """What is given, defined values first, relations as their ids. Functions are called when the number is known."""
        _check_names(entity, values)
        relations = {field.relation: field.name for field in entity.references}
        given: dict[str, Any] = {}
        for name, chosen in {**entity.samples, **self._defined.get(entity.name, {}), **values}.items():
            if name in relations and name not in entity.fields:
                given.pop(relations[name], None)
                given[relations[name]] = chosen.id if isinstance(chosen, Entity) else chosen
            else:
                given[name] = chosen
        return given

    def _wanted_references(
        self, entity: EntityDescription, given: Mapping[str, Any], above: tuple[str, ...] = ()
    ) -> Iterable[FieldDescription]:
        """The references for which a record must be made."""
        for field in entity.references:
            if field.name in given:
                continue
            target = self._target_name(entity, field)
            circle = target == entity.name or target in above
            if field.declaration.required and circle:
                raise ConfigurationError(
                    f"{' needs '.join([*above, entity.name, target])}: the factory cannot make one without the other",
                    hint=f"give {field.name}",
                )
            if field.declaration.required or (self._full and not circle):
                yield field

    def _target(self, entity: EntityDescription, field: FieldDescription) -> EntityDescription:
        registry = self._made_in(entity)._messenger.store.registry
        return registry.relations[entity.name][str(field.relation)].target

    def _made_in(self, entity: EntityDescription) -> Session:
        """The session, if the entity is one of its application's."""
        if self._session is None:
            raise ConfigurationError(
                "this factory has no session to make records in", hint="Factory(session), or use build"
            )
        self._session._messenger.store.registry[entity.cls]
        return self._session

    @staticmethod
    def _target_name(entity: EntityDescription, field: FieldDescription) -> str:
        target = field.declaration.target
        if target == "self":
            return entity.name
        return target if isinstance(target, str) else str(target.__name__)

    def _input(self, entity: EntityDescription, given: Mapping[str, Any], number: int) -> Input:
        values = {name: chosen(number) if callable(chosen) else chosen for name, chosen in given.items()}
        for field in entity.given:
            wanted = field.declaration.required or self._full
            if field.name not in values and wanted and field.declaration.target is None:
                values[field.name] = _value(entity, field, number)
        for name, key in _keys(entity).items():
            self._make_distinct(entity, name, key, values, given, number)
        model: type[Input] = entity.cls.Create
        try:
            return model.model_validate(values)
        except ValueError as error:
            raise validation_error(error, entity.name) from None  # type: ignore[arg-type]  # Pydantic's is one

    def _make_distinct(
        self,
        entity: EntityDescription,
        name: str,
        key: Unique,
        values: dict[str, Any],
        given: Mapping[str, Any],
        number: int,
    ) -> None:
        """Gives one of a key's fields the next value that is free, where it is the factory's to choose."""

        def current(name: str) -> Any:
            return values[name] if name in values else entity.fields[name].declaration.default

        if any(current(name) != wanted for name, wanted in key.where.items()):
            return
        taken = self._taken.setdefault(name, set())
        free = [field for field in map(entity.fields.__getitem__, key.fields) if _chooses(field, given)]
        # A field with few values is the last to be changed.
        free.sort(key=lambda field: (bool(field.kind.choices) or field.kind.name == "boolean", field.name))
        for field in [*free, None]:
            for attempt in range(_ATTEMPTS):
                occurrence = tuple(_comparable(current(name)) for name in key.fields)
                if None in occurrence:
                    return  # null equals nothing
                if occurrence not in taken:
                    taken.add(occurrence)
                    return
                if field is None:
                    break
                values[field.name] = _value(entity, field, number + attempt)
        if free:
            raise _exhausted(entity, " and ".join(key.fields))


def _keys(entity: EntityDescription) -> dict[str, Unique]:
    """All unique keys, by the names of their indexes."""
    single = {f"{entity.table} {field.name}": Unique(field.name) for field in entity.own if field.declaration.unique}
    return single | {entity.key_name(key): key for key in entity.unique}


def _chooses(field: FieldDescription, given: Mapping[str, Any]) -> bool:
    return field.name not in given and field.declaration.target is None and not field.base


def _comparable(chosen: Any) -> Any:
    """What two values are compared by; case is left out, which costs nothing where it counts."""
    if isinstance(chosen, UUID):
        return chosen.int
    return chosen.lower() if isinstance(chosen, str) else chosen


def _value(entity: EntityDescription, field: FieldDescription, number: int) -> Any:
    try:
        return value(field, number)
    except NoValueError as error:
        raise ConfigurationError(
            f"the factory cannot make a value for {entity.name}.{field.name}: {error}",
            hint=f"give {field.name}, or say it once with factory.define({entity.name}, {field.name}=...)",
        ) from None


def _exhausted(entity: EntityDescription, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"the factory has no more values for {entity.name}: {what} must not repeat", hint="give them"
    )


def _check_names(entity: EntityDescription, values: Mapping[str, Any]) -> None:
    known = [*(field.name for field in entity.given), *(str(field.relation) for field in entity.references)]
    for name in values:
        if name not in known:
            raise ConfigurationError(f"{entity.name} has no field {name!r}{suggestion(name, known)}")
