import pytest

from freehold import Session, errors
from tests.world import Customer


async def test_a_record_is_created_read_and_changed(acme: Session) -> None:
    made = await acme.create(Customer, name="Émile", credit="12.50", tags=["a"])
    assert (await acme.get(Customer, made.id)) == made
    changed = await acme.update(made, credit=7)
    assert (changed.version, changed.credit) == (2, 7)
    with pytest.raises(errors.ConcurrencyError) as caught:
        await acme.update(made, credit=9)
    assert (caught.value.expected, caught.value.actual, caught.value.current) == (1, 2, changed)


async def test_another_organization_sees_nothing(acme: Session, rival: Session) -> None:
    made = await acme.create(Customer, name="Acme")
    with pytest.raises(errors.NotFoundError):
        await rival.get(Customer, made.id)
    assert not (await rival.list(Customer)).records
