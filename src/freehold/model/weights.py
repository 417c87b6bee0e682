"""How large a record's JSON can be, by its declaration.

Only what could be larger than its bound has to be measured while it is made: the usual fields are short by declaration.
"""

from freehold.model.description import FieldDescription
from freehold.model.inputs import MAXIMUM_BYTES, MAXIMUM_DOCUMENT, MAXIMUM_ITEMS, MAXIMUM_TEXT

__all__ = ["SCALAR", "heaviest"]

ESCAPED = 6
"""Bytes of a character in JSON at most: `\\u001f`."""
SCALAR = 64
"""Bytes of a number, a moment or an id at most; a Decimal has its digits besides."""


def heaviest(field: FieldDescription) -> int:
    """The bytes that a field's name and value can have in a JSON object."""
    kind, declared = field.kind, field.declaration
    longest = declared.bounds.get("max_length")
    name = len(field.name) + 4
    if kind.many:
        return name + (MAXIMUM_ITEMS if longest is None else longest) * (_one(field, None) + 2)
    return name + _one(field, longest)


def _one(field: FieldDescription, longest: int | None) -> int:
    """The bytes of one value."""
    kind = field.kind
    if kind.choices:
        return ESCAPED * max(len(str(choice)) for choice in kind.choices) + 2
    if kind.name == "text":
        return ESCAPED * (MAXIMUM_TEXT if longest is None else longest) + 2
    if kind.name == "bytes":
        return 2 * (MAXIMUM_BYTES if longest is None else longest) + 2
    if kind.name == "json":
        return 2 * MAXIMUM_DOCUMENT  # PostgreSQL writes spaces behind commas and colons
    return SCALAR + (field.declaration.digits or 0)
