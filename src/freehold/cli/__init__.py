"""The command line: parse, call, print.

Every command prints for people, or with `--json` one JSON value for programs. Exit codes: 0 done, 1 an error of
Freehold's (its code is printed), 2 the command line itself is wrong.
"""

from freehold.cli.commands import main

__all__ = ["main"]
