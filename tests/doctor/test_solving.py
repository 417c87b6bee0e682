"""Entities whose checks ask for more than one field at a time are filled, or the proof says how to fill or leave them out."""

import subprocess
import sys
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from freehold import Application, Database, Entity, Unique, field, reference
from freehold.doctor.proof import Proof, attempt_isolation
from freehold.errors import ConfigurationError, DeclarationError
from freehold.testing import Factory, prove_isolation
from tests.cli.test_doctor import url
from tests.conftest import Server, new_context
from tests.probe import plain, scratch

ROOT = Path(__file__).parents[2]


class Level(StrEnum):
    plain = "plain"
    vip = "vip"


class Terms(BaseModel):
    days: int


class Period(Entity, checks={"ordered": "ends_at > starts_at", "short": "ends_at - starts_at <= interval '8 hours'"}):
    ends_at: datetime = field()
    starts_at: datetime = field()


class Client(
    Entity, checks={"vip_has_credit": "level <> 'vip' or credit >= 5000", "low": "credit <= 5000 or level = 'vip'"}
):
    level: Level = field(default=Level.plain)
    credit: Decimal = field(digits=12, places=2, ge=4_999)


class Line(Entity, checks={"adds_up": "amount = quantity * price + fee", "fee_or_none": "fee = 0 or quantity > 10"}):
    quantity: int = field(ge=1)
    price: int = field(ge=2)
    fee: int = field(ge=0)
    amount: int = field()


class Code(
    Entity, checks={"form": "code ~ '^[A-Z]{3}-[0-9]{4}$'", "own": "code <> other", "long": "char_length(other) = 7"}
):
    code: str = field(max_length=20, unique=True)
    other: str = field(max_length=20)


class Paper(
    Entity,
    checks={"kind": "body->>'kind' in ('a', 'b') and (body->>'pages')::int > 3", "days": "(terms->>'days')::int > 400"},
):
    body: dict[str, Any] = field()
    terms: Terms = field()


class Either(Entity, checks={"one": "num_nonnulls(mail, phone) = 1", "tagged": "cardinality(tags) = 3"}):
    mail: str | None = field(default=None, max_length=50)
    phone: str | None = field(default=None, max_length=50)
    tags: list[str] = field(default_factory=list)


class Share(
    Entity, unique=[Unique("period_id", "part")], checks={"parts": "part + rest = 7", "divides": "12 / (part - 1) > 0"}
):
    period_id: UUID = reference(Period)
    part: int = field()
    rest: int = field()


class Day(
    Entity, checks={"later": "due >= created_at::date + 30 and due <> '2030-01-01'", "wait": "wait > interval '2 days'"}
):
    due: date = field()
    wait: timedelta = field()


class Node(
    Entity, soft_delete=True, checks={"not_itself": "parent_id <> id", "pair": "(parent_id is null) = (weight is null)"}
):
    parent_id: UUID | None = reference("self", default=None)
    weight: int | None = field(default=None)


class Chicken(Entity, checks={"sum": "weight + height = 100"}):
    egg_id: UUID | None = reference("Egg", default=None)
    weight: int = field()
    height: int = field()


class Egg(Entity):
    chicken_id: UUID = reference(Chicken)


KINDS = [Period, Client, Line, Code, Paper, Either, Share, Day, Node, Chicken, Egg]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the attempts that only read."""
    monkeypatch.setattr("freehold.doctor.proof.LISTS", ())


async def proved(server: Server, declared: Application, *sql: str, **options: Any) -> Proof:
    async with scratch(server, declared) as name:
        async with plain(server.admin_address(name)) as admin:
            for statement in sql:
                await admin.execute(statement)
        async with Database.open(server.address(name, declared), declared, size=2) as database:
            return await attempt_isolation(database, **options)


def told(proof: Proof) -> str:
    return "\n".join(f"{each.name}: {each.happened} {each.evidence}" for each in (*proof.leaks, *proof.unproved))


async def test_checks_over_several_fields_of_all_kinds(server: Server) -> None:
    proof = await proved(server, Application("kinds", KINDS))
    assert proof.held, told(proof)


class Square(Entity, checks={"answer": "side * side = 1764 and area = side * side"}):
    side: int = field()
    area: int = field()


class Tile(Entity):
    square_id: UUID = reference(Square)


async def test_what_is_not_found_is_told_with_what_to_declare(server: Server, quick: None) -> None:
    proof = await proved(server, Application("squares", [Square, Tile]))
    square, tile = proof.unproved
    assert not proof.held
    assert 'class Square(Entity, samples={"side": ..., "area": ...})' in square.happened
    assert "--without Square" in square.happened
    assert "breaks the rule" in square.happened
    assert "must refer to Square, which has no record" in tile.happened


async def test_what_is_left_out_is_told_and_does_not_fail(server: Server, quick: None) -> None:
    declared = Application("squares", [Square, Tile, Line])
    proof = await proved(server, declared, without=["Square", "Tile"])
    assert proof.held, told(proof)
    assert [each.name for each in proof.left_out] == ["Square: fill", "Tile: fill"]
    assert proof.as_dict()["left_out"] == ["Square", "Tile"]
    assert not (await proved(server, declared, without=["Square"])).held  # what needs it cannot be filled either
    for options in ({"without": ["Sqare"]}, {"given": {"Sqare": {}}}, {"given": {"Square": {"sid": 1}}}):
        with pytest.raises(ConfigurationError, match="did you mean"):
            await proved(server, declared, **options)


async def test_the_command_takes_entities_to_leave_out(server: Server) -> None:
    declared = Application("squares", [Square])
    async with scratch(server, declared) as name:
        command = [
            sys.executable,
            "-c",
            "from freehold.cli import main; main()",
            "doctor",
            "tests.doctor.test_solving:squares",
        ]
        arguments = ["--url", url(server.address(name, declared)), "--prove-isolation"]
        red, green = (
            subprocess.run(
                [*command, *arguments, *more], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
            )
            for more in ([], ["--without", "Square"])
        )
    assert (red.returncode, green.returncode) == (1, 0), red.stderr + green.stderr + green.stdout
    assert "samples=" in "".join(red.stdout.split())
    assert "1 entities were left out" in green.stdout


squares = Application("squares", [Square])


def opening(number: int) -> datetime:
    return datetime.fromisoformat("2026-01-01T00:00+00:00") + timedelta(days=number)


class Slot(Entity, checks={"answer": "side * side = 1764"}, samples={"side": 42, "begins": opening}):
    side: int = field()
    begins: datetime = field()
    ends: datetime = field()
    room: str = field(max_length=40)


EXCLUSION = "alter table app.slots add constraint apart exclude using btree (organization_id with =, begins with =)"
TRIGGER = """
create function app.refuse() returns trigger language plpgsql as $$
begin
    if new.side <> 42 then raise exception 'no such side'; end if;
    return new;
end $$;
create trigger refuse before insert or update on app.slots for each row execute function app.refuse()
"""


@pytest.mark.parametrize("sql", [EXCLUSION, TRIGGER], ids=["exclusion", "trigger"])
async def test_declared_samples_go_before_and_satisfy_what_migrations_made(
    server: Server, quick: None, sql: str
) -> None:
    proof = await proved(server, Application("slots", [Slot]), sql)
    assert proof.held, told(proof)


async def test_the_factory_takes_declared_samples_too(server: Server) -> None:
    declared = Application("slots", [Slot])
    async with scratch(server, declared) as name, Database.open(server.address(name, declared), declared) as database:
        factory = Factory(database.session(await new_context(database)))
        first, second = await factory.create_many(Slot, 2)
        assert (first.side, second.begins - first.begins) == (42, timedelta(days=1))
        factory.define(Slot, room=lambda number: f"room {number}")
        assert (await factory.create(Slot)).room == "room 3"


async def test_given_values_go_before_declared_ones(server: Server, quick: None) -> None:
    class Off(Entity, checks={"answer": "side * side = 1764"}, samples={"side": 41}):
        side: int = field()

    declared = Application("off", [Off])
    assert not (await proved(server, declared)).held
    assert (await proved(server, declared, given={"Off": {"side": lambda number: 42}})).held
    async with scratch(server, declared) as name, Database.open(server.address(name, declared), declared) as database:
        with pytest.raises(AssertionError, match="samples="):
            await prove_isolation(database)
        assert (await prove_isolation(database, without=["Off"])).held


@pytest.mark.parametrize(
    ("samples", "message"),
    [({"sid": 1}, "did you mean 'side'"), (["side"], "samples is a mapping")],
    ids=["name", "list"],
)
def test_samples_that_name_no_field_are_refused(samples: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):

        class Wrong(Entity, samples=samples):
            side: int = field()
