"""What an answer tells: its text, and the other organization's marks in it."""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time, timedelta
from typing import Any

from pydantic import BaseModel

from freehold.model.pages import Page

__all__ = ["leaves", "marks", "masked", "shown", "traces"]

_SHORTEST = 6
"""Characters of a mark: what is shorter appears by chance."""
_SHORTEST_NUMBER = 8
"""Digits of a mark that is a number."""


def shown(value: Any) -> str:
    """All that a value tells, as text in small letters: of errors also what PostgreSQL said behind them."""
    return " ".join(_parts(value)).lower()


def _parts(value: Any) -> Iterator[str]:
    if isinstance(value, BaseException):
        yield f"{type(value).__name__} {value}"
        yield from _parts(getattr(value, "as_dict", dict)())
        yield from _parts({name: told for name, told in vars(value).items() if not name.startswith("_")})
        if value.__cause__ is not None:
            yield from _parts(value.__cause__)
    elif isinstance(value, Page):
        yield from _parts([value.records, value.json, value.total, getattr(value, "words", ())])
    elif isinstance(value, BaseModel):
        yield repr(value)
        yield from _parts(dict(value))  # private fields too, which model_dump leaves out
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _parts({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    elif isinstance(value, bytes):
        yield value.hex()
        yield value.decode(errors="replace")
    elif isinstance(value, str):
        yield value
    elif isinstance(value, Mapping) or hasattr(value, "items"):
        for key, item in value.items():
            yield f"{key}:"
            yield from _parts(item)
    elif isinstance(value, Iterable):
        for item in value:
            yield from _parts(item)
    elif isinstance(value, date | time):
        yield value.isoformat()
    elif isinstance(value, timedelta):
        yield str(value.total_seconds())
    else:
        yield str(value)


def leaves(document: Any) -> Iterator[str]:
    """The single values of a JSON document, as text."""
    if isinstance(document, dict):
        for item in document.values():
            yield from leaves(item)
    elif isinstance(document, list):
        for item in document:
            yield from leaves(item)
    elif isinstance(document, str | int | float) and not isinstance(document, bool):
        yield str(document)


def marks(theirs: Iterable[bytes], ours: Iterable[bytes]) -> frozenset[str]:
    """What is in the one organization's records, as JSON, and not in the other's; of all that, what does not appear by chance."""
    known = b" ".join(ours).decode().lower()
    found = {leaf.lower() for document in theirs for leaf in leaves(json.loads(document))}
    return frozenset(leaf for leaf in found if _distinct(leaf) and leaf not in known)


def _distinct(leaf: str) -> bool:
    number = leaf.replace(".", "").replace("-", "").isdigit()
    return len(leaf) >= (_SHORTEST_NUMBER if number else _SHORTEST)


def traces(text: str, looked_for: Iterable[str], given: Iterable[str]) -> list[str]:
    """The marks that a text shows, but for those that the attempt gave itself.

    Args:
        text: in small letters.
        looked_for: the marks.
        given: what the attempt told; a mark that is part of it is no trace.
    """
    told = [each.lower() for each in given]
    return sorted(mark for mark in looked_for if mark in text and not any(mark in each for each in told))


_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[t ]\d\d:\d\d:\d\d[^ ,\"')}\]]*")
_MADE = re.compile(r"datetime\.datetime\([^()]*(?:\([^()]*\))?[^()]*\)")


def masked(text: str, own: Iterable[str]) -> str:
    """A text without what differs between two runs: ids that are not of one's own records, and moments."""
    ours = set(own)
    text = _ID.sub(lambda found: found[0] if found[0] in ours else "<id>", text)
    return _MOMENT.sub("<moment>", _MADE.sub("<moment>", text))
