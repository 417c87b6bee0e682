"""Columns that stand in for a Decimal in indexes.

PostgreSQL does not use an index for a condition under row-level security unless the operator is leakproof, and the operators of
`numeric` are not. So an indexed Decimal has a generated column beside it whose operators are: the number without its point, as a
`bigint` where 18 digits are enough, else as text of a fixed width, which sorts like the number. Indexes, conditions and orders
use that column; answers never have it.
"""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal

__all__ = ["IndexKey"]

WIDEST_INTEGER = 18
"""Digits that always fit in a bigint."""
_EXACT = Context(prec=30_000)
"""More digits than a number of a filter has."""


@dataclass(frozen=True, slots=True)
class IndexKey:
    """The generated column of one indexed Decimal.

    Args:
        field: the Decimal's name.
        digits, places: as declared.
    """

    field: str
    digits: int
    places: int

    @property
    def column(self) -> str:
        """The column's name. Fields cannot begin with an underscore."""
        return f"_{self.field}_key"

    @property
    def sql(self) -> str:
        """The column's SQL type; text sorts by code point."""
        return "bigint" if self.digits <= WIDEST_INTEGER else "text"

    def expression(self, column: str) -> str:
        """What the database computes from the Decimal's column."""
        scaled = f"{column} * {10**self.places}"
        if self.sql == "bigint":
            return f"({scaled})::bigint"
        # Moved up, so that no number is negative: the shortest text then is the smallest number.
        return f"lpad(trunc({scaled} + {self._limit})::text, {self.digits + 1}, '0')"

    def at_most(self, value: Decimal) -> int | str:
        """The greatest key of a number that is not greater than the value."""
        return self._written(self._scaled(value)[0])

    def at_least(self, value: Decimal) -> int | str:
        """The smallest key of a number that is not smaller than the value."""
        whole, exact = self._scaled(value)
        return self._written(whole if exact else whole + 1)

    def equal(self, value: Decimal) -> int | str:
        """The key of the value; one that no number has, where the column cannot hold it."""
        whole, exact = self._scaled(value)
        return self._written(whole if exact else self._limit)

    @property
    def _limit(self) -> int:
        """The smallest whole number that is too large for the column, without the point."""
        return int(10**self.digits)

    def _scaled(self, value: Decimal) -> tuple[int, bool]:
        """The value without its point, rounded down and kept within what can be stored, and whether that is exact."""
        scaled = value.scaleb(self.places, _EXACT)
        if scaled.copy_abs() >= self._limit:  # abs() would round
            return (self._limit if scaled > 0 else -self._limit), True
        whole = scaled.to_integral_value(ROUND_FLOOR, _EXACT)
        return int(whole), whole == scaled

    def _written(self, whole: int) -> int | str:
        return whole if self.sql == "bigint" else str(whole + self._limit).rjust(self.digits + 1, "0")
