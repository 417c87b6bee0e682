"""Named queries of an entity, over one session.

A repository is where an application keeps what it asks: a method with a name that the team uses, in place of the same filter
in ten places. It holds no records and writes nothing. Whatever reads, a repository can be made with.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin
from uuid import UUID

from typing_extensions import TypeVar as DefaultingTypeVar
from typing_extensions import get_original_bases

from freehold.errors import DeclarationError, ValidationError
from freehold.model.entity import Entity
from freehold.model.pages import IncludeLike, OrderBy, Page
from freehold.store.reads import Reads

__all__ = ["Repository"]

EntityT = TypeVar("EntityT", bound=Entity)
ReadsT = DefaultingTypeVar("ReadsT", bound=Reads, default=Reads)


class Repository(Generic[EntityT, ReadsT]):
    """The base of an entity's named queries.

        class Customers(Repository[Customer]):
            async def owing(self, least: Decimal) -> Page[Customer]:
                return await self.list(where={"orders.paid_on": None, "orders.total": {"gte": least}})

        await Customers(session).owing(Decimal(1_000))

    It works with everything that reads: a session, a transaction, a unit of work, a moment in the past. A repository that needs
    more, such as hand-written SQL or the history, says so: `Repository[Customer, Session]`. The types then allow nothing less.

    Args:
        session: what its queries are asked of.

    Raises:
        DeclarationError: when the class is made: the brackets name no entity.
        ValidationError: the session is none, or less than the class needs.
    """

    entity: ClassVar[type[Entity]]
    """Of which it tells."""
    _needs: ClassVar[type[Reads]] = Reads

    def __init_subclass__(cls, **options: Any) -> None:  # Any: of a base beside this one
        super().__init_subclass__(**options)
        for base in get_original_bases(cls):
            if isinstance(get_origin(base), type) and issubclass(get_origin(base), Repository):
                cls._take(get_args(base))

    @classmethod
    def _take(cls, arguments: tuple[Any, ...]) -> None:
        """Keeps what the brackets say; a variable is for a class below to fill in."""
        for argument in arguments:
            if isinstance(argument, type) and issubclass(argument, Entity):
                cls.entity = argument
            elif isinstance(argument, type) and issubclass(argument, Reads):
                cls._needs = argument
            elif not isinstance(argument, TypeVar | DefaultingTypeVar):
                named = getattr(argument, "__name__", argument)
                raise DeclarationError(
                    f"{cls.__name__}: {named} is no entity; write class {cls.__name__}(Repository[Customer])"
                )

    def __init__(self, session: ReadsT) -> None:
        name = type(self).__name__
        if not hasattr(self, "entity"):
            raise DeclarationError(
                f"{name} has no entity; write a class, such as class Customers(Repository[Customer])"
            )
        if not isinstance(session, self._needs):
            wanted = "session" if self._needs is Reads else self._needs.__name__
            raise ValidationError.single(
                (), f"must be made with a {wanted}, not {type(session).__name__}", "session_type", subject=name
            )
        self.session: ReadsT = session

    async def get(self, id: UUID | str, *, private: bool = False, deleted: bool = False) -> EntityT:
        """One record, as `Session.get`.

        Raises:
            NotFoundError: there is none in this organization.
        """
        return await self.session.get(self._entity, id, private=private, deleted=deleted)

    async def find(
        self,
        where: Mapping[str, Any],
        *,
        include: Mapping[str, IncludeLike] | Sequence[str] | None = None,
        private: bool = False,
        deleted: bool = False,
    ) -> EntityT | None:
        """The one record that matches, or None, as `Session.find`.

        Raises:
            ValidationError: the filter is wrong, or matches more than one record.
        """
        return await self.session.find(self._entity, where, include=include, private=private, deleted=deleted)

    async def exists(self, where: Mapping[str, Any] | None = None, *, deleted: bool = False) -> bool:
        """Whether a record matches."""
        return await self.session.exists(self._entity, where, deleted=deleted)

    async def count(
        self, where: Mapping[str, Any] | None = None, *, search: str | None = None, deleted: bool = False
    ) -> int:
        """How many records match."""
        return await self.session.count(self._entity, where, search=search, deleted=deleted)

    async def list(
        self,
        *,
        where: Mapping[str, Any] | None = None,
        search: str | None = None,
        order_by: OrderBy = None,
        limit: int = 50,
        after: str | None = None,
        before: str | None = None,
        include: Mapping[str, IncludeLike] | Sequence[str] | None = None,
        with_total: bool = False,
        deleted: bool = False,
        private: bool = False,
    ) -> Page[EntityT]:
        """One page of the records that match; the arguments are those of `Session.list`.

        Raises:
            ValidationError: something in the arguments is wrong; each issue with its path.
            CursorError: the cursor was edited or belongs to another list.
        """
        return await self.session.list(
            self._entity,
            where=where,
            search=search,
            order_by=order_by,
            limit=limit,
            after=after,
            before=before,
            include=include,
            with_total=with_total,
            deleted=deleted,
            private=private,
        )

    @property
    def _entity(self) -> type[EntityT]:
        return self.entity  # type: ignore[return-value]  # what the brackets said
