"""Serves one of the Python peers: `python -m benchmarks.web.peers NAME SETTINGS`."""

import sys
from collections.abc import Callable
from importlib import import_module

import uvicorn
from starlette.applications import Starlette

from benchmarks.web.settings import Settings

NAMES = ("fastapi-sqlalchemy", "fastapi-asyncpg", "starlette-asyncpg")


def main(name: str, settings: Settings) -> None:
    """One process, uvicorn with uvloop and httptools, no access log."""
    app = _made(name)(settings)
    uvicorn.run(
        app, host="127.0.0.1", port=settings.listen, loop="uvloop", http="httptools", access_log=False,
        log_level="warning", ws="none",
    )  # fmt: skip


def _made(name: str) -> Callable[[Settings], Starlette]:
    """Only the peer's own libraries are imported: they count in its memory."""
    if name not in NAMES:
        raise SystemExit(f"there is no peer {name!r}; there are {', '.join(NAMES)}")
    module = import_module(f"benchmarks.web.peers.{name.replace('-', '_')}")
    made: Callable[[Settings], Starlette] = module.make
    return made


if __name__ == "__main__":
    main(sys.argv[1], Settings.read(sys.argv[2]))
