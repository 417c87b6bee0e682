"""The names that may be in the way of a field's: words of PostgreSQL, of our SQL, of our Python, and of Pydantic."""

import ast
import keyword
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import freehold
from freehold import Entity
from freehold.functions.declaration import Parameters
from freehold.model.entity import Input

SOURCES = Path(freehold.__file__).parent
ALL = bool(os.environ.get("FREEHOLD_TEST_ALL_NAMES"))
"""Whether every identifier of every source file is tried, and not those only that are at home in SQL or stand in a signature."""

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BUILDERS = ("sql", "engine", "store", "transfer", "identity")
"""The rooms whose modules build statements."""


@cache
def our_names() -> frozenset[str]:
    """The names that our sources use, and those of the classes that records and inputs are made of."""
    found = set(keyword.kwlist) | set(keyword.softkwlist)
    for cls in (Entity, type(Entity), BaseModel, Input, Parameters):
        found |= set(dir(cls))
    for path in SOURCES.rglob("*.sql"):
        found |= set(_WORD.findall(path.read_text()))
    for path in SOURCES.rglob("*.py"):
        text = path.read_text()
        found |= set(_WORD.findall(text)) if ALL else set(_said(ast.parse(text), path))
    return frozenset(found)


def _said(tree: ast.AST, path: Path) -> Iterator[str]:
    """The names of parameters, and the words of SQL in strings."""
    builds = path.relative_to(SOURCES).parts[0] in _BUILDERS
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        elif builds and isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_sql(node.value):
            yield from _WORD.findall(node.value)


def _is_sql(text: str) -> bool:
    return (
        not re.match(r"[A-Z]", text)
        and re.search(r"\b(select|from|as|where|t|set|with|insert|update|delete)\b", text) is not None
    )


def entity(fields: dict[str, tuple[Any, Any]], name: str = "Probe", **options: Any) -> type[Entity]:
    """An entity of fields, each a type and what `field()` says; `...` is an annotation alone."""
    namespace = {"__annotations__": {key: kind for key, (kind, _) in fields.items()}, "__module__": __name__}
    said = {key: said for key, (_, said) in fields.items() if said is not ...}
    return type(Entity)(name, (Entity,), namespace | said, **options)
