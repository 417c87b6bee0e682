"""UUIDs on their way between Python and PostgreSQL.

Python's own way to make one takes 680 ns, this one 180, and 55 where it was made lately: an organization, an actor, the
record that many refer to. The driver's class takes 66 (docs/decisions/rows-and-json.md).
"""

from functools import lru_cache
from uuid import UUID, SafeUUID

__all__ = ["packed", "unpacked"]

KEPT = 10_000
"""UUIDs that are remembered."""

_set_int = UUID.__dict__["int"].__set__
_set_is_safe = UUID.__dict__["is_safe"].__set__
_new, _integer, _unknown = object.__new__, int.from_bytes, SafeUUID.unknown


@lru_cache(maxsize=KEPT)
def unpacked(data: bytes) -> UUID:
    """A UUID of its 16 bytes: what `UUID(bytes=data)` makes, without the look at other ways to give one."""
    made = _new(UUID)
    _set_int(made, _integer(data, "big"))
    _set_is_safe(made, _unknown)
    return made


def packed(value: UUID | str) -> bytes:
    """The 16 bytes of a UUID, or of its text."""
    return value.bytes if isinstance(value, UUID) else UUID(value).bytes
