"""Messages about values are told without the values."""

import asyncpg
import pytest

from freehold.postgres.sqlstate import translated


@pytest.mark.parametrize(
    ("sqlstate", "message"),
    [
        ("22P02", 'invalid input syntax for type integer: "secret"'),
        ("22P02", 'invalid input syntax for type uuid: "se"c"ret"'),
        ("22003", 'value "secret" is out of range for type integer'),
        ("22003", '"secret" is out of range for type double precision'),
        ("22P02", 'malformed array literal: "secret'),  # cut off
    ],
)
def test_a_value_is_not_told(sqlstate: str, message: str) -> None:
    found = translated(asyncpg.PostgresError.new({"C": sqlstate, "M": message, "S": "ERROR"}), {})
    told = f"{found} {found.as_dict()}"
    assert "secret" not in told
    assert not any(part in told for part in ('"c"', "ret"))
    assert ("out of range" in told) == ("out of range" in message)
