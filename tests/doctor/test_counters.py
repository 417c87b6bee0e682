"""The doctor and the proof on entities that count, and on numbers that are incremented."""

from freehold import Database
from freehold.doctor import examine
from freehold.testing import prove_isolation
from tests.conftest import Server
from tests.counted import application


async def test_isolation_is_proved(library: Database) -> None:
    proof = await prove_isolation(library)
    names = {outcome.name for outcome in proof.outcomes}
    assert "Resource: increment by the generated function, with one's own seal" in names
    assert {outcome.result for outcome in proof.outcomes} == {"held"}


async def test_nothing_is_found(server: Server, library_name: str) -> None:
    report = await examine(server.admin_address(library_name), application)
    assert [finding for finding in report.findings if "tally" in finding.object or "resources" in finding.object] == []
