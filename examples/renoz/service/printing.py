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
    """What the check saw: each call, and each line."""
    room = max(console.width - 32, 40)  # beside the other columns
    calls = _table("call", "as", "status", "what came back", "ms")
    calls.columns[0].max_width, calls.columns[3].max_width = room * 12 // 20, room * 8 // 20
    for each in seen:
        told = (each.caller, str(each.status), each.told, f"{each.milliseconds:.1f}")
        calls.add_row(_marked(each.request, each.differences), *told)
        _add_differences(calls, each.differences)
    lines = _table("line", "status", "ms")
    for one in ran:
        lines.add_row(_marked(one.line.says, one.differences), str(one.status), f"{one.milliseconds:.1f}")
        _add_differences(lines, one.differences)
    for table in (calls, lines):
        console.print()
        console.print(table)
    for name in uncalled:
        console.print(Text(f"✗ {name} was not called", style="bold red"))


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in names:
        table.add_column(name, no_wrap=True, justify="right" if name in ("status", "ms") else "left")
    return table


def _marked(text: str, differences: Sequence[str]) -> Text:
    return Text.assemble(("✗ ", "bold red") if differences else ("✓ ", "green"), text)


def _add_differences(table: Table, differences: Sequence[str]) -> None:
    for difference in differences:
        table.add_row(Text(f"  {difference}", style="red", overflow="fold", no_wrap=False))


def print_stopped(console: Console) -> None:
    """That the server has ended."""
    console.print("\nStopped. What ran was finished.", style="dim")
