"""Serves one of the Python peers: `python -m benchmarks.web.peers NAME SETTINGS`."""

import sys
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from benchmarks.web.settings import Settings


def main(name: str, settings: Settings) -> None:
    """One process, uvicorn with uvloop and httptools, no access log."""
    app = _made(name)(settings)
    uvicorn.run(
        app, host="127.0.0.1", port=settings.listen, loop="uvloop", http="httptools", access_log=False,
        log_level="warning", ws="none",
    )  # fmt: skip


def _made(name: str) -> Callable[[Settings], Starlette]:
    """Only the peer's own libraries are imported: they count in its memory."""
    if name == "fastapi-sqlalchemy":
        from benchmarks.web.peers.fastapi_sqlalchemy import make
    elif name == "fastapi-asyncpg":
        from benchmarks.web.peers.fastapi_asyncpg import make
    elif name == "starlette-asyncpg":
        from benchmarks.web.peers.starlette_asyncpg import make
    else:
        raise SystemExit(f"there is no peer {name!r}")
    return make


if __name__ == "__main__":
    main(sys.argv[1], Settings.read(sys.argv[2]))
