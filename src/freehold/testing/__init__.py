"""What applications test with: databases, organizations, records and the time. See docs/guide/testing.md.

The fixtures are in `freehold.testing.plugin`, which pytest loads by itself.
"""

from freehold.testing.clock import Clock
from freehold.testing.factory import Factory
from freehold.testing.organizations import Organizations
from freehold.testing.proof import prove_isolation

__all__ = ["Clock", "Factory", "Organizations", "prove_isolation"]
