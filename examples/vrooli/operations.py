"""What is done in a workspace. Each operation is one transaction: all of it happens, or nothing.

Its records travel as one unit of work, in one message; what depends on what others do meanwhile is read under locks. Who may
do what is decided by who calls: a person is an argument here, the organization never is.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

from examples.vrooli.changes import Changed, what_changed
from examples.vrooli.days import Tally
from examples.vrooli.entities import (
    Chat,
    Kind,
    Member,
    Participant,
    Person,
    Resource,
    ResourceTranslation,
    ResourceVersion,
    Run,
    RunInput,
    RunOutput,
    RunStep,
    Team,
    TeamDay,
)
from freehold import Entity, Session, Transaction
from freehold.errors import ValidationError

__all__ = [
    "Removal",
    "create_resource",
    "create_team",
    "delete_resources",
    "edit_resource",
    "end_run",
    "start_run",
    "view",
]

EntityT = TypeVar("EntityT", bound=Entity)


@dataclass(frozen=True)
class Removal:
    """What a deletion of resources did.

    Args:
        resources: as they are now.
        cancelled: the runs that it cancelled.
    """

    resources: tuple[Resource, ...]
    cancelled: tuple[Run, ...]


async def create_resource(
    session: Session,
    *,
    creator: Person,
    kind: Kind,
    name: str,
    description: str | None = None,
    language: str = "en",
    content: Mapping[str, Any] | None = None,
    team: Team | None = None,
    is_public: bool = False,
    at: datetime,
) -> Resource:
    """Creates a resource with its first translation and its first version.

    Args:
        session: of the workspace.
        creator: who makes it.
        kind: what it is.
        name, description, language: its first translation.
        content: of version 1.0.0.
        team: that it is of; None for the creator's own.
        is_public: whether everybody in the workspace finds it.
        at: when.
    """
    tally = Tally(at)
    tally.add(person=creator.id, team=_id(team), resources_created=1)
    async with _together(session) as transaction:
        async with transaction.unit_of_work() as unit:
            resource = unit.add(Resource, creator_id=creator.id, team_id=_id(team), kind=kind, is_public=is_public)
            unit.add(
                ResourceTranslation, resource_id=resource.id, language=language, name=name, description=description
            )
            unit.add(
                ResourceVersion, resource_id=resource.id, label="1.0.0", is_latest=True, content=dict(content or {})
            )
        await tally.save(transaction)
    return resource


async def create_team(
    session: Session, *, creator: Person, name: str, handle: str, members: Iterable[Person] = (), at: datetime
) -> Team:
    """Creates a team with its members, its default chat with all of them in it, and its first figures.

    Args:
        session: of the workspace.
        creator: becomes a member and the administrator.
        name, handle: of the team.
        members: who else; the creator, or one twice, does no harm.
        at: when.
    """
    others = {person.id for person in members} - {creator.id}
    tally = Tally(at)
    tally.add(person=creator.id, teams_created=1)
    async with _together(session) as transaction:
        async with transaction.unit_of_work() as unit:
            team = unit.add(Team, creator_id=creator.id, name=name, handle=handle)
            chat = unit.add(Chat, team_id=team.id, name="General", is_default=True)
            everything = ["members", "resources", "runs", "chats"]
            unit.add(Member, team_id=team.id, person_id=creator.id, is_admin=True, permissions=everything)
            unit.add(Participant, chat_id=chat.id, person_id=creator.id)
            for id in others:
                unit.add(Member, team_id=team.id, person_id=id, permissions=["runs", "chats"])
                unit.add(Participant, chat_id=chat.id, person_id=id)
            # Nobody else can have been first: the team is new.
            unit.add(TeamDay, team_id=team.id, day=tally.day, members_joined=1 + len(others))
        await tally.save(transaction)
    return team


async def start_run(
    session: Session,
    version: ResourceVersion,
    *,
    starter: Person,
    team: Team | None = None,
    steps: Sequence[str] = (),
    inputs: Mapping[str, Mapping[str, Any]] | None = None,
    scheduled_for: datetime | None = None,
    at: datetime,
) -> Run:
    """Starts a run, or schedules it, with its steps and inputs, and counts it.

    Args:
        session: of the workspace.
        version: what is run.
        starter: who runs it.
        team: for which it is run.
        steps: their names, in order.
        inputs: documents by name.
        scheduled_for: a time to come; None to run now.
        at: when it is started, or scheduled.

    Raises:
        NotFoundError: the resource is deleted.
    """
    begun: dict[str, Any] = {"status": "running", "started_at": at}
    if scheduled_for is not None:
        begun = {"status": "scheduled", "scheduled_for": scheduled_for}
    tally = Tally(at)
    tally.add(person=starter.id, team=_id(team), runs_started=1)
    async with _together(session) as transaction:
        async with transaction.unit_of_work() as unit:
            run = unit.add(Run, resource_version_id=version.id, starter_id=starter.id, team_id=_id(team), **begun)
            for position, name in enumerate(steps, 1):
                unit.add(RunStep, run_id=run.id, position=position, name=name)
            for name, data in (inputs or {}).items():
                unit.add(RunInput, run_id=run.id, name=name, data=dict(data))
        # Not before: the new run holds its version, so that a deletion that has not come so far waits and cancels it.
        await transaction.get(Resource, version.resource_id)
        await tally.save(transaction)
    return run


async def end_run(
    session: Session,
    run: Run,
    *,
    status: Literal["completed", "failed"],
    outputs: Mapping[str, Mapping[str, Any]] | None = None,
    at: datetime,
) -> Changed:
    """Ends a run with its outputs, and counts it.

    Args:
        session: of the workspace.
        run: as it was read.
        status: how it ended.
        outputs: documents by name.
        at: when.

    Raises:
        ConcurrencyError: it has changed since; it may have been cancelled.
        ValidationError: it does not run.
    """
    if run.status != "running":
        raise ValidationError.single(
            ("status",), f"is {run.status}; only a run that is running ends", "not_running", subject="Run"
        )
    tally = Tally(at)
    tally.add(person=run.starter_id, team=run.team_id, runs_ended=1)
    async with _together(session) as transaction:
        async with transaction.unit_of_work() as unit:
            unit.update(run, status=status, ended_at=at, took=at - (run.started_at or at))
            for name, data in (outputs or {}).items():
                unit.add(RunOutput, run_id=run.id, name=name, data=dict(data))
        event = await what_changed(transaction, run)
        await tally.save(transaction)
        return event


async def edit_resource(session: Session, resource: Resource, **changes: Any) -> Changed:
    """Changes a resource, and tells which fields changed.

    Args:
        session: of the workspace.
        resource: as it was read.
        changes: the fields that change.

    Raises:
        ConcurrencyError: it has changed since.
    """
    async with _together(session) as transaction:
        return await what_changed(transaction, await transaction.update(resource, **changes))


async def view(session: Session, resource: Resource) -> None:
    """Counts a view. It makes no version, and nobody waits for it: what many see at once is written together.

    Args:
        session: of the workspace.
        resource: that was seen.

    Raises:
        NotFoundError: it is deleted.
    """
    await session.increment(Resource, resource.id, views=1)


async def delete_resources(session: Session, resources: Iterable[Resource], *, by: Person, at: datetime) -> Removal:
    """Deletes resources, cancels their runs that are scheduled or running, and counts both. They can be restored; runs stay cancelled.

    Args:
        session: of the workspace.
        resources: as they were read; at most 1,000.
        by: who deletes them.
        at: when.

    Raises:
        ConcurrencyError, CommitError: some have changed since; then none is deleted.
    """
    expected = {resource.id: resource for resource in resources}
    ids: list[UUID] = list(expected)
    tally = Tally(at)
    async with _together(session) as transaction:
        # From here on nobody adds a version, then nobody a run of one; those that come in between are seen.
        await _held(transaction, Resource, {"id": {"in": ids}})
        await _held(transaction, ResourceVersion, {"resource_id": {"in": ids}})
        active = {"resource_version.resource_id": {"in": ids}, "status": {"in": ["scheduled", "running"]}}
        runs = await _held(transaction, Run, active)
        async with transaction.unit_of_work() as unit:
            for resource in expected.values():
                unit.delete(resource)
                tally.add(person=by.id, team=resource.team_id, resources_deleted=1)
            for run in runs:
                unit.update(run, status="cancelled", ended_at=max(at, run.started_at or at))
                tally.add(person=run.starter_id, team=run.team_id, runs_cancelled=1)
        await tally.save(transaction)
    return Removal(tuple(expected.values()), tuple(runs))


@asynccontextmanager
async def _together(session: Session) -> AsyncIterator[Transaction]:
    """A transaction of the operation's own; or the one that the caller is in, which ends it."""
    if isinstance(session, Transaction):
        yield session
    else:
        async with session.transaction() as transaction:
            yield transaction


def _id(team: Team | None) -> UUID | None:
    return None if team is None else team.id


async def _held(transaction: Transaction, entity: type[EntityT], where: Mapping[str, Any]) -> list[EntityT]:
    """All records that match, in order of their ids, locked until the transaction ends."""
    found: list[EntityT] = []
    cursor = None
    while True:
        page = await transaction.list(entity, where=where, limit=1_000, after=cursor, for_update=True)
        found += page
        cursor = page.next
        if cursor is None:
            return found
