"""What fields, relations, checks and tables may be called: any word, but for those that mean something else already.

Names of columns, of our own columns and of variables in our SQL live apart: fields begin with a letter, and what is ours beside them
begins with an underscore. So a field may be called like any word of SQL or of our sources. What is left is refused where it is
declared, with the reason.
"""

import re

from pydantic import BaseModel

__all__ = [
    "LONGEST_NAME",
    "SNAKE",
    "bare_word_problem",
    "class_problem",
    "field_problem",
    "relation_problem",
    "table_problem",
]

LONGEST_NAME = 40
"""Characters of a name: with what is put before and behind it, it stays within PostgreSQL's 63 bytes."""
SNAKE = re.compile(rf"[a-z][a-z0-9_]{{0,{LONGEST_NAME - 1}}}")

SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
"""Columns that PostgreSQL gives to every table (ddl-system-columns of its manual)."""
_JOINING = frozenset({"and", "or", "not"})
_ATTRIBUTES = frozenset(dir(BaseModel)) | frozenset(dir(type(BaseModel)))


def field_problem(name: str, entity: str = "other") -> str | None:
    """Why a field of an entity cannot have a name; None where it can."""
    if name.startswith("_"):
        return f"the name is reserved: Freehold's own columns begin with an underscore; write another, such as {name.lstrip('_')}"
    if not SNAKE.fullmatch(name):
        return f"a field's name is snake case of at most {LONGEST_NAME} ASCII characters"
    of_tables = "every table of PostgreSQL has a system column that is called so"
    reason = of_tables if name in SYSTEM_COLUMNS else _taken(name)
    return reason and f"the name is reserved: {reason}; write another, such as {entity.lower()}_{name}"


def relation_problem(name: str) -> str | None:
    """Why a relation cannot have a name; None where it can."""
    if not SNAKE.fullmatch(name):
        return f"the name is no snake case of at most {LONGEST_NAME} ASCII characters; write another"
    reason = "include=orders.count asks for the number of orders" if name == "count" else _taken(name)
    return reason and f"the name is reserved: {reason}; write another"


def class_problem(name: str) -> str | None:
    """Why an entity's class cannot have a name; None where it can."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", name):
        return "the class's name must be at most 100 ASCII letters, digits and underscores: the log, OpenAPI and clients have it"
    return None


_OURS = frozenset({"log", "own_invitation", "own_key"})


def table_problem(name: str) -> str | None:
    """Why a table cannot have a name; None where it can."""
    if not SNAKE.fullmatch(name):
        return f"must be snake case of at most {LONGEST_NAME} ASCII characters"
    if name.startswith("pg_"):
        return "begins with pg_, as the tables of PostgreSQL's own catalog do, which hand-written SQL would find in its place"
    if name in _OURS:
        return f"is Freehold's: a function of its own has the name of one of the table's, such as {name}_create; write another"
    return None


def _taken(name: str) -> str | None:
    if name in _JOINING:
        return "in a filter the word joins conditions"
    if name.startswith("model_") or name in _ATTRIBUTES:
        return "Pydantic's models, which entities are, have such an attribute"
    return None


# "reserved" and "reserved (can be function or type)" in pg_get_keywords() of PostgreSQL 15 to 18.
_RESERVED = re.compile(
    r"""all|analy[sz]e|and|any|array|as|asc|asymmetric|authorization|binary|both|case|cast|check|collat(e|ion)|column|concurrently
    |constraint|create|cross|current_(catalog|date|role|schema|time|timestamp|user)|default|deferrable|desc|distinct|do|else|end|except
    |false|fetch|for|foreign|freeze|from|full|grant|group|having|ilike|in|initially|inner|intersect|into|is|isnull|join|lateral
    |leading|left|like|limit|localtime|localtimestamp|natural|not|notnull|null|offset|on|only|or|order|outer|overlaps|placing|primary
    |references|returning|right|select|session_user|similar|some|symmetric|system_user|table|tablesample|then|to|trailing|true|union
    |unique|user|using|variadic|verbose|when|where|window|with""",
    re.VERBOSE,
)
# Reserved words that stand in conditions as words of SQL.
_OF_CONDITIONS = re.compile(
    r"""all|and|any|array|as|asymmetric|both|case|cast|collate|distinct|else|end|false|for|from|ilike|in|is|isnull|leading|like|not
    |notnull|null|or|overlaps|placing|similar|some|symmetric|then|to|trailing|true|when""",
    re.VERBOSE,
)

_WORDS = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$
    | (?P<word>(?<![\w$])[^\W\d][\w$]*)(?P<call>\s*\()?""",
    re.VERBOSE | re.DOTALL,
)


def bare_word_problem(condition: str, fields: frozenset[str]) -> str | None:
    """What is wrong with a condition in SQL that names a field by a reserved word without quotes.

    PostgreSQL refuses most of them, and finds something else in some: `user` is the role.

    Args:
        condition: as it was written.
        fields: the names of the entity's fields.
    """
    for found in _WORDS.finditer(condition):
        word = (found["word"] or "").lower()
        ours = word in fields and _RESERVED.fullmatch(word) and not _OF_CONDITIONS.fullmatch(word)
        if ours and not found["call"]:
            return f'the condition {condition!r:.80} names {word}, a reserved word of SQL; write it in double quotes: "{word}"'
    return None
