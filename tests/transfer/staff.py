"""An entity whose records refer to each other by a unique field."""

from typing import ClassVar
from uuid import UUID

from freehold import Entity, field, reference


class Employee(Entity):
    name: str = field(max_length=60, unique=True)
    handle: str | None = field(default=None, max_length=60, unique=True, lowercase=True)
    manager_id: UUID | None = reference("self", default=None, on_delete="set_null", reverse="reports")

    manager: ClassVar["Employee | None"]
