"""What is asked of runs."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from examples.vrooli.entities import Run, RunStatus
from freehold import Group, Include, Page, Repository, Session

__all__ = ["Runs", "StatusChange"]


@dataclass(frozen=True)
class StatusChange:
    """A moment at which a run's status changed.

    Args:
        at: when.
        before: the status before; None when the run began.
        after: the status from then on.
        version: the run's version from then on.
        actor_id: the user on whose behalf it was changed.
    """

    at: datetime
    before: RunStatus | None
    after: RunStatus
    version: int
    actor_id: UUID | None


class Runs(Repository[Run, Session]):
    """Named queries of runs."""

    async def active(
        self, *, starter_id: UUID | None = None, team_id: UUID | None = None, limit: int = 50, after: str | None = None
    ) -> Page[Run]:
        """Runs that are scheduled or running, the oldest first, with what they run.

        Args:
            starter_id, team_id: only this person's, or this team's.
            limit: runs at most.
            after: the `next` cursor of the page before this one.
        """
        asked = {"starter_id": starter_id, "team_id": team_id}
        return await self.list(
            where={"status": {"in": ["scheduled", "running"]}} | {name: id for name, id in asked.items() if id},
            order_by="created_at",
            limit=limit,
            after=after,
            include={"resource_version": True},
            with_total=True,
        )

    async def details(self, id: UUID) -> Run | None:
        """A run with who started it, what it runs, its steps in order, its inputs and its outputs: one statement."""
        return await self.find(
            {"id": id},
            include={
                "starter": True,
                "team": True,
                "resource_version": Include(include={"resource": True}),
                "steps": Include(order_by="position", limit=1_000),
                "inputs": Include(order_by="name", limit=1_000),
                "outputs": Include(order_by="name", limit=1_000),
            },
        )

    async def status_changes(self, id: UUID) -> tuple[StatusChange, ...]:
        """Each change of a run's status with its moment, the first one first: from the log, so that no writer could forget it."""
        found: list[StatusChange] = []
        before = None
        while True:
            changes = await self.session.history((Run, id), limit=1_000, before=before)
            found += [
                StatusChange(change.at, *change.diff["status"], change.version, change.actor_id)
                for change in changes
                if "status" in change.diff and change.action != "delete"
            ]
            if len(changes) < 1_000:
                return tuple(reversed(found))
            before = changes[-1].position

    async def statistics(
        self, *, since: datetime | None = None, team_id: UUID | None = None, resource_id: UUID | None = None
    ) -> tuple[Group, ...]:
        """How many runs there are of each status, and how long they took: on average, least and most.

        Args:
            since: only runs that were made since.
            team_id, resource_id: only runs of this team, or of this resource.
        """
        asked = {
            "created_at": {"gte": since} if since else None,
            "team_id": team_id,
            "resource_version.resource_id": resource_id,
        }
        return await self.session.aggregate(
            Run,
            group_by=["status"],
            avg=["took"],
            min=["took"],
            max=["took"],
            where={name: condition for name, condition in asked.items() if condition is not None},
        )
