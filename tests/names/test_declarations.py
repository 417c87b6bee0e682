"""Names that a field cannot have are refused where it is declared, with the reason."""

from typing import Any

import pytest

from freehold import Entity, field
from freehold.errors import DeclarationError
from freehold.model.description import BASE_FIELDS
from freehold.model.names import SYSTEM_COLUMNS
from tests.names.crowd import usable
from tests.names.gathering import entity, our_names

REFUSED = sorted(our_names() - set(usable(our_names())))


def test_few_names_are_refused() -> None:
    """Those of other forms, those of the base, and the attributes of Pydantic's models; no word of SQL but three."""
    words = {name for name in REFUSED if name.islower() and name[0].isalpha() and name.isascii() and len(name) <= 40}
    assert words - set(BASE_FIELDS) - SYSTEM_COLUMNS - set(dir(type(Entity))) - set(dir(Entity)) == {"and", "or", "not"}


@pytest.mark.parametrize("said", [field(max_length=5), ...], ids=["field", "annotation"])
def test_the_others_are_refused_with_the_reason(said: Any) -> None:
    for name in [*REFUSED, *SYSTEM_COLUMNS, "_secret", "Name", "größe", "a" * 41, "ﬁeld", "model_x", "xX"]:
        if said is ... and name.startswith("_"):
            continue  # an attribute of Python's, or one of Pydantic's private ones
        with pytest.raises(DeclarationError, match=name) as caught:
            entity({"other": (str, field(max_length=5)), name: (str, said)})
        told = caught.value.message
        assert "; write another" in told or "snake case" in told or name == "model_config", told


def test_a_private_attribute_is_refused() -> None:
    with pytest.raises(DeclarationError, match="_note: an entity has no private attributes"):

        class Probe(Entity):
            name: str = field(max_length=5)
            _note: str = ""


@pytest.mark.parametrize(
    "condition", ["user <> ''", "order > 0", "length(x) > 0 and\nLimit = 1", "collation is not null"]
)
def test_a_condition_names_no_reserved_word_without_quotes(condition: str) -> None:
    fields = {name: (int, field()) for name in ("user", "order", "limit", "collation", "is", "x")}
    with pytest.raises(DeclarationError, match="a reserved word of SQL; write it in double quotes"):
        entity(fields, checks={"one": condition})
    with pytest.raises(DeclarationError, match="a reserved word of SQL; write it in double quotes"):
        entity({**fields, "y": (int, field(check=condition))})


@pytest.mark.parametrize(
    "condition",
    ['"user" > 0', "x is not null", "x in (1, 2) -- order", "note <> 'order'", "left('a', 1) = 'a'", "note = $$limit$$", "/* user */ true"],
)  # fmt: skip
def test_other_words_are_left_alone(condition: str) -> None:
    fields = {
        name: (int, field()) for name in ("user", "order", "limit", "is", "in", "not_", "left", "x", "null", "true")
    }
    entity({**fields, "note": (str, field())}, checks={"one": condition})
