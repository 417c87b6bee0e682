"""Look-ups: none is older than it may be, few messages are sent, and an unreachable database answers nobody."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from freehold import errors
from freehold.identity import lookups
from freehold.identity.lookups import AHEAD, FRESH, Lookups


class Store:
    """What is true, and a clock. Each message is counted; a gate holds answers up after they were read."""

    def __init__(self) -> None:
        self.now = 0.0
        self.values: dict[str, str] = {"a": "1", "b": "2"}
        self.messages: list[list[str]] = []
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None
        self.lookups: Lookups[str, str] = Lookups(self.load, clock=lambda: self.now)

    async def load(self, keys: Sequence[str]) -> list[str | None]:
        self.messages.append(list(keys))
        read = [self.values.get(key) for key in keys]
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return read

    async def turns(self, count: int = 10) -> None:
        """Lets what is ready run."""
        for _ in range(count):
            await asyncio.sleep(0)


@pytest.fixture
def store() -> Store:
    return Store()


async def test_questions_of_one_moment_are_one_message(store: Store) -> None:
    found = await asyncio.gather(*(store.lookups.get(key) for key in "abcab"))
    assert found == ["1", "2", None, "1", "2"]
    assert store.messages == [["a", "b", "c"]]
    assert [await store.lookups.get(key) for key in "abc"] == ["1", "2", None]
    assert len(store.messages) == 1


async def test_an_answer_is_used_until_it_is_so_old_and_no_longer(store: Store) -> None:
    await store.lookups.get("a")
    del store.values["a"]
    store.now = AHEAD
    assert await store.lookups.get("a") == "1"
    assert len(store.messages) == 1
    store.now = FRESH
    assert await store.lookups.get("a") is None
    store.values["a"] = "3"
    store.now = FRESH * 2
    assert await store.lookups.get("a") == "3"


async def test_its_age_counts_from_when_it_was_asked(store: Store) -> None:
    store.gate = asyncio.Event()
    asking = asyncio.create_task(store.lookups.get("a"))
    await store.turns()
    del store.values["a"]
    store.now = FRESH - 0.1  # the answer was that long under way
    store.gate.set()
    assert await asking == "1"
    store.now = FRESH
    assert await store.lookups.get("a") is None


async def test_nobody_joins_a_question_that_is_too_old(store: Store) -> None:
    store.gate = asyncio.Event()
    first = asyncio.create_task(store.lookups.get("a"))
    await store.turns()
    store.values["a"] = "new"
    store.now = FRESH - 0.1
    joined = asyncio.create_task(store.lookups.get("a"))
    await store.turns()
    assert len(store.messages) == 1
    store.now = FRESH
    second = asyncio.create_task(store.lookups.get("a"))
    await store.turns()
    assert len(store.messages) == 2
    store.gate.set()
    assert [await first, await joined, await second] == ["1", "1", "new"]
    assert await store.lookups.get("a") == "new"


async def test_an_older_answer_does_not_replace_a_newer_one(store: Store) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    store.gate = gates[0]
    first = asyncio.create_task(store.lookups.get("a"))
    await store.turns()
    store.now, store.gate = FRESH, gates[1]
    del store.values["a"]
    second = asyncio.create_task(store.lookups.get("a"))
    await store.turns()
    gates[1].set()
    assert await second is None
    gates[0].set()
    assert await first == "1"
    assert await store.lookups.get("a") is None
    assert len(store.messages) == 2


async def test_hot_answers_are_renewed_behind_their_users(store: Store) -> None:
    await store.lookups.get("a")
    store.gate = asyncio.Event()
    for step in range(1, 20):
        store.now = AHEAD + step * 0.02
        assert await store.lookups.get("a") == "1"
        await store.turns()
    assert len(store.messages) == 2  # one under way, however many ask
    store.values["a"] = "new"
    store.gate.set()
    await store.turns()
    store.now = FRESH + 0.1
    assert await store.lookups.get("a") == "1"  # as of the second message, which is not that old
    await store.turns()
    assert await store.lookups.get("a") == "new"
    assert len(store.messages) == 3


async def test_what_nobody_uses_is_not_asked_for_again(store: Store) -> None:
    await store.lookups.get("a")
    for _ in range(10):
        store.now += 0.3
        await store.turns()
    assert len(store.messages) == 1


async def test_a_database_that_is_away_is_an_error_once_the_answer_is_old(store: Store) -> None:
    await store.lookups.get("a")
    store.error = errors.UnavailableError("it is away")
    store.now = AHEAD + 0.1
    assert await store.lookups.get("a") == "1"
    await store.turns()  # the renewal fails, and nobody sees it
    store.now = FRESH
    with pytest.raises(errors.UnavailableError):
        await store.lookups.get("a")
    store.error = None
    assert await store.lookups.get("a") == "1"


async def test_guesses_make_few_messages(store: Store) -> None:
    store.gate = asyncio.Event()
    guesses = [asyncio.create_task(store.lookups.get(f"guess-{n}")) for n in range(1_000)]
    await store.turns()
    assert len(store.messages) == lookups.SENDERS
    store.gate.set()
    assert set(await asyncio.gather(*guesses)) == {None}
    assert len(store.messages) == 1_000 / lookups.BATCH
    assert max(map(len, store.messages)) == lookups.BATCH
    for n in range(1_000):
        await store.lookups.get(f"guess-{n}")
    assert len(store.messages) == 1_000 / lookups.BATCH


async def test_guesses_push_nothing_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "KEPT", 10)
    await store.lookups.get("a")
    for n in range(50):
        await store.lookups.get(f"guess-{n}")
    sent = len(store.messages)
    assert await store.lookups.get("a") == "1"
    assert len(store.messages) == sent
    assert (len(store.lookups._known), len(store.lookups._absent)) == (1, 10)


async def test_the_least_used_answers_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "KEPT", 2)
    store.values["c"] = "3"
    for key in ("a", "b", "a", "c"):
        await store.lookups.get(key)
    assert set(store.lookups._known) == {"a", "c"}


async def test_too_many_waiting_are_refused_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "MOST_WAITING", 5)
    store.gate = asyncio.Event()
    asked = [asyncio.create_task(store.lookups.get(f"k{n}")) for n in range(3)]
    await store.turns()
    asked += [asyncio.create_task(store.lookups.get(f"m{n}")) for n in range(1)]
    await store.turns()
    asked += [asyncio.create_task(store.lookups.get(f"n{n}")) for n in range(5)]
    await store.turns()
    with pytest.raises(errors.UnavailableError):
        await store.lookups.get("one more")
    store.gate.set()
    assert set(await asyncio.gather(*asked)) == {None}


async def test_whoever_waits_waits_so_long_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "PATIENCE", 0.01)
    store.gate = asyncio.Event()
    with pytest.raises(errors.UnavailableError):
        await store.lookups.get("a")
    await store.lookups.close()


async def test_one_caller_that_is_cancelled_takes_nothing_from_the_others(store: Store) -> None:
    store.gate = asyncio.Event()
    first, second = [asyncio.create_task(store.lookups.get("a")) for _ in "ab"]
    await store.turns()
    first.cancel()
    await store.turns()
    store.gate.set()
    assert await second == "1"


async def test_the_end_of_the_program_ends_what_is_under_way(store: Store) -> None:
    store.gate = asyncio.Event()
    tasks: list[Any] = [asyncio.create_task(store.lookups.get(key)) for key in "ab"]
    await store.turns()
    await store.lookups.close()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in found)
