"""Pages: each record once, in order, in both directions; and cursors that nobody can bend."""

import functools
import itertools
import string
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold import Context, Database, Entity, Order, Page, Session, errors
from freehold.model import pages
from freehold.model.context import new_id
from freehold.model.pages import CursorSigner, Sort, binding, parse_limit, parse_order
from freehold.model.values import stored
from tests.sql.samples import SAMPLES, SCALARS, Box, Sample, fill

bounded = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

SORTABLE = [*SCALARS, "rank", "name", "id", "version", "created_at", "box_id"]
ORDERS = st.lists(
    st.builds(Order, st.sampled_from(SORTABLE), st.booleans(), st.sampled_from([None, "first", "last"])),
    max_size=4,
    unique_by=lambda order: order.field,
)
# Few values, so that rows are equal in many fields and the order must go on to the next one.
ROWS = st.lists(
    SAMPLES | st.sampled_from([{}, {"rank": 1}, {"integer": 1, "text": "a"}, {"day": date.max}]), max_size=10
)


def compare(sorts: Sequence[Sort], left: Entity, right: Entity) -> int:
    """The order as it is documented, written down a second time."""
    for sort in sorts:
        one, other = stored(getattr(left, sort.field.name)), stored(getattr(right, sort.field.name))
        if one is None or other is None:
            if (one is None) != (other is None):
                return -1 if (one is None) == sort.nulls_first else 1
        elif one != other:
            return -1 if (one < other) != sort.descending else 1
    return 0


def in_order(records: Sequence[Sample], sorts: Sequence[Sort]) -> list[UUID]:
    return [record.id for record in sorted(records, key=functools.cmp_to_key(functools.partial(compare, sorts)))]


async def walk(session: Session, sizes: Sequence[int], **options: Any) -> tuple[list[UUID], list[UUID]]:
    """The ids from the first page to the last, and then from the last page back to the first."""
    forward: list[UUID] = []
    size = itertools.cycle(sizes)
    page = await session.list(Sample, limit=next(size), with_total=True, **options)
    assert page.previous is None
    while True:
        forward += [record.id for record in page]
        if page.next is None:
            break
        page = await session.list(Sample, limit=next(size), after=page.next, **options)
        assert len(page) > 0
        assert page.previous is not None
    backward = [record.id for record in page]
    while page.previous is not None:
        page = await session.list(Sample, limit=next(size), before=page.previous, **options)
        backward = [*(record.id for record in page), *backward]
        assert page.next is not None
        assert len(backward) <= len(forward)
    return forward, backward


@bounded
@given(rows=ROWS, order=ORDERS, sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
async def test_walking_gives_each_record_once_in_order(
    sampled: Database, rows: list[dict[str, Any]], order: list[Order], sizes: list[int]
) -> None:
    context, ids = await fill(sampled, [], rows)
    sorts = parse_order(order, Sample.__entity__)
    async with sampled.session(context) as session:
        expected = in_order(await session.get_many(Sample, ids), sorts)
        forward, backward = await walk(session, sizes, order_by=order)
        assert forward == expected
        assert backward == expected


@pytest.mark.parametrize("name", SORTABLE)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("nulls", ["first", "last"])
async def test_each_kind_can_be_walked(sampled: Database, name: str, descending: bool, nulls: Any) -> None:
    values = VALUES.get(name, [])
    context, ids = await fill(sampled, [], [{name: value} for value in values] * 2 + [{}] * 3)
    order = [Order("name"), Order(name, descending, nulls)] if name != "name" else [Order(name, descending, nulls)]
    async with sampled.session(context) as session:
        expected = in_order(await session.get_many(Sample, ids), parse_order(order, Sample.__entity__))
        assert await walk(session, [2], order_by=order) == (expected, expected)


def _pool(strategy: Any) -> list[Any]:
    """The values of a pool of samples."""
    found: list[Any] = []
    for branch in getattr(strategy, "original_strategies", [strategy]):
        found += getattr(getattr(branch, "mapped_strategy", branch), "elements", [])
    return found


VALUES = {name: _pool(values) for name, values in SCALARS.items()} | {
    "amount": ["-1.5", "0", "0.0000000001", "99999999999999999999"],
    "flag": [True, False],
    "text": ["", "a", "A", "é", "\uffff", "\U0010ffff", "a\x01"],
}


async def test_a_page_goes_on_where_its_last_record_was_deleted(acme: Session) -> None:
    from tests.world import Customer

    made = [await acme.create(Customer, name=f"c{number}") for number in range(5)]
    page = await acme.list(Customer, order_by="name", limit=2)
    await acme.delete(made[1])
    rest = await acme.list(Customer, order_by="name", after=page.next)
    assert [record.name for record in rest] == ["c2", "c3", "c4"]


async def test_equal_times_do_not_repeat_or_lose_records(sampled: Database) -> None:
    context, ids = await fill(sampled, [], [{}] * 7)
    async with sampled.session(context) as session:
        assert len({record.created_at for record in await session.list(Sample)}) == 1
        forward, backward = await walk(session, [1, 2], order_by="-created_at")
        assert forward == backward == sorted(ids, reverse=True)


async def test_a_total_counts_all_that_match(sampled: Database) -> None:
    context, _ = await fill(sampled, [], [{"integer": number % 3} for number in range(7)])
    async with sampled.session(context) as session:
        page = await session.list(Sample, where={"integer": 0}, limit=2, with_total=True)
        assert (len(page), page.total) == (2, 3)
        assert (await session.list(Sample, where={"integer": 0}, after=page.next, with_total=True)).total == 3
        assert (await session.list(Sample)).total is None
        empty = await session.list(Sample, where={"integer": 9}, with_total=True)
        assert (len(empty), empty.total, empty.next, empty.previous) == (0, 0, None, None)


class TestCursors:
    @pytest.fixture
    async def asked(self, sampled: Database) -> tuple[Database, Context, str]:
        context, _ = await fill(sampled, [], [{"text": letter, "integer": 1} for letter in "abcd"])
        async with sampled.session(context) as session:
            page = await session.list(Sample, order_by="text", where={"integer": 1}, limit=2)
        assert page.next is not None
        return sampled, context, page.next

    async def refused(self, database: Database, context: Context, cls: type[Entity], **options: Any) -> str:
        async with database.session(context) as session:
            for way in ("after", "before"):
                with pytest.raises(errors.CursorError) as caught:
                    await session.list(
                        cls, **{way: options["cursor"]}, **{k: v for k, v in options.items() if k != "cursor"}
                    )
                assert caught.value.code == "FH101"
                assert way in caught.value.message
                assert "first page" in (caught.value.hint or "")
        return caught.value.issues[0].code

    async def test_a_cursor_of_the_same_list_is_taken(self, asked: tuple[Database, Context, str]) -> None:
        database, context, cursor = asked
        for order in ("text", ["text"], [Order("text")], ["text", "id"]):
            async with database.session(context) as session:
                page = await session.list(Sample, order_by=order, where={"integer": 1}, after=cursor)
                assert [record.text for record in page] == ["c", "d"]

    async def test_a_cursor_of_another_list_is_refused(self, asked: tuple[Database, Context, str]) -> None:
        database, context, cursor = asked
        same: dict[str, Any] = {"order_by": "text", "where": {"integer": 1}, "cursor": cursor}
        others: list[tuple[Context, type[Entity], dict[str, Any]]] = [
            (Context(new_id()), Sample, same),
            (context, Box, {"cursor": cursor}),
            (context, Sample, {**same, "order_by": "-text"}),
            (context, Sample, {**same, "order_by": "name"}),
            (context, Sample, {**same, "order_by": Order("text", nulls="first")}),
            (context, Sample, {**same, "order_by": ["text", "integer"]}),
            (context, Sample, {**same, "where": {"integer": 2}}),
            (context, Sample, {**same, "where": None}),
            (context, Sample, {**same, "deleted": True}),
        ]
        for who, cls, options in others:
            assert await self.refused(database, who, cls, **options) == "cursor_binding"

    async def test_an_edited_cursor_is_refused(self, asked: tuple[Database, Context, str]) -> None:
        database, context, cursor = asked
        store = database._store
        sorts = parse_order("text", Sample.__entity__)
        bound = binding(context.organization_id, Sample.__entity__, sorts, {"integer": 1}, False)
        assert store.signer.read(cursor, bound, sorts, subject="after")[0] == "b"
        letters = string.ascii_letters + string.digits + "-_."
        for place in range(len(cursor)):
            for letter in letters if place >= len(cursor) - 2 else "Az_.":
                if letter != cursor[place]:
                    edited = cursor[:place] + letter + cursor[place + 1 :]
                    with pytest.raises(errors.CursorError):
                        store.signer.read(edited, bound, sorts, subject="after")
        for length in range(len(cursor)):
            with pytest.raises(errors.CursorError):
                store.signer.read(cursor[:length], bound, sorts, subject="after")

    @pytest.mark.parametrize(
        "cursor",
        [
            "",
            "x",
            ".",
            "..",
            "é",
            "\ud800",
            "\x00",
            "x" * 10_000_000,
            5,
            0,
            b"abc",
            ["a"],
            {},
            True,
            False,
            1.5,
            UUID(int=7),
        ],
        ids=lambda value: repr(value)[:20],
    )
    async def test_what_is_no_cursor_is_refused(self, asked: tuple[Database, Context, str], cursor: Any) -> None:
        database, context, _ = asked
        code = await self.refused(database, context, Sample, order_by="text", where={"integer": 1}, cursor=cursor)
        assert code in ("cursor_type", "cursor_signature")

    async def test_a_cursor_signed_with_another_key_is_refused(self, asked: tuple[Database, Context, str]) -> None:
        database, context, _ = asked
        sorts = parse_order("text", Sample.__entity__)
        bound = binding(context.organization_id, Sample.__entity__, sorts, {"integer": 1}, False)
        forged = CursorSigner(b"guessed").sign(bound, ["b", str(new_id())])
        code = await self.refused(database, context, Sample, order_by="text", where={"integer": 1}, cursor=forged)
        assert code == "cursor_signature"

    async def test_both_directions_at_once_are_refused(self, asked: tuple[Database, Context, str]) -> None:
        database, context, cursor = asked
        async with database.session(context) as session:
            with pytest.raises(errors.ValidationError, match="together with after"):
                await session.list(Sample, order_by="text", where={"integer": 1}, after=cursor, before=cursor)

    async def test_a_filter_with_a_set_is_the_same_whatever_its_order(self, sampled: Database) -> None:
        entity, sorts = Sample.__entity__, parse_order(None, Sample.__entity__)
        words = [f"w{number}" for number in range(50)]
        other = {*words, *(f"x{number}" for number in range(500))}
        other &= set(words)
        told = {binding(1, entity, sorts, {"text": {"in": value}}) for value in (set(words), other, frozenset(words))}
        assert len(told) == 1

    async def test_a_filter_with_bytes_can_be_continued(self, sampled: Database) -> None:
        context, _ = await fill(sampled, [], [{"blob": b"\xff"}] * 3)
        async with sampled.session(context) as session:
            forward, backward = await walk(session, [1], where={"blob": b"\xff"})
        assert len(forward) == len(backward) == 3

    def test_the_binding_tells_different_lists_apart(self) -> None:
        entity, sorts = Sample.__entity__, parse_order(None, Sample.__entity__)
        filters: list[Any] = [
            None, {}, {"text": "1"}, {"integer": 1}, {"text": {"in": ["a", "b"]}}, {"text": {"in": ["ab"]}}, {"blob": b"a"},
        ]  # fmt: skip
        assert len({binding(1, entity, sorts, where) for where in filters}) == len(filters)


class TestArguments:
    @pytest.mark.parametrize(
        "limit", [0, -1, 1001, 10**9, 10**5000, True, 1.0, "5", None, float("nan"), [5]], ids=lambda v: repr(type(v))
    )
    def test_a_wrong_limit_is_told(self, limit: Any) -> None:
        with pytest.raises(errors.ValidationError, match="from 1 to 1000") as caught:
            parse_limit(limit)
        assert len(str(caught.value)) < 300

    @pytest.mark.parametrize(
        ("order", "code"),
        [
            ("nmae", "unknown_field"),
            ("--name", "unknown_field"),
            ("", "unknown_field"),
            ("x" * 10_000_000, "unknown_field"),
            ("texts", "unsortable"),
            ("document", "unsortable"),
            (["name", "-name"], "repeated_field"),
            ({"name": 1}, "list_type"),
            (5, "list_type"),
            ([["name"]], "order_type"),
            ([Order(["name"])], "order_type"),  # type: ignore[arg-type]
            ([Order("name", nulls="middle")], "nulls"),  # type: ignore[arg-type]
            (["rank"] * 9, "too_long"),
        ],
        ids=lambda value: repr(value)[:30],
    )
    def test_a_wrong_order_is_told(self, order: Any, code: str) -> None:
        with pytest.raises(errors.ValidationError) as caught:
            parse_order(order, Sample.__entity__)
        assert code in {issue.code for issue in caught.value.issues}
        assert len(str(caught.value)) < 1_000

    def test_an_order_by_private_or_long_text_is_refused(self) -> None:
        from tests.world import Customer

        class Note(Entity):
            body: str

        for name, cls in (("tax_number", Customer), ("body", Note)):
            with pytest.raises(errors.ValidationError, match=name):
                parse_order(name, cls.__entity__)

    def test_the_id_breaks_ties_in_the_direction_of_the_last_field(self) -> None:
        for order, descending in ((None, False), ("name", False), ("-name", True), (["-name", "rank"], False)):
            last = parse_order(order, Sample.__entity__)[-1]  # type: ignore[arg-type]
            assert (last.field.name, last.descending) == ("id", descending)


def nulls_the_other_way(sort: Sort) -> Sort:
    return Sort(sort.field, sort.descending, not sort.nulls_first)


def always_ascending(sort: Sort) -> Sort:
    return Sort(sort.field, False, sort.nulls_first)


@pytest.mark.parametrize("wrong", [nulls_the_other_way, always_ascending])
async def test_a_wrong_order_is_caught(sampled: Database, wrong: Callable[[Sort], Sort]) -> None:
    context, ids = await fill(sampled, [], [{"integer": number} for number in (None, 1, 2, None, 1)])
    sorts = parse_order("-integer", Sample.__entity__)
    async with sampled.session(context) as session:
        records = await session.get_many(Sample, ids)
        forward, _ = await walk(session, [2], order_by="-integer")
    assert forward == in_order(records, sorts)
    assert forward != in_order(records, [wrong(sort) for sort in sorts])


async def test_a_comparison_that_leaves_out_equal_rows_is_caught(
    sampled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, ids = await fill(sampled, [], [{"rank": 1}] * 5)
    monkeypatch.setattr(
        pages.CursorSigner, "sign", lambda signer, bound, values: SIGN(signer, bound, [*values[:-1], LAST])
    )
    async with sampled.session(context) as session:
        page: Page[Sample] = await session.list(Sample, order_by="rank", limit=2)
        rest = await session.list(Sample, order_by="rank", after=page.next)
    assert len(page) + len(rest) < len(ids)


SIGN, LAST = CursorSigner.sign, str(UUID(int=2**128 - 1))
