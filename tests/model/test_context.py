"""Contexts and ids."""

import dataclasses
import json
import time
from typing import Any
from uuid import UUID, uuid4

import pytest

from freehold import Context, errors
from freehold.model.context import new_id

ORGANIZATION = UUID("01a1f900-0000-7000-8000-000000000001")


def test_ids_are_version_7_in_order_of_time() -> None:
    made = [new_id() for _ in range(1000)]
    assert all(type(id) is UUID and id.version == 7 and id.variant == "specified in RFC 4122" for id in made)
    assert len(set(made)) == 1000
    stamps = [id.int >> 80 for id in made]
    assert stamps == sorted(stamps)
    assert abs((made[0].int >> 80) - time.time() * 1000) < 60_000


def test_a_context_is_frozen() -> None:
    context = Context(ORGANIZATION)
    with pytest.raises(dataclasses.FrozenInstanceError):
        context.organization_id = uuid4()  # type: ignore[misc]


def test_each_context_has_a_request_of_its_own() -> None:
    assert Context(ORGANIZATION).request_id != Context(ORGANIZATION).request_id


def test_without_an_organization_there_is_none() -> None:
    with pytest.raises(errors.IsolationError, match=r"needs an organization.*\[FH301\]"):
        Context(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("organization_id", str(ORGANIZATION)),
        ("organization_id", 5),
        ("user_id", str(ORGANIZATION)),
        ("role", None),
        ("role", 5),
        ("role", "x" * 101),
        ("role", "a\x00"),
        ("role", "\ud800"),
        ("request_id", None),
        ("request_id", "x" * 201),
        ("request_id", "\ud800"),
        ("client_ip", "x" * 46),
        ("client_ip", 127),
        ("user_agent", b"x"),
        ("permissions", "orders.read"),
        ("permissions", None),
        ("permissions", 5),
        ("permissions", {1}),
        ("permissions", [["orders.read"]]),
    ],
)
def test_a_wrong_value_is_told_by_name(name: str, value: Any) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        Context(**{"organization_id": ORGANIZATION, name: value})
    assert [issue.path[0] for issue in caught.value.issues] == [name]


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(errors.ValidationError) as caught:
        Context("x", user_id=5, role=None, permissions="y")  # type: ignore[arg-type]
    assert {issue.field for issue in caught.value.issues} == {"organization_id", "user_id", "role", "permissions"}


@pytest.mark.parametrize("agent", ["x" * 10_000, "a\x00b", "\ud800", "\udfff\x00" * 600])
def test_a_strange_user_agent_is_mended(agent: str) -> None:
    context = Context(ORGANIZATION, user_agent=agent)
    assert len(context.user_agent or "") <= 512
    assert "\x00" not in (context.user_agent or "")
    assert json.loads(context.as_setting)["user_agent"] == context.user_agent


def test_the_setting_tells_what_the_log_needs_and_no_more() -> None:
    user = uuid4()
    context = Context(ORGANIZATION, user, "admin", frozenset({"a"}), "r1", "192.0.2.1", 'agent "1"')
    assert json.loads(context.as_setting) == {
        "user_id": str(user),
        "role": "admin",
        "request_id": "r1",
        "client_ip": "192.0.2.1",
        "user_agent": 'agent "1"',
    }
    assert set(json.loads(Context(ORGANIZATION).as_setting)) == {"role", "request_id"}


def test_permissions_become_a_set() -> None:
    assert Context(ORGANIZATION, permissions=["a", "b", "a"]).permissions == frozenset({"a", "b"})  # type: ignore[arg-type]
