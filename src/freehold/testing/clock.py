"""The time of a test's database.

Rows take their time from one function of the engine, `now()`. In production it is PostgreSQL's own. In a database that
the kit made it has another body, which looks for a time that was set; the application role can neither replace the
function nor write what it reads.
"""

from datetime import UTC, datetime, timedelta

from freehold.errors import ValidationError
from freehold.postgres.connections import Address, connect
from freehold.sql.identifiers import Schemas

__all__ = ["Clock", "clock_function"]

_SETTING = "test_clock"


def clock_function(schemas: Schemas, otherwise: str) -> str:
    """The statement that lets a database's time be set.

    Args:
        schemas: of the application.
        otherwise: the function of PostgreSQL's that tells the time while none is set: `now`, or `statement_timestamp`.
    """
    # Names of schemas and functions only.
    return f"""
create or replace function {schemas.own("now")}() returns timestamptz
language plpgsql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $freehold$
begin
    return coalesce((select s.value::timestamptz from {schemas.own("settings")} s where s.name = '{_SETTING}'), {otherwise}());
end $freehold$"""


class Clock:
    """Sets the time that the database gives to rows and to the log. Until it is set, it is the real one.

    A time that was set stands still until it is moved.

    Args:
        admin: the administrator's address of the test's database.
        schemas: of the application.
    """

    def __init__(self, admin: Address, schemas: Schemas) -> None:
        self._admin = admin
        self._schemas = schemas
        self._moment: datetime | None = None

    @property
    def moment(self) -> datetime | None:
        """The time that was set; None while it is the real one."""
        return self._moment

    async def set(self, moment: datetime) -> None:
        """Makes it a time, for every call from now on.

        Args:
            moment: with a time zone.

        Raises:
            ValidationError: it has no time zone.
        """
        if not isinstance(moment, datetime) or moment.utcoffset() is None:
            raise ValidationError.single(
                ("moment",),
                "must be a datetime with a time zone: datetime(2026, 1, 1, tzinfo=UTC)",
                "timezone_aware",
                subject="clock",
            )
        async with connect(self._admin) as connection:
            await connection.fetch(
                f"insert into {self._schemas.own('settings')} values ($1, $2) on conflict (name) do update set value = excluded.value",
                _SETTING,
                moment.astimezone(UTC).isoformat(),
            )
        self._moment = moment

    async def advance(self, delta: timedelta) -> datetime:
        """Moves the time, from the one that was set or the real one. Returns the new one.

        Args:
            delta: how far; a negative one goes back.
        """
        await self.set((self._moment or datetime.now(UTC)) + delta)
        return self._moment  # type: ignore[return-value]  # it was set just now

    async def reset(self) -> None:
        """Makes it the real time again."""
        async with connect(self._admin) as connection:
            await connection.fetch(f"delete from {self._schemas.own('settings')} where name = $1", _SETTING)
        self._moment = None
