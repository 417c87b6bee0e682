"""Permissions and their patterns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import DeclarationError
from freehold.identity.roles import Roles
from freehold.model.permissions import EVERYTHING, narrowed, permits

PARTS = st.sampled_from(["customers", "orders", "list", "update", "*"])
PATTERNS = st.one_of(st.just("*"), st.lists(PARTS, min_size=1, max_size=3).map(".".join))
NAMES = st.lists(st.sampled_from(["customers", "orders", "list", "update"]), min_size=1, max_size=3).map(".".join)


@pytest.mark.parametrize(
    ("granted", "wanted", "permitted"),
    [
        ({"customers.update"}, "customers.update", True),
        ({"customers.update"}, "customers.delete", False),
        ({"customers.*"}, "customers.delete", True),
        ({"customers.*"}, "orders.delete", False),
        ({"customers.*"}, "customers", False),
        ({"customers.*"}, "customers.notes.delete", False),
        ({"*.list"}, "orders.list", True),
        ({"*.list"}, "orders.update", False),
        ({"*"}, "orders.lines.update", True),
        ({"customer"}, "customers", False),
        (set(), "customers.list", False),
    ],
)
def test_what_a_pattern_permits(granted: set[str], wanted: str, permitted: bool) -> None:
    assert permits(frozenset(granted), wanted) is permitted


@given(st.frozensets(PATTERNS, max_size=4), st.frozensets(PATTERNS, max_size=4), NAMES)
def test_scopes_permit_what_both_permit_and_nothing_else(
    granted: frozenset[str], scopes: frozenset[str], wanted: str
) -> None:
    both = permits(granted, wanted) and permits(scopes, wanted)
    assert permits(narrowed(granted, scopes), wanted) is both


def test_a_role_grants_what_was_declared_and_an_unknown_one_nothing() -> None:
    roles = Roles({"admin": ["*"], "sales": ["customers.*"]})
    assert roles.permissions("admin") == EVERYTHING
    assert permits(roles.permissions("sales"), "customers.list")
    assert not permits(roles.permissions("sales"), "orders.list")
    assert roles.permissions("intern") == frozenset()


def test_without_a_declaration_every_role_grants_all() -> None:
    assert Roles().permissions("whatever") == EVERYTHING


@pytest.mark.parametrize(
    ("grants", "told"),
    [
        ({"Admin": ["*"]}, "'Admin' is no role's name"),
        ({"admin": "*"}, "admin: write a list"),
        ({"admin": ["customers."]}, "admin: 'customers.' names no permission"),
        ({"admin": ["Customers.*"]}, "names no permission"),
        ({"admin": [5]}, "admin: 5 names no permission"),
    ],
)
def test_a_wrong_declaration_says_what_to_write(grants: dict[str, list[str]], told: str) -> None:
    with pytest.raises(DeclarationError, match=told.replace("*", r"\*")):
        Roles(grants)
