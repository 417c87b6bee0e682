"""What a run will do, as values and as SQL: the plan that is shown, and the statements around each part."""

from collections.abc import Sequence
from dataclasses import dataclass

from alembic.operations.ops import CreateForeignKeyOp

from freehold.engine.migrations.folder import Revision
from freehold.engine.migrations.mending import Mending
from freehold.engine.migrations.resuming import Taken, made_by
from freehold.engine.migrations.shadow import search_path
from freehold.engine.migrations.state import keep_revision
from freehold.engine.migrations.steps import Group, Step
from freehold.engine.plan import Plan
from freehold.sql.identifiers import literal, quoted

__all__ = ["Work", "made_again", "noted", "script", "session", "shaped"]


@dataclass(frozen=True)
class Work:
    """What a run will do.

    Args:
        direction: up or down.
        revisions: each with its groups and the revision that the database is at afterwards.
        before: what revisions build on and is made first: the engine's own objects.
        mendings: derived objects to make again.
        stamp: the revision that the tables have already, where that is all there is to note.
        notes: what a person should know.
        taken: how the first revision is taken up, where it is half done and cannot simply go on.
        counting: entities whose rows are counted at the end, for counters that have not counted them yet.
    """

    direction: str
    revisions: Sequence[tuple[Revision, Sequence[Group], str | None]] = ()
    before: Sequence[Mending] = ()
    mendings: Sequence[Mending] = ()
    stamp: str | None = None
    notes: Sequence[str] = ()
    taken: Taken | None = None
    counting: Sequence[str] = ()

    @property
    def steps(self) -> list[Step]:
        """All steps of all revisions."""
        return [step for _, groups, _ in self.revisions for group in groups for step in group.steps]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.revisions or self.before or self.mendings or self.stamp or self.counting)

    def with_mendings(self, number: int) -> int | None:
        """The group of the last revision whose transaction makes derived objects again; None for one of their own."""
        if not self.revisions or number != len(self.revisions) - 1:
            return None
        shaping = [g for g in self.revisions[-1][1] if g.transactional and any(s.shapes for s in g.steps)]
        # What is dropped last is not in the new objects: they are there by then.
        made = [g for g in shaping if any(s.shapes and not s.drops for s in g.steps)] or shaping
        return made[-1].number if made else None


def session(plan: Plan) -> list[str]:
    """What a run sets for its session."""
    return [
        "set application_name = 'freehold migrate'",
        "set statement_timeout = 0",
        "set idle_in_transaction_session_timeout = 0",
        "set client_connection_check_interval = '2s'",
        f"set role {quoted(plan.roles.owner)}",
        f"set search_path = {search_path(plan.schemas)}",
    ]


def noted(plan: Plan, revision: Revision, group: Group, direction: str, digest: str | None = None) -> str:
    """The statement that notes a group as done, or as what `digest` says."""
    made = "".join(f", {literal(name)}" for name in made_by(group.steps))[2:]
    return (
        f"insert into {plan.schemas.own('migration_groups')} (revision, direction, number, digest, made) values "
        f"({literal(revision.id)}, {literal(direction)}, {group.number}, {literal(digest or group.digest)}, array[{made}]::text[]) "
        "on conflict (revision, direction, number) do update set digest = excluded.digest, made = excluded.made"
    )


def shaped(plan: Plan, group: Group) -> list[str]:
    """What notes when columns came, after a group that may have made some."""
    return (
        [f"select {plan.schemas.own('note_columns')}()"] if group.manual or any(s.shapes for s in group.steps) else []
    )


def made_again(mendings: Sequence[Mending], plan: Plan) -> list[str]:
    """The statements of mendings, each by whoever may run them."""
    statements: list[str] = []
    for mending in mendings:
        if mending.administrative:
            statements += ["set local role none", *mending.sql, f"set local role {quoted(plan.roles.owner)}"]
        else:
            statements += mending.sql
    return statements


def script(work: Work, plan: Plan) -> str:
    """What a run would do, as SQL for psql. Its last lines note that it was done."""
    lines = [*session(plan)[4:], ""]
    if work.before:
        lines += ["begin", *made_again(work.before, plan), "commit", ""]
    if work.stamp:
        lines += ["begin", *keep_revision(plan.schemas, work.stamp, "stamp"), "commit", ""]
    for number, (revision, groups, after) in enumerate(work.revisions):
        lines.append(f"-- {revision.path.name}: {work.direction}")
        carrier = work.with_mendings(number)
        for group in groups:
            lines += [f"-- {step.change}" + (f" ({step.lock})" if step.lock else "") for step in group.steps]
            for stage in (stage for step in group.steps for stage in step.before):
                lines += ["begin", *stage, "commit"]
            statements = [text for step in group.steps for text in step.sql] + shaped(plan, group)
            if isinstance(group.steps[0].operation, CreateForeignKeyOp):
                statements = ["set local role none", *statements, f"set local role {quoted(plan.roles.owner)}"]
            if group.number == carrier:
                statements[len(statements) :] = made_again(work.mendings, plan)
            lines += ["begin", *statements, "commit", ""] if group.transactional else [*statements, ""]
        if number == len(work.revisions) - 1 and carrier is None and work.mendings:
            lines += ["begin", *made_again(work.mendings, plan), "commit", ""]
        lines += ["begin", *keep_revision(plan.schemas, after, work.direction), "commit", ""]
    if not work.revisions and work.mendings:
        lines += ["begin", *made_again(work.mendings, plan), "commit", ""]
    if work.counting:
        lines.append(f"-- afterwards run 'freehold migrate up': it counts the rows of {', '.join(work.counting)}")
    return (
        "\n".join(line if not line or line.startswith("--") else f"{line.strip().rstrip(';')};" for line in lines)
        + "\n"
    )
