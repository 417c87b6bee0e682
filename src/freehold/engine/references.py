"""What keeps a live record from referring to a softly deleted one: triggers on both ends of each reference.

A foreign key only knows whether a row exists, and a softly deleted row does. So the end that refers has triggers that look at
`deleted_at` of what it refers to, when a reference is set and when a record is restored. The end that is referred to has a
trigger that looks whether live records still refer to what was deleted.

Two transactions that meet, one that deletes a record and one that refers to it, serialise on the record's row. The foreign key
(or the trigger, where a restored record brings its reference back) takes FOR KEY SHARE on it. The deletion takes FOR UPDATE, in
`follow_deletion` or at its end in the trigger. Whichever comes second waits, and then reads what the first one committed: a
reference finds `deleted_at` set, a deletion finds the reference. Under REPEATABLE READ the reference takes FOR SHARE, which fails
where the row has changed since the snapshot. A deletion under REPEATABLE READ does not see references that were committed since
its snapshot: that is a known limit (docs/guide/transactions.md).

Deletions and restorations are looked at when the transaction ends, because what goes along with a record is marked after the record
itself, one level after the other. So raw SQL, which marks one record and nothing else, is held to the same. A record that cascades and
cannot be deleted softly stays with what it belongs to.
"""

from freehold.model.description import EntityDescription, constraint_name
from freehold.model.registry import Registry, Relation
from freehold.sql.identifiers import Schemas, literal, quoted

__all__ = ["REFERENCE_TRIGGERS", "reference_drops", "reference_objects"]

REFERENCE_TRIGGERS = ("refer_create", "refer_update", "refer_restore", "refer_delete")
"""The triggers, which are called like their functions without the table."""

_HEAD = "returns trigger language plpgsql volatile as $freehold$"


def reference_objects(entity: EntityDescription, schemas: Schemas, registry: Registry) -> list[str]:
    """The statements that make the triggers of an entity's table, or take away those that it no longer needs; repeatable."""
    related = registry.relations[entity.name].values()
    outward = [each for each in related if not each.many and each.target.soft_delete]
    inward = [each for each in related if each.many and _holds(each)] if entity.soft_delete else []
    statements = []
    statements += _made(entity, schemas, "refer_create", _created(entity, schemas, outward), outward)
    statements += _made(entity, schemas, "refer_update", _updated(entity, schemas, outward), outward)
    restorable = outward if entity.soft_delete else []
    statements += _made(entity, schemas, "refer_restore", _restored(entity, schemas, outward), restorable)
    statements += _made(entity, schemas, "refer_delete", _deleted(entity, schemas, inward), inward)
    return statements


def reference_drops(entity: EntityDescription, schemas: Schemas) -> list[str]:
    """The statement that takes all of them away; the table may be gone already."""
    functions = ", ".join(f"{schemas.own(f'{entity.table}_{name}')}()" for name in REFERENCE_TRIGGERS)
    return [f"drop function if exists {functions} cascade"]


def _holds(relation: Relation) -> bool:
    """Whether a live record of the other end may not refer to a deleted one."""
    return relation.target.soft_delete or relation.field.declaration.on_delete != "cascade"


def _made(
    entity: EntityDescription, schemas: Schemas, name: str, made: tuple[str, str], wanted: list[Relation]
) -> list[str]:
    function, table = schemas.own(f"{entity.table}_{name}"), schemas.table(entity.table)
    if not wanted:
        return [f"drop function if exists {function}() cascade"]
    body, trigger = made
    return [
        f"create or replace function {function}() {_HEAD}\n{body}\nend $freehold$",
        f"revoke all on function {function}() from public",
        trigger.format(name=name, table=table, function=function),
    ]


def _refused(entity: EntityDescription, relation: Relation, state: str, message: str) -> str:
    constraint = constraint_name(entity.table, [relation.field.name], "fkey")
    return (
        f"raise exception {literal(message)} using errcode = '{state}', constraint = {literal(constraint)}, "
        f"table = {literal(entity.table)};"
    )


def _created(entity: EntityDescription, schemas: Schemas, outward: list[Relation]) -> tuple[str, str]:
    """Looks at what new rows refer to, all at once. The foreign keys have locked it."""
    alive = " and n.deleted_at is null" if entity.soft_delete else ""
    checks = "".join(
        f"""
    if current_setting('transaction_isolation') <> 'read committed' then
        perform from {schemas.table(each.target.table)} as p join new_rows as n
            on p.organization_id = n.organization_id and p.id = n.{quoted(each.field.name)} for share of p;
    end if;
    if exists (select from new_rows as n join {schemas.table(each.target.table)} as p
            on p.organization_id = n.organization_id and p.id = n.{quoted(each.field.name)}
            where p.deleted_at is not null{alive}) then
        {_refused(entity, each, "23503", "insert refers to a deleted record")}
    end if;"""
        for each in outward
    )
    return (
        f"begin{checks}\n    return null;",
        "create or replace trigger {name} after insert on {table} referencing new table as new_rows "
        "for each statement execute function {function}()",
    )


def _updated(entity: EntityDescription, schemas: Schemas, outward: list[Relation]) -> tuple[str, str]:
    """Looks at what a row refers to, where an update changes that."""
    checks, changes = "", []
    for each in outward:
        column = quoted(each.field.name)
        changed = f"new.{column} is not null and new.{column} is distinct from old.{column}"
        changes.append(f"({changed})")
        checks += f"""
    if {changed} then{_alive(entity, schemas, each, "new")}
    end if;"""
    alive = "new.deleted_at is null and " if entity.soft_delete else ""
    return (
        f"begin{checks}\n    return null;",
        "create or replace trigger {name} after update on {table} for each row "
        f"when ({alive}({' or '.join(changes)})) execute function {{function}}()",
    )


def _restored(entity: EntityDescription, schemas: Schemas, outward: list[Relation]) -> tuple[str, str]:
    """Looks, at the transaction's end, at what a row refers to that was restored and still lives."""
    checks = "".join(
        f"""
    if _row.{quoted(each.field.name)} is not null then{_alive(entity, schemas, each, "_row")}
    end if;"""
        for each in outward
    )
    return (
        f"""declare _row record;
begin
    select t.* into _row from {schemas.table(entity.table)} as t
    where t.organization_id = new.organization_id and t.id = new.id and t.deleted_at is null;
    if not found then
        return null;
    end if;{checks}
    return null;""",
        _deferred(entity, schemas, "old.deleted_at is not null and new.deleted_at is null"),
    )


def _alive(entity: EntityDescription, schemas: Schemas, relation: Relation, row: str) -> str:
    """Locks what a row refers to, and refuses it where it is deleted."""
    column = quoted(relation.field.name)
    found = (
        f"from {schemas.table(relation.target.table)} as p "
        f"where p.organization_id = {row}.organization_id and p.id = {row}.{column}"
    )
    # Two statements: the lock may be given on the version that the first one's snapshot has.
    return f"""
        if current_setting('transaction_isolation') = 'read committed' then
            perform {found} for key share;
        else
            perform {found} for share;
        end if;
        if exists (select {found} and p.deleted_at is not null) then
            {_refused(entity, relation, "23503", "update refers to a deleted record")}
        end if;"""


def _deferred(entity: EntityDescription, schemas: Schemas, when: str) -> str:
    """A trigger at the transaction's end. PostgreSQL cannot replace one; this one is the same whatever is declared."""
    there = f"select from pg_trigger where tgrelid = {literal(schemas.table(entity.table))}::regclass and tgname = '{{name}}'"
    return (
        f"do $freehold$ begin if not exists ({there}) then create constraint trigger {{name}} after update on {{table}} "
        f"deferrable initially deferred for each row when ({when}) execute function {{function}}(); end if; end $freehold$"
    )


def _deleted(entity: EntityDescription, schemas: Schemas, inward: list[Relation]) -> tuple[str, str]:
    """Looks, at the transaction's end, whether something that lives refers to a row that is still deleted."""
    checks = ""
    for each in inward:
        alive = " and c.deleted_at is null" if each.target.soft_delete else ""
        checks += f"""
    if exists (select from {schemas.table(each.target.table)} as c where c.organization_id = new.organization_id
            and c.{quoted(each.field.name)} = new.id{alive}) then
        {_refused(each.target, each, "23001", "update or delete violates a reference")}
    end if;"""
    return (
        f"""begin
    perform from {schemas.table(entity.table)} as t
    where t.organization_id = new.organization_id and t.id = new.id and t.deleted_at is not null for update;
    if not found then
        return null;
    end if;{checks}
    return null;""",
        _deferred(entity, schemas, "old.deleted_at is null and new.deleted_at is not null"),
    )
