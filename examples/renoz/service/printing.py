"""What the demo prints of its server: where it is, the keys, the lines, and what the check saw."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.renoz.service.client import Seen
from examples.renoz.service.lines import Line, Ran
from examples.renoz.service.running import Service

__all__ = ["print_lines", "print_seen", "print_service", "print_stopped"]


def print_service(console: Console, service: Service, asked: int) -> None:
    """Where the server is, and the keys for it."""
    console.print()
    console.rule(Text("The CRM over HTTP", style="bold"), align="left", style="cyan")
    port = int(service.address.rpartition(":")[2])
    if port != asked:
        console.print(f"Port {asked} is taken; this is the next one that is free.", style="yellow")
    table = Table.grid(padding=(0, 3))
    for name, path in (("API", "/api/customers"), ("documentation", "/api/docs"), ("metrics", "/metrics")):
        table.add_row(Text(name, style="dim"), Text(f"{service.address}{path}", style=f"link {service.address}{path}"))
    console.print(table)
    console.print("\nDevelopment keys, good until the server stops:", style="dim")
    for name, whose in (
        ("aurora", "Ada of Aurora"),
        ("harbour", "Ben of Harbour"),
        ("viewer", "Vera, who only reads in Aurora"),
    ):
        console.print(Text.assemble((f"{whose:<32}", "dim"), service.keys[name]), soft_wrap=True)


def print_lines(console: Console, lines: Sequence[Line]) -> None:
    """Lines to paste, each as one line however long it is."""
    console.print("\nTo paste, in this order:", style="dim")
    for line in lines:
        console.print(Text(f"\n# {line.says}", style="cyan"))
        console.print(Text(line.command), soft_wrap=True)


def print_seen(console: Console, seen: Sequence[Seen], ran: Sequence[Ran], uncalled: Sequence[str]) -> None:
    """What the check saw."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    room = max(console.width - 32, 40)  # beside the other columns
    table.add_column("call", no_wrap=True, max_width=room * 11 // 20)
    table.add_column("as", no_wrap=True)
    table.add_column("status", justify="right")
    table.add_column("what came back", no_wrap=True, max_width=room * 9 // 20)
    table.add_column("ms", justify="right")
    for each in seen:
        status = str(each.status)
        _add(table, each.request, each.caller, status, each.told, each.milliseconds, each.differences)
    for each_line in ran:
        status = str(each_line.status)
        _add(table, f"# {each_line.line.says}", "a line", status, "", each_line.milliseconds, each_line.differences)
    console.print()
    console.print(table)
    for name in uncalled:
        console.print(Text(f"✗ {name} was not called", style="bold red"))


def _add(
    table: Table, call: str, caller: str, status: str, told: str, milliseconds: float, differences: Sequence[str]
) -> None:
    mark = ("✗ ", "bold red") if differences else ("✓ ", "green")
    table.add_row(Text.assemble(mark, call), caller, status, Text(told), f"{milliseconds:.1f}")
    for difference in differences:
        table.add_row(Text(f"  {difference}", style="red", overflow="fold", no_wrap=False))


def print_stopped(console: Console) -> None:
    """That the server has ended."""
    console.print("\nStopped. What ran was finished.", style="dim")
