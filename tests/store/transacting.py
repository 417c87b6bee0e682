"""What tests of transactions share: what must be so when they have ended, and what breaks them."""

from typing import Any

import asyncpg
import pytest

from freehold import Session, Transaction
from freehold.postgres.connections import Pool
from tests.probe import until
from tests.world import Customer

Connection = asyncpg.Connection


async def rest(pool: Pool, admin: Connection) -> None:
    async def settled() -> bool:
        return pool._open == len(pool._idle) and not pool._waiters

    await until(settled, "all connections are back in the pool")
    assert [each for each in pool._idle if each.is_in_transaction()] == []
    await until(lambda: idle(admin), "no connection of the pool is in a transaction on the server")


async def idle(admin: Connection) -> bool:
    found = await admin.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%' "
        "and application_name = 'freehold'"
    )
    return not found


async def pid(transaction: Transaction) -> int:
    (row,) = await transaction.sql(None, "select pg_backend_pid() as pid")
    return int(row["pid"])


async def names(session: Session) -> list[str]:
    return [each.name for each in await session.list(Customer, order_by="name")]


class Refused(Exception):
    pass


async def terminate(admin: Connection, backend: int) -> None:
    await admin.execute("select pg_terminate_backend($1, 10000)", backend)


def losing_the_answer(transaction: Transaction, monkeypatch: pytest.MonkeyPatch, *, arrives: bool) -> None:
    """Cuts the connection at the commit: after it was done, or before it arrives."""
    driver = transaction._messenger.channel._driver  # type: ignore[attr-defined]
    execute = driver.execute

    async def cut(text: str, **options: Any) -> str:
        if text.endswith("commit"):
            if arrives:
                await execute(text, **options)
            driver.terminate()
            raise ConnectionResetError("cut")
        return str(await execute(text, **options))

    monkeypatch.setattr(driver, "execute", cut, raising=False)
