"""Type checkers accept right use and refuse wrong use."""

from pathlib import Path

import pytest
from mypy import api

from tests.typing.sample import Author, application

ROOT = Path(__file__).parents[2]
SAMPLE = Path(__file__).with_name("sample.py")

# Each line is wrong by itself; the error that mypy must find in it stands behind it.
WRONG = """
from uuid import UUID
from freehold import Application, Context, Database, Entity, Order, Session, field, reference
from tests.typing.sample import Author, Book, Count

class Wrong(Entity):
    name: str = field(max_lenght=5)  # [call-arg]
    book_id: UUID = reference(Book, on_delete="forget")  # [arg-type]
    upper: str = field(index="yes")  # [arg-type]

async def wrong(session: Session, author: Author) -> None:
    author.name = "other"  # [misc]
    author.nmae  # [attr-defined]
    author.version + "1"  # [operator]
    title: str = (await session.get(Author, author.id)).fee  # [assignment]
    book: Book = await session.get(Author, author.id)  # [arg-type] [assignment]
    await session.get("Author", author.id)  # [call-overload]
    await session.get(Author, author.id, for_update=True)  # [call-overload]
    session.transaction(isolation="chaos")  # [arg-type]
    await session.get(int, author.id)  # [call-overload] [type-var]
    await session.list(Author, wher={})  # [call-overload]
    await session.list(Author, limit="5")  # [call-overload]
    (await session.list(Author))[0].titel  # [attr-defined]
    (await session.find(Author, {})).name  # [union-attr]
    (await session.sql(Count, "select 1"))[0].book  # [attr-defined]
    await session.update(author.id, name="x")  # [arg-type] [type-var] [misc]
    await session.history(author.id)  # [arg-type]
    Context("acme")  # [arg-type]
    Order("name", nulls="middle")  # [arg-type]
    Application("wrong", [int])  # [list-item]
    Database.embedded("x")  # [call-arg]
"""


Errors = dict[str, dict[int, set[str]]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Errors:
    """The errors that mypy tells of both modules, in one run: by module and line their codes."""
    wrong = tmp_path_factory.mktemp("typing") / "wrong.py"
    wrong.write_text(WRONG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        output, problems, _ = api.run(["--config-file", "pyproject.toml", "--no-pretty", str(SAMPLE), str(wrong)])
    assert not problems, problems
    found: Errors = {"sample": {}, "wrong": {}}
    for line in output.splitlines():
        place, is_error, text = line.partition(": error: ")
        if is_error:
            path, _, number = place.rpartition(":")
            found.setdefault(Path(path).stem, {}).setdefault(int(number), set()).add(text[text.rindex("[") :])
    return found


def test_right_use_has_no_errors(told: Errors) -> None:
    assert told["sample"] == {}
    assert set(told) == {"sample", "wrong"}


def test_every_wrong_use_is_told(told: Errors) -> None:
    for number, line in enumerate(WRONG.splitlines(), 1):
        _, _, expected = line.partition("  # ")
        found = told["wrong"].get(number, set())
        assert bool(found) == bool(expected), (line, found)
        assert found <= set(expected.split()), (line, found)


def test_the_sample_declares_what_an_application_takes() -> None:
    assert set(application.registry.entities) == {"Author", "Book"}
    assert Author.Create(name="Ada").model_dump()["plain"] == 0
