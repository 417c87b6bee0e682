"""Parameters of functions that are called like anything."""

import keyword
import re

import pytest

from freehold import Application, Session
from freehold.errors import DeclarationError
from freehold.functions.arguments import Arguments
from freehold.functions.declaration import Function, declare
from tests.names.gathering import our_names

NAMES = sorted(name for name in our_names() if re.fullmatch(r"[a-z][a-z0-9_]*", name) and not keyword.iskeyword(name))


def with_parameters(names: list[str]) -> Function:
    """A function with these parameters."""
    namespace: dict[str, object] = {"Session": Session, "__name__": __name__}
    parameters = ", ".join(f"{name}: str" for name in names)
    told = ", ".join(f"'{name}': {name}" for name in names)
    exec(
        f"async def probe(_first: Session, {parameters}) -> dict[str, str]:\n    return {{{told}}}", namespace
    )  # names of our own
    return declare(namespace["probe"], "query")  # type: ignore[arg-type]  # made by the text


async def test_a_parameter_may_have_any_name() -> None:
    names = [name for name in NAMES if not name.startswith("model_")]
    function = with_parameters(names)
    given = {name: f"the {name}" for name in names}
    for arguments in (Arguments.of_values(given), Arguments.of_texts({name: [text] for name, text in given.items()})):
        assert function.values(arguments.parse(function)) == given
        assert await function.call(None, **function.values(arguments.parse(function))) == given
    application = Application("probe", [])
    application.query(requires=None)(function.call)
    assert {each["name"] for each in application.manifest()["functions"]} >= {"probe"}


def test_names_of_pydantic_are_refused_with_the_reason() -> None:
    for name in [name for name in NAMES if name.startswith("model_")]:
        with pytest.raises(DeclarationError, match=f"{name} is reserved"):
            with_parameters([name])
