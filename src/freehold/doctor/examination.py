"""Makes all checks of a database.

Authority: PostgreSQL's catalogue, and the declarations for what they say. Nothing is changed: the comparison with the
declarations creates their schema under other names in a transaction that is rolled back, and takes no lock on what is there.
"""

import re
from collections.abc import Awaitable, Sequence

from freehold.app import Application
from freehold.doctor.findings import LEVELS, Check, Finding, Report
from freehold.doctor.isolation_checks import ISOLATION_CHECKS, POLICY_PER_ROW, TRIGGERS
from freehold.doctor.role_checks import ROLE_CHECKS
from freehold.doctor.schema_checks import IN_DEFAULT, SCHEMA_CHECKS
from freehold.doctor.server_checks import SERVER_CHECKS
from freehold.engine.catalog import Difference, differences
from freehold.errors import FreeholdError
from freehold.postgres.connections import Address, Connection, connect
from freehold.sql.identifiers import quoted

__all__ = ["CHECKS", "examine"]

NOT_MADE = Check("FD001", "note", "a check could not be made", "")
DERIVED = Check("FD320", "error", "a policy, function, trigger, grant or role is not as declared", "")
STRUCTURE = Check("FD321", "warning", "a table, column, key or index is not as declared", "")

_SIMPLE = (*SERVER_CHECKS, *ROLE_CHECKS, *ISOLATION_CHECKS, *SCHEMA_CHECKS)

CHECKS: tuple[Check, ...] = tuple(
    sorted((NOT_MADE, *_SIMPLE, POLICY_PER_ROW, TRIGGERS, IN_DEFAULT, DERIVED, STRUCTURE), key=lambda check: check.code)
)
"""All of them, by code."""

PATIENCE = 300.0
"""Seconds after which a transaction runs for long."""


async def examine(address: Address, application: Application, *, patience: float = PATIENCE) -> Report:
    """Checks a database that serves an application.

    Args:
        address: of an administrator who may act as the owner; the application role's leaves some checks unmade.
        application: what it serves.
        patience: seconds that a transaction may run, or stay prepared.

    Raises:
        UnavailableError, ConfigurationError: the server cannot be reached, or refuses the login.
    """
    async with connect(address) as connection:
        examination = _Examination(connection, application, patience)
        return await examination.report()


class _Examination:
    def __init__(self, connection: Connection, application: Application, patience: float) -> None:
        self._connection = connection
        self._application = application
        self._patience = patience

    async def report(self) -> Report:
        found: list[Finding] = []
        for check in _SIMPLE:
            found += await self._made(check, self._rows(check))
        found += await self._made(POLICY_PER_ROW, self._per_row())
        found += await self._made(TRIGGERS, self._triggers())
        found += await self._made(IN_DEFAULT, self._in_default())
        found += await self._made(DERIVED, self._differences(found))
        return Report(sorted(found, key=lambda finding: (LEVELS.index(finding.level), finding.code)), len(CHECKS) - 1)

    async def _made(self, check: Check, making: Awaitable[list[Finding]]) -> list[Finding]:
        """What a check finds, or the note that this role may not make it."""
        try:
            async with self._connection.rehearsal():
                return await making
        except FreeholdError as error:
            return [_finding(NOT_MADE, check.code, error.message, None)]

    async def _rows(self, check: Check) -> list[Finding]:
        schemas, roles = self._application.schemas, self._application.roles
        known = [schemas.engine, schemas.application, roles.owner, roles.application, self._patience]
        # PostgreSQL refuses parameters that a statement does not name: those that it names are counted anew.
        named = sorted(set(re.findall(r"\$(\d)", check.text)))
        text = re.sub(r"\$(\d)", lambda found: f"${named.index(found[1]) + 1}", check.text)
        rows = await self._connection.fetch(text, *(known[int(number) - 1] for number in named))
        return [_finding(check, row["object"], row["evidence"], row["mend"]) for row in rows]

    async def _per_row(self) -> list[Finding]:
        """The plan tells: what is evaluated once is an InitPlan."""
        found = []
        for each in await self._rows(POLICY_PER_ROW):
            async with self._connection.rehearsal():
                await self._connection.execute(f"set local role {quoted(self._application.roles.application)}")
                rows = await self._connection.fetch(f"explain (costs off) select * from {each.object}")
            plan = "; ".join(str(row["QUERY PLAN"]).strip() for row in rows)
            if "InitPlan" not in plan:
                found.append(_finding(POLICY_PER_ROW, each.object, plan, each.mend))
        return found

    async def _triggers(self) -> list[Finding]:
        found = []
        for each in await self._rows(TRIGGERS):
            table, _, name = each.object.rpartition(".")
            found.append(
                _finding(TRIGGERS, each.object, each.evidence, each.mend or self._declared_trigger(table, name))
            )
        return found

    def _declared_trigger(self, table: str, name: str) -> str | None:
        for statement in self._application.plan().derived:
            plain = statement.replace('"', "")
            if plain.startswith(f"create or replace trigger {name} ") and f" on {table.replace(chr(34), '')} " in plain:
                return statement
        return None

    async def _in_default(self) -> list[Finding]:
        schemas = self._application.schemas
        rows = await self._connection.fetch(IN_DEFAULT.text.format(engine=quoted(schemas.engine)))
        if not rows:
            return []
        log, default = schemas.own("log"), schemas.own("log_default")
        script = [f"alter table {log} detach partition {default}"]
        for row in rows:
            year, month = map(int, str(row["month"]).split("_"))
            after = f"{year + month // 12:04}-{month % 12 + 1:02}"
            script.append(
                f"create table if not exists {schemas.own('log_' + row['month'])} partition of {log} "
                f"for values from ('{year:04}-{month:02}-01 00:00+00') to ('{after}-01 00:00+00')"
            )
        script += [
            f"insert into {log} select * from {default}",
            f"truncate {default}",
            f"alter table {log} attach partition {default} default",
        ]
        evidence = ", ".join(f"{row['rows']} of {row['month']}" for row in rows)
        return [_finding(IN_DEFAULT, f"{schemas.engine}.log_default", evidence, "; ".join(script))]

    async def _differences(self, known: Sequence[Finding]) -> list[Finding]:
        application = self._application
        found = await differences(self._connection, application.plan(), application.schemas, application.roles)
        return [_different(each) for each in found if not each.own and not _told(each, known)]


def _finding(check: Check, object_: str, evidence: str, mend: str | None) -> Finding:
    return Finding(check.code, check.level, check.title, str(object_), str(evidence), mend)


def _told(difference: Difference, known: Sequence[Finding]) -> bool:
    """Whether another finding is about the same object already."""
    names = {finding.object for finding in known if finding.code != NOT_MADE.code}
    return difference.object in names or difference.object.replace('"', "") in names


def _different(difference: Difference) -> Finding:
    check = STRUCTURE if difference.structural else DERIVED
    command = "freehold migrate new, then freehold migrate up" if difference.structural else "freehold migrate up"
    return _finding(check, f"{difference.kind} {difference.object}", str(difference), _granting(difference) or command)


def _granting(difference: Difference) -> str | None:
    """What is granted too much is taken back, and what is missing is given."""
    what, _, who = difference.object.rpartition(" to ")
    if difference.kind != "grant":
        return None
    declared, actual = (_privileges(told) for told in (difference.declared, difference.actual))
    column = ""
    if what.startswith("table ") and what.count(".") == 2:
        what, _, name = what.rpartition(".")
        column = f" ({name})"
    statements = [f"revoke {_plain(each)}{column} on {what} from {who}" for each in sorted(actual - declared)]
    for each in sorted(declared - actual):
        option = " with grant option" if each != _plain(each) else ""
        statements.append(f"grant {_plain(each)}{column} on {what} to {who}{option}")
    return "; ".join(statements)


def _privileges(told: str | None) -> set[str]:
    return set(told.split(", ")) if told else set()


def _plain(privilege: str) -> str:
    return privilege.removesuffix(" with grant option")
