"""The steps that a revision becomes: forms that let others through, and what a person should know before."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from freehold.engine.migrations.recording import recorded
from freehold.engine.migrations.steps import Group, Step, grouped, planned
from freehold.sql.identifiers import Schemas


def steps(*operations: Callable[[], Any]) -> list[Step]:
    return planned(recorded(lambda: [each() for each in operations]), Schemas())


def sql(found: Sequence[Step]) -> list[str]:
    return [" ".join(text.split()) for step in found for text in step.sql]


def table() -> None:
    op.create_table("orders", sa.Column("id", sa.Uuid(), nullable=False), sa.Column("n", sa.BigInteger()))


def test_an_index_on_a_table_with_rows_is_built_concurrently() -> None:
    (step,) = steps(lambda: op.create_index("orders_n_idx", "orders", ["n"], unique=True))
    assert sql([step]) == ['CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "orders_n_idx" ON "orders" ("n")']
    assert (step.transactional, step.deferred, step.index) == (False, True, "orders_n_idx")
    assert step.lock == "SHARE UPDATE EXCLUSIVE on orders"
    (step,) = steps(lambda: op.drop_index("orders_n_idx", "orders"))
    assert sql([step]) == ['drop index concurrently if exists "orders_n_idx"']


def test_on_a_new_table_nothing_waits_and_all_is_one_transaction() -> None:
    found = steps(
        table,
        lambda: op.create_index("orders_n_idx", "orders", ["n"]),
        lambda: op.create_check_constraint("orders_n_check", "orders", "n > 0"),
        lambda: op.create_foreign_key("orders_id_fkey", "orders", "customers", ["id"], ["id"]),
        lambda: op.alter_column("orders", "n", nullable=False),
    )
    assert all(step.transactional and not step.deferred for step in found)
    assert not any("CONCURRENTLY" in text or "NOT VALID" in text for text in sql(found))
    assert len(grouped(found)) == 1


@pytest.mark.parametrize(
    ("operation", "lock"),
    [
        (lambda: op.create_check_constraint("c", "orders", "n > 0"), "ACCESS EXCLUSIVE on orders"),
        (
            lambda: op.create_foreign_key("c", "orders", "customers", ["n"], ["id"], ondelete="CASCADE"),
            "SHARE ROW EXCLUSIVE on orders and customers",
        ),
    ],
    ids=["check", "reference"],
)
def test_a_constraint_is_added_unproved_and_proved_afterwards(operation: Callable[[], Any], lock: str) -> None:
    (step,) = steps(operation)
    ((leftover, added),) = step.before
    assert added.endswith("NOT VALID")
    assert sql([step]) == ['alter table "orders" validate constraint "c"']
    assert step.lock.startswith(lock)
    assert (step.scans, step.deferred, step.undo) == (True, True, (leftover,))


def test_not_null_is_proved_by_a_check_first() -> None:
    (step,) = steps(lambda: op.alter_column("orders", "n", nullable=False))
    undo = 'alter table "orders" drop constraint if exists "orders_n_not_null_check"'
    assert step.statements == [
        undo,
        'alter table "orders" add constraint "orders_n_not_null_check" check ("n" is not null) not valid',
        'alter table "orders" validate constraint "orders_n_not_null_check"',
        'alter table "orders" alter column "n" set not null',
        undo,
    ]
    assert (step.deferred, step.undo) == (True, (undo,))
    assert [len(stage) for stage in step.before] == [2, 1]


def test_what_goes_goes_last_unless_it_comes_again() -> None:
    def changes(*more: Callable[[], Any]) -> list[list[str]]:
        found = steps(lambda: op.drop_column("orders", "k"), lambda: op.create_index("i", "orders", ["m"]), *more)
        return [[step.change for step in group.steps] for group in grouped(found)]

    dropped = "drop the column orders.k and its values"
    assert changes()[-1] == [dropped]
    again = changes(lambda: op.add_column("orders", sa.Column("k", sa.Text())))
    assert again[0] == [dropped, "add the column orders.k"]


def test_quick_steps_go_together_and_long_ones_come_after_them() -> None:
    found = grouped(
        steps(
            lambda: op.add_column("orders", sa.Column("m", sa.BigInteger())),
            lambda: op.create_index("i", "orders", ["m"]),
            lambda: op.add_column("orders", sa.Column("k", sa.BigInteger())),
        )
    )
    assert [[step.change for step in group.steps] for group in found] == [
        ["add the column orders.m", "add the column orders.k"],
        ["build the index i on orders"],
    ]


def test_hand_written_sql_keeps_its_place() -> None:
    found = grouped(
        steps(
            lambda: op.create_index("i", "orders", ["n"]),
            lambda: op.execute("update orders set n = 1"),
            lambda: op.add_column("orders", sa.Column("k", sa.BigInteger())),
        )
    )
    assert [group.manual for group in found] == [False, True, False]
    assert not found[0].transactional
    (alone,) = grouped(steps(lambda: op.execute("create index concurrently j on orders (n)")))
    assert not alone.transactional


@pytest.mark.parametrize(
    ("old", "new", "rewrites"),
    [
        (sa.Numeric(12, 2), sa.Numeric(14, 2), False),
        (sa.Numeric(12, 2), sa.Numeric(14, 4), True),
        (sa.Numeric(12, 2), sa.Numeric(10, 2), True),
        (sa.Numeric(12, 2), sa.Numeric(), False),
        (sa.BigInteger(), sa.Text(), True),
        (sa.Text(), sa.Text(collation="C"), True),
        (sa.String(10), sa.Text(), False),
        (sa.Integer(), sa.BigInteger(), True),
    ],
    ids=str,
)
def test_a_change_of_type_says_whether_it_rewrites(old: Any, new: Any, rewrites: bool) -> None:
    (step,) = steps(lambda: op.alter_column("orders", "n", existing_type=old, type_=new))
    assert step.rewrites is rewrites
    assert step.lock == "ACCESS EXCLUSIVE on orders"


@pytest.mark.parametrize(
    ("column", "rewrites", "warned"),
    [
        (sa.Column("k", sa.BigInteger()), False, False),
        (sa.Column("k", sa.BigInteger(), server_default=sa.text("1"), nullable=False), False, False),
        (sa.Column("k", sa.DateTime(), server_default=sa.text("now()")), False, False),
        (sa.Column("k", sa.Uuid(), server_default=sa.text("gen_random_uuid()")), True, False),
        (sa.Column("k", postgresql.JSONB(), nullable=False), False, True),
    ],
    ids=range(5),
)
def test_a_new_column_says_whether_it_rewrites_and_who_it_stops(column: Any, rewrites: bool, warned: bool) -> None:
    (step,) = steps(lambda: op.add_column("orders", column))
    assert step.rewrites is rewrites
    assert bool(step.warning) is warned


@pytest.mark.parametrize(
    ("operation", "destructive"),
    [
        (lambda: op.drop_column("orders", "n"), True),
        (lambda: op.drop_table("orders"), True),
        (lambda: op.rename_table("orders", "purchases"), False),
        (lambda: op.alter_column("orders", "n", new_column_name="m"), False),
    ],
    ids=["column", "table", "rename table", "rename column"],
)
def test_what_stops_the_previous_release_says_so(operation: Callable[[], Any], destructive: bool) -> None:
    (step,) = steps(operation)
    assert "previous release" in str(step.warning)
    assert step.destructive is destructive


def test_a_group_tells_whether_it_was_edited() -> None:
    one, same, other = (
        grouped(steps(lambda n=n: op.execute(f"select {n}")))[0]  # type: ignore[misc]  # a loop's value
        for n in (1, 1, 2)
    )
    assert isinstance(one, Group)
    assert one.digest == same.digest != other.digest
