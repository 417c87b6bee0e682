"""The tour: its steps in order, and the walk through them."""

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from examples.renoz import attempts, calls, costs, expectations, facts
from examples.renoz.analytics import CUSTOMER_SUMMARY, DASHBOARD, TOP_CUSTOMERS
from examples.renoz.data import Dataset
from examples.renoz.facts import Facts
from examples.renoz.source import body_of, whole_of
from freehold import Database, FreeholdError, Session

__all__ = ["STEPS", "Result", "Step", "World", "walk"]

Call = Callable[..., Awaitable[Any]]  # Any: each call has parameters and an answer of its own


@dataclass(frozen=True)
class World:
    """What the tour walks through: a session and the data of each organization.

    Args:
        sessions: by slug, as the calls name their parameters.
        data: what was loaded, by slug.
        database: that the sessions belong to.
    """

    sessions: Mapping[str, Session]
    data: Mapping[str, Dataset]
    database: Database

    @property
    def names(self) -> dict[str, str]:
        """The users' names by their ids."""
        return {
            str(session.context.user_id): self.data[slug].profile.user_name for slug, session in self.sessions.items()
        }


@dataclass(frozen=True)
class Step:
    """One stop of the tour.

    Args:
        title: of the step.
        says: what there is to see.
        call: what is done. Its parameters are sessions by slug, and results of earlier calls by their names.
        tell: makes plain facts of its answer.
        expect: makes the same facts of the organization's data.
        tenant: whose session it is about.
        shown: functions whose source is shown before the call's.
        sql: the statement that it sends, where it was written by hand.
        listed: whether the answer shows the calls, so that the step itself does not.
        repeat: whether it only reads, so that it can be done again to see how long a prepared statement takes.
    """

    title: str
    says: str
    call: Call
    tell: Callable[[Any], Facts]  # Any: what the call answers
    expect: Callable[[Dataset], Facts]
    tenant: Literal["aurora", "harbour"] = "aurora"
    shown: Sequence[Call] = ()
    sql: str | None = None
    listed: bool = False
    repeat: bool = True

    @property
    def name(self) -> str:
        """The step's name: its call's."""
        return self.call.__name__

    @property
    def code(self) -> str:
        """The source of what ran; empty where the answer tells it call by call."""
        return "" if self.listed else "\n\n".join([*map(whole_of, self.shown), body_of(self.call)])


@dataclass(frozen=True)
class Result:
    """What came of a step.

    Args:
        step: which.
        facts: the answer as JSON values.
        milliseconds: how long the call took, the first time.
        again: how long it took the second time; None where it was not repeated.
        differences: from what was expected; None where it was not checked.
    """

    step: Step
    facts: Facts
    milliseconds: float
    again: float | None = None
    differences: list[str] | None = None


async def walk(world: World, *, check: bool = False) -> AsyncIterator[Result]:
    """Takes each step and yields what came of it. Steps that write leave nothing behind.

    Args:
        world: the sessions and what was loaded.
        check: compare with what the data says. A step that fails is then a result too; otherwise its error is raised.
    """
    await calls.remove_leftovers(world.sessions["aurora"])
    known: dict[str, Any] = {
        **world.sessions,
        "database": world.database,
    }  # Any: sessions, and the answers of the calls by their names
    for step in STEPS:
        try:
            result = await _take(step, world, known)
        except (FreeholdError, LookupError, AttributeError, TypeError) as error:
            if not check:
                error.add_note(f"in the step {step.name}")
                raise
            known[step.name] = None
            yield Result(step, {"raised": str(error)}, 0.0, differences=[f"raised {type(error).__name__}: {error}"])
            continue
        if check:
            expected = facts.plain(step.expect(world.data[step.tenant]))
            result = replace(result, differences=facts.differences(expected, result.facts))
        yield result


async def _take(step: Step, world: World, known: dict[str, Any]) -> Result:
    """Makes a step's call with what is known, and adds its answer to that."""
    arguments = {name: known[name] for name in inspect.signature(step.call).parameters}
    known[step.name], first = await _timed(step.call, arguments)
    again = (await _timed(step.call, arguments))[1] if step.repeat else None
    return Result(step, _named(facts.plain(step.tell(known[step.name])), world.names), first, again)


async def _timed(call: Call, arguments: Mapping[str, Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    answer = await call(**arguments)
    return answer, (time.perf_counter() - start) * 1000


def _named(value: Any, names: Mapping[str, str]) -> Any:
    """The facts with users' names in place of their ids."""
    if isinstance(value, dict):
        return {key: _named(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


STEPS = (
    Step(
        "A page of a list",
        "Filter, order, page size and total in one message. The session is Aurora's; no call names it.",
        calls.first_page,
        facts.tell_customers,
        expectations.expect_first_page,
        shown=[calls.active_customers],
    ),
    Step(
        "The next page",
        "A cursor continues from the last row's values, however many rows were added meanwhile. It is signed.",
        calls.next_page,
        facts.tell_customers,
        expectations.expect_next_page,
    ),
    Step(
        "The same call as the other tenant",
        "Same tables, same numbers, other rows: row-level security and each statement's own predicate.",
        calls.same_for_the_other,
        facts.tell_customers,
        expectations.expect_first_page,
        tenant="harbour",
    ),
    Step(
        "A filter that goes everywhere",
        "Across references and back, into a typed JSON document and into a list: one small language.",
        calls.late_payers,
        facts.tell_orders,
        expectations.expect_late_payers,
    ),
    Step(
        "Related records, three levels deep",
        "Each level limited and ordered, in one statement that makes the JSON. No N+1 to fall into.",
        calls.key_accounts,
        facts.tell_tree,
        expectations.expect_tree,
    ),
    Step(
        "Search",
        "Words, their beginnings and typing errors, over all of the organization's records, ranked. In step with every write.",
        calls.found,
        facts.tell_hits,
        expectations.expect_found,
    ),
    Step(
        "A search within a list",
        "The same words, with a filter, an order and a total.",
        calls.narrowed,
        facts.tell_customers,
        expectations.expect_narrowed,
    ),
    Step(
        "Figures by group",
        "Sums and averages of Decimals stay exact.",
        calls.orders_by_status,
        facts.tell_groups,
        expectations.expect_groups,
    ),
    Step(
        "A customer's summary",
        "Hand-written SQL is at home: read-only, parameters bound, rows validated - and only one's own.",
        calls.summary,
        facts.tell_model,
        expectations.expect_summary,
        sql=CUSTOMER_SUMMARY,
    ),
    Step(
        "The dashboard",
        "Ten figures over four tables in one query. Time is a parameter, so tests own the clock.",
        calls.figures,
        facts.tell_model,
        expectations.expect_figures,
        sql=DASHBOARD,
    ),
    Step(
        "The best customers",
        "With their share of all that was ordered.",
        calls.best_customers,
        facts.tell_models,
        expectations.expect_best,
        sql=TOP_CUSTOMERS,
    ),
    Step(
        "Bad input",
        "Every issue at once, each with its path and a stable code, before anything is sent.",
        calls.bad_input,
        facts.tell_issues,
        expectations.expect_issues,
    ),
    Step(
        "A unit of work",
        "Ids are there before the commit, so what is new can point at what is new. Records travel in the order that references need.",
        calls.placed,
        facts.tell_placed,
        expectations.expect_placed,
        repeat=False,
    ),
    Step(
        "All or nothing",
        "The error lists everything that is wrong, and nothing was written.",
        calls.all_or_nothing,
        facts.tell_problems,
        expectations.expect_problems,
        repeat=False,
    ),
    Step(
        "A version conflict",
        "A change names the version it was made from. The error carries the record as it is now.",
        calls.version_conflict,
        facts.tell_conflict,
        expectations.expect_conflict,
        repeat=False,
    ),
    Step(
        "Time travel",
        "The record of now, and of the moment when it was made. Lists, filters and includes go there as well.",
        calls.as_it_was,
        facts.tell_versions,
        expectations.expect_then,
    ),
    Step(
        "Bringing a version back",
        "Its values become a new version. What would clash is told at once, before anything is written.",
        calls.brought_back,
        facts.tell_versions,
        expectations.expect_back,
        repeat=False,
    ),
    Step(
        "The history of a record",
        "Triggers write it in the same transaction, so no way of writing escapes it. It outlives the record.",
        calls.history_of_a_record,
        facts.tell_changes,
        expectations.expect_changes,
        repeat=False,
    ),
    Step(
        "Fourteen attempts to cross tenants",
        "Ben knows id, version and organization of one of Aurora's customers, and a cursor of their list.",
        attempts.crossing_tenants,
        facts.tell_attempts,
        expectations.expect_attempts,
        tenant="harbour",
        listed=True,
        repeat=False,
    ),
    Step(
        "The doctor",
        "Roles, policies, triggers, functions, keys, the log, the server's settings: each finding with the statement that mends it.",
        calls.examined,
        facts.tell_report,
        expectations.expect_report,
        repeat=False,
    ),
    Step(
        "The proof of isolation",
        "What Ben tried by hand, for every entity and in every way that there is. One line in an application's own tests.",
        calls.proved,
        facts.tell_proof,
        expectations.expect_proof,
        repeat=False,
    ),
    Step(
        "What a call costs",
        "On this machine, in this process, all from Python, row-level security and JSON included.",
        costs.what_calls_cost,
        facts.tell_costs,
        expectations.expect_costs,
        listed=True,
        repeat=False,
    ),
)
