"""The proof of isolation, as one line of an application's tests."""

from collections.abc import Collection

from freehold.database import Database
from freehold.doctor import Proof, attempt_isolation
from freehold.doctor.sides import Given

__all__ = ["prove_isolation"]


async def prove_isolation(database: Database, *, values: Given | None = None, without: Collection[str] = ()) -> Proof:
    """Tries to reach from one organization to another in every way that there is; the test fails where one does it.

        async def test_tenants_are_apart(database):
            await prove_isolation(database)

    Args:
        database: the application's.
        values: for entities whose checks the proof cannot satisfy by itself, by entity and field: `{"Line": {"amount": 5}}`.
            They go before the entity's `samples`. A function is called with the record's number.
        without: names of entities that are left out.

    Returns:
        All attempts.

    Raises:
        AssertionError: something leaked, or an entity could not be filled. The message names the attempts and the evidence.
    """
    proof = await attempt_isolation(database, given=values, without=without)
    if not proof.held:
        told = [
            f"{each.name}: {each.happened} {', '.join(each.evidence)}".rstrip()
            for each in (*proof.leaks, *proof.unproved)
        ]
        raise AssertionError("isolation is not proved:\n  " + "\n  ".join(told))
    return proof
