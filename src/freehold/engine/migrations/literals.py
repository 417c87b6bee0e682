"""Reads SQL just far enough to leave constants alone: a text that a person declared may contain anything."""

import re
from collections.abc import Callable

__all__ = ["bare", "mapped"]

_TOKEN = re.compile(
    r"""(?P<constant>\b[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')"""
    r"""|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|(?P<body>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)""",
    re.DOTALL,
)


def mapped(sql: str, change: Callable[[str], str]) -> str:
    """A statement with everything changed but its constants in single quotes.

    Bodies in dollar quotes are code, and are changed.

    Args:
        sql: the statement.
        change: changes a part of it.
    """
    found, place = [], 0
    for token in _TOKEN.finditer(sql):
        if token["constant"] is not None:
            found += [change(sql[place : token.start()]), token[0]]
            place = token.end()
    return "".join([*found, change(sql[place:])])


def bare(sql: str) -> str:
    """A statement without constants, comments and bodies, in which words can be looked for."""

    def kept(token: re.Match[str]) -> str:
        return token[0] if token[0].startswith('"') else "''"

    return _TOKEN.sub(kept, sql)
