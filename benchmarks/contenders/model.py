"""The record as the peers return it: a Pydantic model with the fields of the entity; and the edits that all make."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, TypeAdapter

from benchmarks.world import Known

PAGE = 50


class CustomerModel(BaseModel):
    """A customer in a hand-written application: the same fields and types as `benchmarks.entities.Customer`."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: UUID
    organization_id: UUID
    name: str
    email: str | None
    phone: str | None
    status: Literal["prospect", "active", "inactive"]
    kind: Literal["person", "company"]
    industry: str | None
    credit: Decimal
    lifetime_value: Decimal
    payment_days: int
    website: str | None
    notes: str | None
    tags: list[str]
    newsletter: bool
    last_order_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime
    created_by: UUID | None
    updated_by: UUID | None
    deleted_at: datetime | None


FIELDS = tuple(CustomerModel.model_fields)
CUSTOMERS = TypeAdapter(list[CustomerModel])


@dataclass(slots=True)
class Edit:
    """An update to make: of which customer, from the version that it is known to have, to which credit."""

    customer: Known
    credit: Decimal

    @property
    def id(self) -> UUID:
        return self.customer.id

    @property
    def version(self) -> int:
        return self.customer.version
