"""What others may see of connections: how a pool is used, and which messages are sent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Observer", "PoolFigures", "query_logger"]


class Observer(Protocol):
    """Is told of messages to PostgreSQL, after each."""

    def __call__(self, text: str, seconds: float, error: BaseException | None) -> None:
        """One message was answered.

        Args:
            text: the statement; its values are not in it. Of a script, which has its values inside, one word.
            seconds: from the message to its answer.
            error: what the driver made of it, where it failed. It may quote values.
        """
        ...


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """How a pool is used at the moment.

    Args:
        size: connections at most.
        open: connections that are open, or being opened.
        idle: of these, those that nobody uses.
        waiting: calls that wait for one.
    """

    size: int
    open: int
    idle: int
    waiting: int

    @property
    def spare(self) -> int:
        """Connections that calls could have at once."""
        return self.idle + self.size - self.open - self.waiting


def query_logger(observer: Observer) -> Callable[[Any], None]:
    """An observer as the driver calls it, which also gives it a statement's values."""

    def told(query: Any) -> None:  # Any: the driver's record
        observer(_shown(query.query, query.args), query.elapsed, query.exception)

    return told


def _shown(text: str, arguments: Any) -> str:
    """A statement for others to see. A script is one word: its values are in its text."""
    if arguments:
        return text
    return "commit" if text.endswith("commit") else text.split(None, 1)[0].lower()
