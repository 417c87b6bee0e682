"""The demo: `python -m examples.vrooli.demo [--path DIR]`.

Starts the embedded server, makes two new workspaces, and plays the scenes in one of them. Each run has workspaces of its own.
"""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text

from examples.renoz.printing import make_console, print_error
from examples.renoz.source import body_of
from examples.renoz.views import THEME
from examples.vrooli.entities import application
from examples.vrooli.scenes import SCENES, Scene
from freehold import Database, FreeholdError, Session

__all__ = ["enter", "main", "play"]

FOLDER = Path(".freehold/vrooli")
"""Where the server lives unless told otherwise."""


async def enter(database: Database, name: str) -> Session:
    """The session of a user of a new workspace."""
    system = database.system(reason="vrooli demo")
    number = 1
    while await system.find_organization(f"{name}-{number}") is not None:
        number += 1
    slug = f"{name}-{number}"
    organization = await system.create_organization(name=f"{name.title()} {number}", slug=slug)
    user = await system.create_user(email=f"ada@{slug}.example", name="Ada")
    await system.add_member(organization.id, user.id, role="admin")
    return database.session(await system.context(organization=slug, user=user.email, user_agent="vrooli/1"))


async def play(session: Session, rival: Session) -> AsyncIterator[tuple[Scene, list[str], float]]:
    """Plays each scene, and yields the lines that it tells and the milliseconds that it took.

    Args:
        session: of a new workspace.
        rival: of another one.
    """
    known: dict[str, Any] = {"session": session, "rival": rival, "now": datetime.now(UTC)}  # Any: the scenes' answers
    for scene in SCENES:
        start = time.perf_counter()
        known[scene.name] = await scene.call(**_wanted(scene, known))
        milliseconds = (time.perf_counter() - start) * 1_000
        yield scene, list(scene.tell(known[scene.name])), milliseconds


def _wanted(scene: Scene, known: Mapping[str, Any]) -> dict[str, Any]:
    return {name: known[name] for name in inspect.signature(scene.call).parameters}


async def run(folder: Path, console: Console) -> None:
    """The whole demo."""
    async with Database.embedded(folder, application) as database:
        session, rival = await enter(database, "vrooli"), await enter(database, "rival")
        number = 0
        async for scene, lines, milliseconds in play(session, rival):
            number += 1
            console.print()
            heading = Text.assemble((f" {number} ", "bold reverse cyan"), (f" {scene.title} ", "bold"))
            console.rule(heading, align="left", style="cyan")
            console.print(Text(scene.says, style="italic"))
            code = Syntax(body_of(scene.call), "python", theme=THEME, background_color="default", word_wrap=True)
            console.print(Padding(code, (1, 0, 1, 2)))
            console.print(Padding(Text("\n".join(lines)), (0, 0, 0, 2)))
            console.print(Text(f"\n  {milliseconds:.1f} ms", style="cyan"))


def main(
    path: Annotated[Path, typer.Option("--path", metavar="DIR", help="The server's folder.")] = FOLDER,
) -> None:
    """A workspace of people, teams, resources and runs on the embedded PostgreSQL."""
    try:
        asyncio.run(run(path, make_console()))
    except FreeholdError as error:
        print_error(make_console(stderr=True), error)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
