"""Two releases of an application, for the command line."""

from tests.engine.migrating import first, second

v1, v2 = first(), second()
