"""How the values of a column become those of another type, and whether they stay what they are.

PostgreSQL converts between many types by itself. What it has no conversion for goes through text. Moments and days are
converted in UTC, whatever the time zone of the session is.
"""

import re

__all__ = ["conversion", "lossless", "normal"]

_NUMBERS = ("bigint", "integer", "numeric", "double precision")

_WAYS = {
    ("boolean", "bigint"): "{0}::integer::bigint",
    ("boolean", "integer"): "{0}::integer",
    ("boolean", "numeric"): "{0}::integer::numeric",
    ("boolean", "double precision"): "{0}::integer::double precision",
    **{(number, "boolean"): "{0} <> 0" for number in _NUMBERS},
    **{(number, "interval"): "make_interval(secs => {0}::double precision)" for number in _NUMBERS},
    **{("interval", number): "extract(epoch from {0})::{1}" for number in _NUMBERS},
    ("timestamp with time zone", "date"): "({0} at time zone 'UTC')::date",
    ("timestamp with time zone", "time without time zone"): "({0} at time zone 'UTC')::time without time zone",
    ("timestamp with time zone", "text"): "to_char({0} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    ("date", "timestamp with time zone"): "{0}::timestamp without time zone at time zone 'UTC'",
    ("text", "bytea"): "convert_to({0}, 'UTF8')",
    ("bytea", "text"): "convert_from({0}, 'UTF8')",
    ("jsonb", "text"): "{0} #>> '{{}}'",
}

_DIRECT = {
    *((one, other) for one in _NUMBERS for other in _NUMBERS),
    *(("jsonb", other) for other in (*_NUMBERS, "boolean")),
    ("time without time zone", "interval"), ("interval", "time without time zone"),
}  # fmt: skip

_TO_TEXT = {*_NUMBERS, "boolean", "uuid", "date", "timestamp with time zone", "time without time zone", "interval"}
_KEPT = {
    *((one, "text") for one in _TO_TEXT), ("text", "bytea"),
    ("integer", "bigint"), ("integer", "double precision"), ("bigint", "numeric"), ("integer", "numeric"),
    ("boolean", "bigint"), ("boolean", "integer"), ("boolean", "numeric"), ("boolean", "double precision"),
    ("date", "timestamp with time zone"), ("character varying", "text"),
    *((one, "jsonb") for one in _TO_TEXT),
}  # fmt: skip


def normal(kind: str) -> str:
    """A type's name in one spelling: as PostgreSQL prints it, without a collation."""
    text = re.sub(r" collate .*", "", " ".join(kind.lower().split()))
    text = re.sub(r"\s*([(),])\s*", r"\1", text)
    text = re.sub(r"^varchar", "character varying", text)
    return {"float": "double precision", "time": "time without time zone", "double": "double precision"}.get(text, text)


def _family(kind: str) -> str:
    return re.sub(r"\(.*?\)", "", kind)


def _sizes(kind: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", kind)]


def conversion(old: str, new: str, column: str) -> str | None:
    """The expression that makes a value of one type of one of another.

    Args:
        old, new: the types as PostgreSQL prints them.
        column: the column, quoted.

    Returns:
        None where PostgreSQL converts by itself.
    """
    old, new = normal(old), normal(new)
    if _family(old) == _family(new):
        return None
    if new.endswith("[]") and not old.endswith("[]"):
        one = new.removesuffix("[]")
        value = conversion(old, one, column) or column
        return f"case when {column} is not null then array[({value})::{one}] end"
    if old.endswith("[]") and not new.endswith("[]") and _family(new) not in ("text", "jsonb"):
        value = f"{column}[1]"
        return conversion(old.removesuffix("[]"), new, value) or value
    if _family(new) == "jsonb":
        return f"{column}::jsonb" if old == "text" else f"to_jsonb({column})"
    pair = _family(old), _family(new)
    if pair in _WAYS:
        return _WAYS[pair].format(column, new)
    if pair in _DIRECT or "text" in pair:
        return f"{column}::{new}"
    through = "({0} #>> '{{}}')" if _family(old) == "jsonb" else "{0}::text"
    return f"{through.format(column)}::{new}"


def lossless(old: str, new: str) -> bool:
    """Whether every value that can be converted stays what it is."""
    old, new = normal(old), normal(new)
    families = _family(old), _family(new)
    if families[0] != families[1]:
        if new.endswith("[]") and not old.endswith("[]"):
            return lossless(old, new.removesuffix("[]"))
        return families in _KEPT
    if families[0] == "numeric":
        before, after = _places(old), _places(new)
        return after is None or (before is not None and after >= before)
    before_size, after_size = _sizes(old), _sizes(new)
    return not after_size or (bool(before_size) and after_size[0] >= before_size[0])


def _places(kind: str) -> int | None:
    """How many places a numeric keeps; None where it keeps all."""
    sizes = _sizes(kind)
    return None if not sizes else (sizes[1] if len(sizes) > 1 else 0)
