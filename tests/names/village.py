"""Entities whose relations, counters, keys, indexes, checks and tables are called like words of SQL and of our sources."""

from typing import Any
from uuid import UUID

from freehold import Application, Entity, Index, Unique, counter, field, reference
from tests.names.gathering import entity

WORDS = (
    "found", "t", "e", "r", "g", "f", "p", "x", "j", "k", "o", "h", "type", "self", "cls", "select", "order", "group", "user", "limit",
    "where", "include", "data", "rows", "total", "entity", "list", "default", "new",
)  # fmt: skip
"""Aliases of our statements, words of SQL, parameters."""
COUNTED = ("found", "t", "r", "c", "select", "order", "new", "u", "s", "d", "c0", "c1", "k0", "n", "w", "g0")
"""Aliases of the statements that count."""
TABLES = (
    "logs", "search", "units", "settings", "users", "organizations", "open", "order", "user", "select", "enter", "leaves_get",
    "leaves_search", "leaves_tally", "leaves_refer",
)  # fmt: skip
"""Names of Freehold's own tables and functions, words of SQL, and a part of another table's function."""

Fields = dict[str, tuple[Any, Any]]


class Root(Entity, soft_delete=True, expose="all"):
    """What leaves refer to by all words, and what is called back by them."""

    name: str = field(max_length=40, unique=True)
    taken_count: int = field(default=0)


_REFERENCES: Fields = {f"{word}_id": (UUID | None, reference(Root, default=None, reverse=word)) for word in WORDS}
for _name, _reverse in (("first", "taken"), ("second", "twice"), ("third", "twice_count")):
    _REFERENCES[f"{_name}_id"] = (UUID | None, reference(Root, default=None, reverse=_reverse))
Leaf = entity(
    {"name": (str, field(max_length=40)), **_REFERENCES}, name="Leaf", table="leaves", soft_delete=True, expose="all"
)

_COUNTERS: Fields = {word: (int, counter("Tagged", where={word: 1})) for word in COUNTED}
Counted = entity({"name": (str, field(max_length=40)), **_COUNTERS}, name="Counted", table="counted", expose="all")

_NUMBERS: Fields = {word: (int, field(default=1)) for word in COUNTED}
Tagged = entity(
    {
        "counted_id": (UUID, reference(Counted)),
        **_NUMBERS,
        "user": (str, field(max_length=40, check="\"user\" <> 'nobody'")),
        "collation": (str, field(max_length=40, unique=True, ignore_case=True, search=True)),
        "excluded": (str, field(max_length=40, search=True)),
    },
    name="Tagged",
    table="tagged",
    soft_delete=True,
    expose="all",
    unique=[Unique("found", "t", "user", where={"select": 1}), Unique("excluded", "r", ignore_case=["excluded"])],
    indexes=[Index("order", "new", where={"select": 1}), Index("user", "collation")],
    checks={"select": '"select" >= 0 and "order" is not null', "order": '"order" < 100'},
)
NAMED = [
    entity({"name": (str, field(max_length=40, unique=True))}, name=f"Named{place}", table=table, soft_delete=True, expose="all")
    for place, table in enumerate(TABLES)
]  # fmt: skip
"""One for each table."""

# Two tables with a constraint of one name each: `near_by_far_check`.
Near = entity({"by_far": (int, field(ge=0))}, name="Near", table="near")
NearBy = entity({"far": (int, field(ge=0))}, name="NearBy", table="near_by")

village = Application("village", [Root, Leaf, Counted, Tagged, Near, NearBy, *NAMED], roles={"admin": ["*"]})
