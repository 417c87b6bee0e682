"""What type checkers know: this module has no errors under `mypy --strict`."""

import enum
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, assert_type
from uuid import UUID

from pydantic import BaseModel

from freehold import (
    Application,
    Change,
    Context,
    Database,
    Each,
    Entity,
    Group,
    Include,
    Index,
    Order,
    Page,
    Repository,
    Session,
    Transaction,
    Unique,
    field,
    reference,
)
from freehold.store.past import PastSession
from freehold.store.reads import Reads


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Settings(BaseModel):
    color: str = "red"


class Author(Entity, soft_delete=True, indexes=[Index("name", "level")], checks={"named": "name <> ''"}):
    name: str = field(min_length=1, max_length=100, search=True)
    email: str | None = field(default=None, max_length=320, unique=True, ignore_case=True)
    level: Level = field(default=Level.LOW)
    status: Literal["active", "gone"] = field(default="active", index=True)
    fee: Decimal = field(default=Decimal(0), digits=12, places=2, ge=0)
    born: date | None = field(default=None)
    seen_at: datetime | None = field(default=None)
    patience: timedelta | None = field(default=None)
    tags: list[str] = field(default_factory=list)
    settings: Settings = field(default=Settings())
    plain: int = 0


class Book(Entity, table="volumes", unique=[Unique("author_id", "title")]):
    author_id: UUID = reference(Author, on_delete="cascade")
    sequel_id: UUID | None = reference("self", on_delete="set_null", default=None, reverse="prequels")
    title: str = field(max_length=200)


class Authors(Repository[Author]):
    async def active(self) -> Page[Author]:
        assert_type(self.session, Reads)
        assert_type(await self.find({"name": "Ada"}, include={"volumes": "count"}), Author | None)
        return await self.list(where={"status": "active"}, order_by="name")


class Books(Repository[Book, Session]):
    async def many(self) -> int:
        assert_type(self.session, Session)
        return len(await self.session.sql(None, "select id from volumes"))


class Count(BaseModel):
    name: str
    books: int


application = Application("sample", [Author, Book])


def made(row: dict[str, Any]) -> None:
    author = Author.model_validate(row)
    assert_type(author.name, str)
    assert_type(author.email, str | None)
    assert_type(author.level, Level)
    assert_type(author.fee, Decimal)
    assert_type(author.tags, list[str])
    assert_type(author.settings.color, str)
    assert_type(author.id, UUID)
    assert_type(author.version, int)
    assert_type(author.created_at, datetime)
    assert_type(author.created_by, UUID | None)
    assert_type(Book.model_validate(row).author_id, UUID)
    Author.Create(name="Ada", level="high")
    Author.Patch(email=None)


async def read(session: Session, author: Author) -> None:
    assert_type(await session.get(Author, author.id), Author)
    assert_type(await session.get(Author, str(author.id), private=True, deleted=True), Author)
    assert_type(await session.get(Author, author.id, as_json=True), bytes)
    assert_type(await session.get_many(Author, [author.id]), list[Author])
    assert_type(await session.find(Author, {"email": "ada@example.com"}), Author | None)
    assert_type(await session.exists(Author), bool)
    assert_type(await session.count(Author, {"status": "active"}), int)
    page = await session.list(
        Author,
        where={"or": [{"status": "active"}, {"volumes.title": {"contains": "x"}}]},
        order_by=["-name", Order("born", nulls="first")],
        include={"volumes": Include(limit=5, order_by="title", include={"sequel": True}), "books": "count"},
        with_total=True,
    )
    assert_type(page, Page[Author])
    assert_type(page[0], Author)
    assert_type(page.next, str | None)
    assert_type(page.total, int | None)
    for each in page:
        assert_type(each, Author)
    assert_type(await session.list(Author, select=["name"]), Page[Any])
    groups = await session.aggregate(Author, group_by=["status"], sum=["fee"])
    assert_type(groups, tuple[Group, ...])
    assert_type(await session.sql(Count, "select name, :n as books from authors", n=1), Sequence[Count])
    assert_type(await session.sql(None, "select 1 as one"), Sequence[dict[str, Any]])
    assert_type(await session.history(author), tuple[Change, ...])
    assert_type(await session.history((Author, author.id)), tuple[Change, ...])


async def asked(session: Session, past: PastSession, id: UUID) -> None:
    authors = Authors(session)
    assert_type(await authors.active(), Page[Author])
    assert_type(await authors.get(id), Author)
    assert_type(await authors.count(), int)
    assert_type(await authors.exists(), bool)
    await Authors(past).active()
    assert_type(await Books(session).many(), int)
    Books(past)  # type: ignore[arg-type]  # the past has no SQL


async def write(session: Session) -> None:
    author = await session.create(Author, name="Ada")
    assert_type(author, Author)
    assert_type(await session.create(Author, Author.Create(name="Ada")), Author)
    assert_type(await session.update(author, fee=5), Author)
    assert_type(await session.update((Author, author.id, 1), fee=5), Author)
    assert_type(await session.update(author, Author.Patch(fee=5)), Author)
    assert_type(await session.delete(author), Author)
    assert_type(await session.restore(author), Author)
    assert_type(await session.purge(author), Author)


async def opened(context: Context) -> None:
    async with Database.embedded("data", application) as database:
        assert_type(database, Database)
        async with database.session(context, timeout=5) as session:
            assert_type(session, Session)
            assert_type(session.context.organization_id, UUID)
    async with Database.open("postgresql://app@localhost/app", application) as database:
        organization = await database.system("sign-up").create_organization(name="Acme", slug="acme")
        assert_type(organization.id, UUID)


async def transactions(database: Database, context: Context, session: Session, author: Author) -> None:
    async with session.transaction(isolation="serializable", read_only=False, deadline=5) as transaction:
        assert_type(transaction, Transaction)
        assert_type(await transaction.get(Author, author.id, for_update=True), Author)
        assert_type(await transaction.get(Author, author.id, as_json=True), bytes)
        assert_type(await transaction.get_many(Author, [author.id], for_update=True, nowait=True), list[Author])
        assert_type(await transaction.find(Author, {"name": "x"}, for_update=True), Author | None)
        assert_type(await transaction.list(Author, for_update=True, skip_locked=True), Page[Author])
        assert_type(await transaction.update(author, name="x"), Author)
        async with transaction.savepoint():
            assert_type(await transaction.create(Author, name="x"), Author)

        async def write(name: str) -> Author:
            return await transaction.create(Author, name=name)

        assert_type(await transaction.each(["x"], write, tolerate=0.5), Each[str, Author])

    async def work(transaction: Transaction) -> int:
        return await transaction.count(Author)

    assert_type(await database.run(context, work, attempts=3, deadline=1.5, isolation="repeatable_read"), int)


typed = Application("typed", [Author, Book])


@typed.query
async def fees(session: Session, least: Decimal) -> Decimal:
    return least


@typed.command(name="authors.retire", idempotent=True)
async def retire(transaction: Transaction, id: UUID) -> Author:
    return await transaction.get(Author, id)


async def declared(session: Session, transaction: Transaction, id: UUID) -> None:
    assert_type(await fees(session, Decimal(1)), Decimal)
    assert_type(await retire(transaction, id=id), Author)
