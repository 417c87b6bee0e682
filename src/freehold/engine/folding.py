"""The SQL function `folded`, on which the unique indexes are built that ignore case: the same as `freehold.model.folding.folded`.

It is immutable in truth, and not only declared so: it depends on no locale, no version of PostgreSQL and none of an operating
system's library. A name of 24 letters takes 8 us, and 2 us if they are ASCII (docs/decisions/text-collation.md).
"""

import json

from freehold.model.folding import FOLDED
from freehold.sql.identifiers import Schemas, literal

__all__ = ["folding"]


def folding(schemas: Schemas, application: str) -> list[str]:
    """The statements that make the function; each can be repeated.

    Args:
        schemas: the names of the schemas.
        application: the role that writes the indexes.
    """
    letters = {letter: small for letter, small in FOLDED.items() if not letter.isascii()}
    function = f"{schemas.own('folded')}(text)"
    # Small letters, which are most, cost one look with a regular expression. Each letter that folds is then replaced.
    return [
        f"""
create or replace function {schemas.own("folded")}(given text) returns text
language plpgsql immutable strict parallel safe as $freehold$
declare
    t text collate "C" := pg_catalog.lower(given collate "C");
    letter text collate "C";
begin
    if pg_catalog.octet_length(t) <> pg_catalog.char_length(t) then
        foreach letter in array pg_catalog.string_to_array(pg_catalog.regexp_replace(t, '[^{_bracket(letters)}]+', '', 'g'), null) loop
            t := pg_catalog.replace(t, letter, {literal(json.dumps(letters))}::pg_catalog.jsonb ->> letter);
        end loop;
    end if;
    return t;
end $freehold$""",
        f"revoke all on function {function} from public",
        f"grant execute on function {function} to {application}",
    ]


def _bracket(letters: dict[str, str]) -> str:
    """The inside of a bracket expression, by code points."""
    ranges: list[list[int]] = []
    for code in sorted(map(ord, letters)):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
