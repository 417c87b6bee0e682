"""Bulk writes with every kind of value: they store what single writes store, and choose what reads choose."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold import Context, Database
from freehold.model.context import new_id
from tests.sql.samples import BOXES, FILTERS, RELATED_FILTERS, SAMPLES, Sample, fill

bounded = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
ROWS = st.lists(SAMPLES, min_size=1, max_size=8)
BASE = {"id", "created_at", "updated_at"}


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "box"}


@bounded
@given(rows=ROWS)
async def test_what_is_created_is_what_a_single_write_creates(sampled: Database, rows: list[dict[str, Any]]) -> None:
    async with sampled.session(Context(new_id())) as session:
        result = await session.create_many(Sample, [plain(row) for row in rows])
        assert (result.created, result.failed) == (len(rows), 0)
        for row, outcome in zip(rows, result.outcomes, strict=True):
            assert outcome.id is not None
            many, single = await session.get(Sample, outcome.id), await session.create(Sample, **plain(row))
            assert many.model_dump(exclude=BASE) == single.model_dump(exclude=BASE)
            assert many.model_dump_json(exclude=BASE) == single.model_dump_json(exclude=BASE)


@bounded
@given(rows=ROWS, changes=ROWS)
async def test_what_is_changed_is_what_a_single_write_changes(
    sampled: Database, rows: list[dict[str, Any]], changes: list[dict[str, Any]]
) -> None:
    given_ = [plain(change) for change in changes[: len(rows)]]
    # Each gives fields of its own, so that one statement has to tell them apart.
    parts = [dict(list(change.items())[place % 3 :: place % 2 + 1]) for place, change in enumerate(given_)]
    context, ids = await fill(sampled, [], rows * 2)
    many, single = ids[: len(parts)], ids[len(rows) : len(rows) + len(parts)]
    async with sampled.session(context) as session:
        result = await session.update_many(Sample, [((id, 1), part) for id, part in zip(many, parts, strict=True)])
        assert (result.updated + result.unchanged, result.failed) == (len(parts), 0)
        for one, other, part, outcome in zip(many, single, parts, result.outcomes, strict=True):
            await session.update((Sample, other, 1), **part)
            first, second = await session.get(Sample, one), await session.get(Sample, other)
            assert first.model_dump(exclude={*BASE, "version"}) == second.model_dump(exclude={*BASE, "version"})
            assert first.version == outcome.version
            before = next(row for id, row in zip(ids, rows * 2, strict=True) if id == one)
            created = Sample.Create.model_validate(plain(before))
            same = all(getattr(created, name) == getattr(first, name) for name in part)
            assert outcome.action == ("unchanged" if same else "updated")


@bounded
@given(
    boxes=st.lists(BOXES, max_size=3),
    rows=ROWS,
    filters=st.lists(FILTERS | RELATED_FILTERS, min_size=4, max_size=8),
    change=SAMPLES,
)
async def test_what_a_filter_changes_is_what_it_finds(
    sampled: Database, boxes: list[Any], rows: list[dict[str, Any]], filters: list[Any], change: dict[str, Any]
) -> None:
    context, _ = await fill(sampled, boxes, rows)
    async with sampled.session(context) as session:
        for where in filters:
            found = [each.id for each in await session.list(Sample, where=where, order_by="id", limit=1_000)]
            patch = Sample.Patch.model_validate(plain(change))
            result = await session.update_where(Sample, where, patch, everything=True, chunk=3)
            assert [outcome.id for outcome in result.outcomes] == found
            for id in found:
                record = await session.get(Sample, id)
                assert all(getattr(record, name) == getattr(patch, name) for name in patch.model_fields_set)
        found = [each.id for each in await session.list(Sample, where=filters[0], order_by="id", limit=1_000)]
        removed = await session.delete_where(Sample, filters[0], everything=True, chunk=3)
        assert [outcome.id for outcome in removed.outcomes] == found
        assert await session.count(Sample) == len(rows) - len(found)
