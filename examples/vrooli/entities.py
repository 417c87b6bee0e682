"""What a workspace keeps. Fifteen declarations; everything else comes from them.

Exposed is what every member may read. Resources and people have rules of their own about who finds them: `functions` has queries
that keep to these.

Each organization is a workspace of its own. `User` is Freehold's: who signs in, perhaps to several workspaces. A `Person` is what
one workspace knows of somebody: a handle, a profile, what they made and ran. Some persons are no users: bots, and people who were invited.

The `ClassVar`s are relations as `include` brings them. They declare nothing; they let type checkers know the names.
"""

from datetime import date, datetime, timedelta
from typing import Any, ClassVar, Literal
from uuid import UUID

from freehold import Application, Entity, Index, Unique, counter, field, reference

__all__ = [
    "Bookmark",
    "Chat",
    "Kind",
    "Member",
    "Participant",
    "Permission",
    "Person",
    "PersonDay",
    "Resource",
    "ResourceTranslation",
    "ResourceVersion",
    "Run",
    "RunInput",
    "RunOutput",
    "RunStatus",
    "RunStep",
    "Team",
    "TeamDay",
    "application",
]

EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
HANDLE = "^[a-z0-9_]{3,30}$"

Kind = Literal["routine", "prompt", "code", "data", "note", "project"]
Permission = Literal["members", "resources", "runs", "chats"]
RunStatus = Literal["scheduled", "running", "completed", "failed", "cancelled"]


class Person(Entity, table="people", soft_delete=True):
    """Somebody in the workspace. Handle and email are kept in small letters, so that no two differ only in case."""

    user_id: UUID | None = field(
        default=None,
        unique=True,
        description="who signs in as this person; nobody does as a bot, or before the first visit",
    )
    name: str = field(min_length=1, max_length=100, search=True)
    handle: str = field(max_length=30, pattern=HANDLE, lowercase=True, unique=True, search=True)
    email: str | None = field(default=None, max_length=320, pattern=EMAIL, lowercase=True, unique=True, search=True)
    is_public: bool = field(default=False, index=True)
    is_bot: bool = field(default=False)
    about: str | None = field(default=None, max_length=2_000)

    memberships: ClassVar[tuple["Member", ...]]
    resources: ClassVar[tuple["Resource", ...]]
    days: ClassVar[tuple["PersonDay", ...]]


class Team(Entity, soft_delete=True, expose=["list", "get", "history"]):
    """People who work together. What it made outlives it."""

    creator_id: UUID | None = reference(Person, on_delete="set_null", default=None, reverse="teams_created")
    name: str = field(min_length=1, max_length=100, search=True)
    handle: str = field(max_length=30, pattern=HANDLE, lowercase=True, unique=True, search=True)
    is_open: bool = field(default=False, description="whether anybody may join")

    creator: ClassVar[Person | None]
    members: ClassVar[tuple["Member", ...]]
    members_count: ClassVar[int]
    chats: ClassVar[tuple["Chat", ...]]
    days: ClassVar[tuple["TeamDay", ...]]


class Member(Entity, soft_delete=True, unique=[Unique("team_id", "person_id")]):
    """A person's place in a team. It goes with either of the two, and comes back with them."""

    team_id: UUID = reference(Team, on_delete="cascade")
    person_id: UUID = reference(Person, on_delete="cascade", reverse="memberships")
    is_admin: bool = field(default=False)
    permissions: list[Permission] = field(default_factory=list, max_length=10)

    team: ClassVar[Team]
    person: ClassVar[Person]


class Chat(Entity, soft_delete=True, unique=[Unique("team_id", where={"is_default": True})]):
    """A conversation. Each team has one default chat at most."""

    team_id: UUID | None = reference(Team, on_delete="cascade", default=None)
    name: str = field(min_length=1, max_length=100)
    is_default: bool = field(default=False)

    team: ClassVar[Team | None]
    participants: ClassVar[tuple["Participant", ...]]


class Participant(Entity, soft_delete=True, unique=[Unique("chat_id", "person_id")]):
    """A person's place in a chat."""

    chat_id: UUID = reference(Chat, on_delete="cascade")
    person_id: UUID = reference(Person, on_delete="cascade", reverse="conversations")

    chat: ClassVar[Chat]
    person: ClassVar[Person]


class Resource(Entity, soft_delete=True, indexes=[Index("kind", "created_at"), Index("created_at")]):
    """Something that is shared and run: a routine, a prompt, a note. Its texts are in its translations, its contents in its versions.

    Where the creator or the team goes, it stays. Versions, translations and runs are no less there while it is deleted: they stay
    with it, and go with it for good when it is purged.
    """

    creator_id: UUID | None = reference(Person, on_delete="set_null", default=None, reverse="resources")
    team_id: UUID | None = reference(Team, on_delete="set_null", default=None)
    kind: Kind = field(immutable=True)
    is_public: bool = field(default=False)
    score: int = field(default=0)
    views: int = field(default=0, ge=0)
    bookmarks: int = counter(of="Bookmark")

    creator: ClassVar[Person | None]
    team: ClassVar[Team | None]
    translations: ClassVar[tuple["ResourceTranslation", ...]]
    versions: ClassVar[tuple["ResourceVersion", ...]]
    versions_count: ClassVar[int]


class ResourceTranslation(Entity, unique=[Unique("resource_id", "language")]):
    """What a resource is called and said to be, in one language."""

    resource_id: UUID = reference(Resource, on_delete="cascade", reverse="translations")
    language: str = field(max_length=10, pattern="^[a-z]{2}(-[a-z]{2,8})?$", lowercase=True, immutable=True)
    name: str = field(min_length=1, max_length=200, search=True)
    description: str | None = field(default=None, max_length=5_000, search=True)

    resource: ClassVar[Resource]


class ResourceVersion(
    Entity,
    unique=[Unique("resource_id", "label"), Unique("resource_id", where={"is_latest": True})],
):
    """What a resource was at one of its releases. One is the latest."""

    resource_id: UUID = reference(Resource, on_delete="cascade", reverse="versions")
    label: str = field(max_length=20, pattern=r"^\d+\.\d+\.\d+$", immutable=True)
    is_latest: bool = field(default=False)
    notes: str | None = field(default=None, max_length=5_000)
    content: dict[str, Any] = field(default_factory=dict)

    resource: ClassVar[Resource]


class Bookmark(Entity, soft_delete=True, unique=[Unique("resource_id", "person_id")], indexes=[Index("created_at")]):
    """A resource that a person wants to find again."""

    resource_id: UUID = reference(Resource, on_delete="cascade", reverse="bookmarked")
    person_id: UUID = reference(Person, on_delete="cascade", reverse="bookmarks")

    resource: ClassVar[Resource]
    person: ClassVar[Person]


class Run(
    Entity,
    expose=["list", "get", "history", "aggregate"],
    indexes=[Index("status", "created_at")],
    checks={
        "ended_when_over": "(ended_at is not null) = (status in ('completed', 'failed', 'cancelled'))",
        "scheduled_for_a_time": "status <> 'scheduled' or scheduled_for is not null",
        "ended_after_start": "ended_at is null or started_at is null or ended_at >= started_at",
    },
):
    """One execution of a version of a resource, now or at a time to come."""

    resource_version_id: UUID = reference(ResourceVersion, on_delete="cascade", immutable=True)
    starter_id: UUID = reference(Person, on_delete="cascade", immutable=True)
    team_id: UUID | None = reference(Team, on_delete="set_null", default=None)
    status: RunStatus = field(default="running")
    scheduled_for: datetime | None = field(default=None, index=True)
    started_at: datetime | None = field(default=None)
    ended_at: datetime | None = field(default=None)
    took: timedelta | None = field(default=None)

    resource_version: ClassVar[ResourceVersion]
    starter: ClassVar[Person]
    team: ClassVar[Team | None]
    steps: ClassVar[tuple["RunStep", ...]]
    inputs: ClassVar[tuple["RunInput", ...]]
    outputs: ClassVar[tuple["RunOutput", ...]]


class RunStep(Entity, unique=[Unique("run_id", "position")], expose={"list": "runs.list", "get": "runs.get"}):
    """One step of a run."""

    run_id: UUID = reference(Run, on_delete="cascade", reverse="steps")
    position: int = field(ge=1, immutable=True)
    name: str = field(min_length=1, max_length=200)
    status: Literal["pending", "running", "completed", "failed", "skipped"] = field(default="pending")


class RunInput(Entity, unique=[Unique("run_id", "name")], expose={"list": "runs.list", "get": "runs.get"}):
    """A named value that a run was given."""

    run_id: UUID = reference(Run, on_delete="cascade", reverse="inputs")
    name: str = field(min_length=1, max_length=100, immutable=True)
    data: dict[str, Any] = field(default_factory=dict)


class RunOutput(Entity, unique=[Unique("run_id", "name")], expose={"list": "runs.list", "get": "runs.get"}):
    """A named value that a run gave back."""

    run_id: UUID = reference(Run, on_delete="cascade", reverse="outputs")
    name: str = field(min_length=1, max_length=100, immutable=True)
    data: dict[str, Any] = field(default_factory=dict)


class PersonDay(Entity, unique=[Unique("person_id", "day")]):
    """What a person did on one day, in UTC."""

    person_id: UUID = reference(Person, on_delete="cascade", reverse="days", immutable=True)
    day: date = field(immutable=True, index=True)
    teams_created: int = field(default=0, ge=0)
    resources_created: int = field(default=0, ge=0)
    resources_deleted: int = field(default=0, ge=0)
    runs_started: int = field(default=0, ge=0)
    runs_ended: int = field(default=0, ge=0)
    runs_cancelled: int = field(default=0, ge=0)


class TeamDay(Entity, unique=[Unique("team_id", "day")], expose=["list", "get", "aggregate"]):
    """What a team did on one day, in UTC."""

    team_id: UUID = reference(Team, on_delete="cascade", reverse="days", immutable=True)
    day: date = field(immutable=True, index=True)
    members_joined: int = field(default=0, ge=0)
    resources_created: int = field(default=0, ge=0)
    resources_deleted: int = field(default=0, ge=0)
    runs_started: int = field(default=0, ge=0)
    runs_ended: int = field(default=0, ge=0)
    runs_cancelled: int = field(default=0, ge=0)


application = Application(
    "vrooli",
    [
        Person,
        Team,
        Member,
        Chat,
        Participant,
        Resource,
        ResourceTranslation,
        ResourceVersion,
        Bookmark,
        Run,
        RunStep,
        RunInput,
        RunOutput,
        PersonDay,
        TeamDay,
    ],
)
