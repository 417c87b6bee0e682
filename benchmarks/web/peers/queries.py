"""The statements that both peers with asyncpg run, and the cursors of all Python peers' pages."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from benchmarks.contenders.model import FIELDS
from benchmarks.web.entities import METRICS as NAMED_METRICS
from benchmarks.web.peers.model import CustomerCreate, CustomerPatch, CustomerQuery

__all__ = ["CREATE", "GET", "METRICS", "VERSION", "cursor", "given", "page", "patch", "position"]

COLUMNS = ", ".join(FIELDS)
GIVEN = tuple(CustomerCreate.model_fields)
GET = f"select {COLUMNS} from app.customers where organization_id = $1 and id = $2 and deleted_at is null"
VERSION = "select version from app.customers where organization_id = $1 and id = $2 and deleted_at is null"
# The organization, who made it, and the version come from the columns' defaults, as for everybody.
CREATE = f"""
    insert into app.customers ({", ".join(GIVEN)})
    values ({", ".join(f"${place}" for place in range(1, len(GIVEN) + 1))}) returning {COLUMNS}"""
METRICS = NAMED_METRICS.replace(":since", "$1")


def given(customer: CustomerCreate) -> list[Any]:
    """The parameters of `CREATE`."""
    return [getattr(customer, name) for name in GIVEN]


def page(organization_id: UUID, query: CustomerQuery) -> tuple[str, Sequence[Any]]:
    """The statement of a page, and its parameters. The limit stands in the text: as a parameter it would have the
    server plan the statement anew for every call."""
    conditions = ["organization_id = $1", "deleted_at is null"]
    parameters: list[Any] = [organization_id]
    if query.status is not None:
        parameters.append(query.status)
        conditions.append(f"status = ${len(parameters)}")
    down = query.order.startswith("-")
    if query.after is not None:
        parameters += position(query.after)
        sign = "<" if down else ">"
        conditions.append(f"(created_at, id) {sign} (${len(parameters) - 1}, ${len(parameters)})")
    way = "desc" if down else "asc"
    return (
        f"select {COLUMNS} from app.customers where {' and '.join(conditions)} "
        f"order by created_at {way}, id {way} limit {query.limit}",
        parameters,
    )


def patch(
    organization_id: UUID, customer_id: UUID, version: int, user_id: UUID, changes: CustomerPatch
) -> tuple[str, Sequence[Any]]:
    """The statement that changes what was given, from an expected version, and its parameters."""
    names = [name for name in GIVEN if name in changes.model_fields_set]
    changed = "".join(f"{name} = ${place}, " for place, name in enumerate(names, start=5))
    return (
        f"update app.customers set {changed}version = version + 1, updated_at = now(), updated_by = $4 "
        f"where organization_id = $1 and id = $2 and version = $3 and deleted_at is null returning {COLUMNS}",
        [organization_id, customer_id, version, user_id, *(getattr(changes, name) for name in names)],
    )


def cursor(created_at: datetime, customer_id: UUID) -> str:
    """Where the next page begins."""
    return urlsafe_b64encode(f"{created_at.isoformat()} {customer_id}".encode()).decode()


def position(text: str) -> tuple[datetime, UUID]:
    """What a cursor says.

    Raises:
        ValueError: it is none.
    """
    created_at, _, customer_id = urlsafe_b64decode(text).decode().partition(" ")
    return datetime.fromisoformat(created_at), UUID(customer_id)
