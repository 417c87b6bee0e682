"""Locks of rows that a transaction reads, so that nobody else changes them before its end."""

from dataclasses import dataclass

__all__ = ["Lock"]


@dataclass(frozen=True, slots=True)
class Lock:
    """`for update` of the rows `t` that a statement reads.

    Args:
        nowait: a row that somebody else has locked is an error.
        skip_locked: such a row is left out.
    """

    nowait: bool = False
    skip_locked: bool = False

    @property
    def clause(self) -> str:
        """What stands behind the select that reads them."""
        return " for update of t" + (" nowait" if self.nowait else " skip locked" if self.skip_locked else "")
