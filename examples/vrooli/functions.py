"""What a workspace offers over HTTP beside its records: the operations, on behalf of whoever calls.

A person is an argument of an operation. Here it never is one: the caller is the person of the workspace as whom the verified user
signs in.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from examples.vrooli import operations
from examples.vrooli.entities import Kind, Person, Resource, ResourceVersion, Run, Team, application
from examples.vrooli.resources import Resources, Trending
from examples.vrooli.runs import Runs
from freehold import Page, Rate, Session, Transaction
from freehold.errors import ConcurrencyError, ForbiddenError, NotFoundError

__all__ = ["FoundResource", "active", "add", "end", "find", "start", "trending", "view"]

Most = Annotated[int, Field(ge=1, le=100)]
Documents = Annotated[dict[str, dict[str, Any]], Field(max_length=100)]


class FoundResource(BaseModel):
    """A public resource that a search found, by its translation that matches best."""

    model_config = ConfigDict(frozen=True)
    id: UUID
    kind: Kind
    language: str
    name: str
    parts: list[str]


@application.query(name="resources.trending", cache=60)
async def trending(
    session: Session, days: Annotated[int, Field(ge=1, le=365)] = 7, language: str = "en", most: Most = 10
) -> list[Trending]:
    """Public resources that were made or bookmarked lately, by score, bookmarks gained and views.

    Args:
        days: how far back.
        language: of the names.
        most: so many at most.
    """
    return list(await Resources(session).trending(days=days, now=_now(), language=language, most=most))


@application.query(name="resources.search")
async def find(
    session: Session, text: Annotated[str, Field(min_length=1, max_length=1_000)], most: Most = 20
) -> list[FoundResource]:
    """Public resources in one of whose translations all words are found, the best first.

    Args:
        text: words, or their beginnings.
        most: so many at most.
    """
    return [
        FoundResource(
            id=found.resource.id,
            kind=found.resource.kind,
            language=found.translation.language,
            name=found.translation.name,
            parts=[fragment.text for fragment in found.fragments],
        )
        for found in await Resources(session).search(text, most=most)
    ]


@application.query(name="runs.active")
async def active(session: Session, mine: bool = False, limit: Most = 50, after: str | None = None) -> Page[Run]:
    """Runs that are scheduled or running, the oldest first, with what they run.

    Args:
        mine: only those that the caller has started.
        limit: so many at most.
        after: the cursor of the page before this one.
    """
    starter = (await _caller(session)).id if mine else None
    return await Runs(session).active(starter_id=starter, limit=limit, after=after)


@application.command(name="resources.add", attempts=3)
async def add(
    transaction: Transaction,
    kind: Kind,
    name: str,
    description: str | None = None,
    language: str = "en",
    content: dict[str, Any] | None = None,
    team_id: UUID | None = None,
    is_public: bool = False,
) -> Resource:
    """Creates a resource of the caller's, with its first translation and its first version.

    Args:
        kind: what it is.
        name: in the language.
        description: in the language.
        language: of both.
        content: of version 1.0.0.
        team_id: that it is of; by default the caller's own.
        is_public: whether everybody in the workspace finds it.
    """
    team = None if team_id is None else await transaction.get(Team, team_id)
    return await operations.create_resource(
        transaction,
        creator=await _caller(transaction),
        kind=kind,
        name=name,
        description=description,
        language=language,
        content=content,
        team=team,
        is_public=is_public,
        at=_now(),
    )


@application.command(name="resources.view", idempotent=False, rate_limit=Rate(600, per=60, by="actor"))
async def view(transaction: Transaction, id: UUID) -> None:
    """Counts a view of a resource that the caller finds.

    Args:
        id: the resource's.
    """
    await operations.view(transaction, await _readable(transaction, id))


@application.command(name="runs.start", attempts=3)
async def start(
    transaction: Transaction,
    resource_version_id: UUID,
    steps: Annotated[list[str], Field(max_length=1_000)] = [],  # noqa: B006  # the parameters' model copies it
    inputs: Documents = {},  # noqa: B006
) -> Run:
    """Starts a run of a version of a resource that the caller finds, and counts it.

    Args:
        resource_version_id: what is run.
        steps: their names, in order.
        inputs: documents by name.
    """
    version = await transaction.get(ResourceVersion, resource_version_id)
    await _readable(transaction, version.resource_id)
    caller = await _caller(transaction)
    return await operations.start_run(transaction, version, starter=caller, steps=steps, inputs=inputs, at=_now())


@application.command(name="runs.end", attempts=3)
async def end(
    transaction: Transaction,
    id: UUID,
    version: int,
    status: Literal["completed", "failed"],
    outputs: Documents = {},  # noqa: B006
) -> Run:
    """Ends a run that the caller has started, with its outputs.

    Args:
        id: the run's.
        version: the one that was seen.
        status: how it ended.
        outputs: documents by name.
    """
    run = await transaction.get(Run, id)
    if run.starter_id != (await _caller(transaction)).id:
        raise ForbiddenError("only who has started a run ends it", hint="ask them, or an administrator")
    if run.version != version:
        raise ConcurrencyError("Run", id, expected=version, actual=run.version, current=run)
    await operations.end_run(transaction, run, status=status, outputs=outputs, at=_now())
    return run


async def _caller(session: Session) -> Person:
    """The person as whom the verified user signs in.

    Raises:
        ForbiddenError: there is none in this workspace.
    """
    user_id = session.context.user_id
    person = None if user_id is None else await session.find(Person, {"user_id": user_id})
    if person is None:
        raise ForbiddenError("you are no person of this workspace", hint="ask somebody to invite you")
    return person


async def _readable(session: Session, id: UUID) -> Resource:
    """A resource that is public, or the caller's own.

    Raises:
        NotFoundError: it is not there, or somebody else's (the same answer).
    """
    resource = await session.get(Resource, id)
    if not resource.is_public and resource.creator_id != (await _caller(session)).id:
        raise NotFoundError("Resource", id)
    return resource


def _now() -> datetime:
    return datetime.now(UTC)
