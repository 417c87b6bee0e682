"""What the demo prints: its head, the load's progress, each step, an error, and what to try next."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from examples.renoz.service.visit import Visit
from examples.renoz.tour import Result
from examples.renoz.views import THEME, VIEWS
from freehold import FreeholdError

__all__ = ["FOLDER", "make_console", "print_end", "print_error", "print_head", "print_step", "progress"]

FOLDER = Path(".freehold/demo")
"""Where the server lives unless told otherwise."""
WIDEST = 110


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """The terminal, no wider than is good to read; 100 columns where there is none."""
    console = Console(highlight=False, stderr=stderr, quiet=quiet)
    console.width = min(console.width, WIDEST) if console.is_terminal else 100
    return console


def print_head(console: Console, folder: Path) -> None:
    """What this is."""
    text = Text.assemble(
        ("Freehold", "bold cyan"),
        " on its embedded PostgreSQL: a CRM, two organizations, the same tables.\n",
        (f"The server lives in {_relative(folder)}; everything it prints it has just asked it.", "dim"),
    )
    console.print(Panel(text, border_style="cyan"))


class _Rate(ProgressColumn):
    """Records a second, of those that had to be created."""

    def render(self, task: Task) -> Text:
        created = int(task.fields.get("created", 0))
        if not created:
            return Text("was there" if task.finished else "", style="green")
        seconds = task.finished_time or task.elapsed or 0
        return Text(f"{created / seconds:,.0f} records/s" if seconds else "", style="cyan")


@contextmanager
def progress(console: Console) -> Iterator[Progress]:
    """Bars for the load."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), _Rate())
    with Progress(*columns, console=console) as bars:
        yield bars


def print_step(console: Console, place: int, result: Result, who: str) -> None:
    """A step: its title, the call, what came back, and how long it took."""
    step = result.step
    console.print()
    console.rule(
        Text.assemble((f" {place} ", "bold reverse cyan"), (f" {step.title} ", "bold")), align="left", style="cyan"
    )
    console.print(Text(step.says, style="italic"))
    console.print()
    if step.code:
        console.print(Padding(_code(result), (0, 0, 1, 2)))
    raised = result.facts.get("raised")
    view = VIEWS[step.name](result.facts) if raised is None else Text(raised, style="red")
    console.print(Padding(view, (0, 0, 0, 2)))
    console.print(Text.assemble("\n  ", (_took(result), "cyan"), (f"  as {who}", "dim"), _verdict(result)))
    for difference in result.differences or ():
        console.print(Text(f"    {difference}", style="red"))


def _code(result: Result) -> RenderableType:
    python = Syntax(result.step.code, "python", theme=THEME, background_color="default", word_wrap=True)
    if result.step.sql is None:
        return python
    sql = Syntax(result.step.sql.strip(), "sql", theme=THEME, background_color="default", word_wrap=True)
    return Group(python, Text("\nwhich sends", style="dim italic"), sql)


def _took(result: Result) -> str:
    if result.again is None:
        return f"{result.milliseconds:.1f} ms"
    return f"{result.milliseconds:.1f} ms, and {result.again:.1f} ms when asked again"


def _verdict(result: Result) -> tuple[str, str]:
    if result.differences is None:
        return "", ""
    return ("  ✗ differs from what was expected:", "bold red") if result.differences else ("  ✓ as expected", "green")


def print_end(
    console: Console,
    seconds: float,
    failed: Sequence[Result],
    *,
    checked: bool,
    folder: Path,
    served: Visit | None = None,
) -> None:
    """The sum, and what to try next."""
    console.print()
    console.rule(style="cyan")
    if failed:
        names = ", ".join(result.step.name for result in failed)
        console.print(Text(f"Not as expected: {names}.", style="bold red"))
    elif checked:
        console.print(Text("Every step is as the data says it must be.", style="bold green"))
    if served is not None and not served.passed:
        console.print(Text("Not every call of the server was as expected: see the lines with ✗.", style="bold red"))
    elif served is not None:
        calls = len(served.seen) + len(served.ran)
        console.print(Text(f"Each function answered over HTTP as it must: {calls} calls.", style="bold green"))
    console.print(Text(f"All of it took {seconds:.1f} s.\n"))
    table = Table.grid(padding=(0, 3))
    python, place = _relative(Path(sys.executable)), _relative(folder)
    here = place == FOLDER  # what every command takes by itself
    option, argument = ("", "") if here else (f" --path {place}", f" {place}")
    check = "make demo CHECK=1" if here else f"{python} -m examples.renoz.demo --check{option}"
    for command, says in (
        (check, "check each answer"),
        (f"{python} -m examples.renoz.demo --json{option}", "the same as JSON, with timings"),
        (f"{python} -m examples.renoz.hello{argument}", "a program of your own: edit it"),
        ("less examples/renoz/entities.py", "the declarations behind this"),
        (f"{python} -m examples.renoz.demo --path {place}-2", "start afresh elsewhere"),
    ):
        table.add_row(Text(command, style="bold"), Text(says, style="dim"))
    console.print("Try next:")
    console.print(Padding(table, (0, 0, 0, 2)))


def print_error(console: Console, error: FreeholdError) -> None:
    """An error as one block with its hint."""
    text = Text("\n".join([error.message, *getattr(error, "__notes__", ())]))
    if error.hint:
        text.append(f"\n\n{error.hint}", style="yellow")
    console.print(Panel(text, title=f"{type(error).__name__} {error.code}", title_align="left", border_style="red"))


def _relative(path: Path) -> Path:
    """The path as one would type it here. Links are kept: a virtual environment's Python is one."""
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute
