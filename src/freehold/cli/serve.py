"""The command that serves."""

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer
from rich.markup import escape

from freehold.cli.loading import default_application, load, load_application
from freehold.cli.options import Json, OwnTarget, Url
from freehold.cli.output import console, failing
from freehold.errors import ConfigurationError
from freehold.server.application import WebApplication
from freehold.server.listening import address_of, bind
from freehold.server.logs import configure
from freehold.server.metrics import SharedFigures
from freehold.server.serving import Stop, loop_factory, serve_one, signals
from freehold.server.settings import Cors, Settings
from freehold.server.supervisor import Supervisor

__all__ = ["serve"]


METRICS_TOKEN = "FREEHOLD_METRICS_TOKEN"  # noqa: S105  # the variable's name


class LogFormat(StrEnum):
    """How logs are written."""

    json = "json"
    text = "text"


@dataclass(frozen=True)
class Served:
    """What a process serves; it is sent to the workers.

    Args:
        target: the application, as the command names it.
        url, secret, size: of the database.
        settings: of the server.
    """

    target: str
    url: str
    secret: str | None
    size: int
    settings: Settings

    def __repr__(self) -> str:
        return f"Served({self.target!r})"  # never the URL, which has a password


def serve(
    url: Url,
    target: OwnTarget = None,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 for all addresses of the machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where to listen; 0 for any that is free.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that serve.", envvar="FREEHOLD_WORKERS")] = 1,
    size: Annotated[int, typer.Option(min=1, max=1_000, help="Connections to PostgreSQL of each process.")] = 10,
    settings_of: Annotated[
        str | None, typer.Option("--settings", metavar="NAME", help="Where Settings are: package.module:name.")
    ] = None,
    proxy: Annotated[
        list[str] | None, typer.Option("--proxy", help="Address or network of a proxy to trust; may be repeated.")
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option("--origin", help="Origin whose web pages may call; may be repeated.")
    ] = None,
    drain: Annotated[float | None, typer.Option("--drain", help="Seconds that requests may go on at the end.")] = None,
    announce: Annotated[
        float | None, typer.Option("--announce", help="Seconds that /readyz says 503 before the port is closed.")
    ] = None,
    docs: Annotated[
        bool | None, typer.Option("--docs/--no-docs", help="Whether /api/docs and /api/openapi.json are served.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metrics", help="Who may read /metrics: an address, a network, or all; may be repeated."),
    ] = None,
    log: Annotated[LogFormat | None, typer.Option("--log", help="How logs are written.")] = None,
    as_json: Json = False,
) -> None:
    """Serve an application over HTTP, until SIGTERM or Ctrl-C.

    The documentation and /metrics are closed unless they are opened; FREEHOLD_METRICS_TOKEN is a secret for /metrics. Requests that run at
    the end are finished. The exit code is 0 after that, and 1 where the server cannot start.
    """
    with failing(as_json=as_json):
        settings = chosen_settings(settings_of, proxy, origin, drain=drain, announce=announce, log=log)
        settings = opened(settings, docs=docs, metrics=metrics)
        settings = shared_by(settings, workers)
        named = target or default_application()
        load_application(named)  # what is wrong with it is told here, and not by each worker
        served = Served(named, url, os.environ.get("FREEHOLD_SEAL"), size, settings)
        with bind(host, port) as bound:
            told = partial(tell, address_of(bound), workers, as_json=as_json)
            configure(settings)
            if workers > 1:
                Supervisor(partial(make, served), bound, workers, settings, listening=told).run()
            else:
                with asyncio.Runner(loop_factory=loop_factory()) as runner:
                    runner.run(_alone(make(served, None), bound, told))


def chosen_settings(
    name: str | None,
    proxies: list[str] | None,
    origins: list[str] | None,
    *,
    drain: float | None,
    announce: float | None,
    log: LogFormat | None,
) -> Settings:
    """The settings that are named, with what the options say instead.

    Raises:
        ConfigurationError: one is wrong, or there are none of that name.
    """
    settings = Settings() if name is None else load(name)
    if not isinstance(settings, Settings):
        raise ConfigurationError(f"{name!r} is no Settings", hint="assign some: settings = Settings(...)")
    given: dict[str, Any] = {
        "trusted_proxies": tuple(proxies) if proxies else None,
        "cors": Cors(tuple(origins)) if origins else None,
        "drain_seconds": drain,
        "announce_seconds": announce,
        "log_format": None if log is None else log.value,
    }
    return replace(settings, **{field: value for field, value in given.items() if value is not None})


def opened(settings: Settings, *, docs: bool | None, metrics: list[str] | None) -> Settings:
    """The settings with what the options open, and the token for `/metrics` from the environment.

    Raises:
        ConfigurationError: one is wrong.
    """
    given: dict[str, Any] = {
        "docs": docs,
        "metrics": (True if metrics == ["all"] else tuple(metrics)) if metrics else None,
        "metrics_token": os.environ.get(METRICS_TOKEN) or None,
    }
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def shared_by(settings: Settings, workers: int) -> Settings:
    """The settings of one of several workers: each grants its part of the rates."""
    limits = settings.limits
    if limits is None or workers == 1:
        return settings
    return replace(settings, limits=replace(limits, processes=limits.processes * workers))


def make(served: Served, shared: SharedFigures | None) -> WebApplication:
    """What a process serves."""
    if shared is not None:
        configure(served.settings)
    return WebApplication(
        load_application(served.target),
        url=served.url,
        settings=served.settings,
        secret=served.secret,
        size=served.size,
        shared=shared,
    )


async def _alone(server: WebApplication, bound: Any, told: Callable[[], None]) -> None:
    stop = Stop()
    with signals(stop):
        await serve_one(server, bound, stop, told)


def tell(address: str, workers: int, *, as_json: bool) -> None:
    """Says where the server listens."""
    if as_json:
        typer.echo(f'{{"address": "{address}", "workers": {workers}, "pid": {os.getpid()}}}')
    else:
        by = "" if workers == 1 else f" by {workers} workers"
        console.print(f"Serving at [bold]{escape(address)}[/]{by}. Ctrl-C stops it.")
    sys.stdout.flush()
