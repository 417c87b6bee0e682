"""The facts of each step as something to look at."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from examples.renoz.facts import Facts

__all__ = ["THEME", "VIEWS"]

THEME = "ansi_dark"
_UUID = re.compile(r"(?<=[0-9a-f]{8})-[0-9a-f-]{27}")
STATUS_COLOURS = {
    "active": "green",
    "delivered": "green",
    "prospect": "cyan",
    "shipped": "cyan",
    "picked": "cyan",
    "confirmed": "cyan",
    "inactive": "yellow",
    "draft": "yellow",
    "blocked": "red",
    "cancelled": "red",
}


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def _money(value: Any) -> str:
    return "" if value is None else f"{float(value):,.2f}"


def _status(value: str) -> Text:
    return Text(value, style=STATUS_COLOURS.get(value, ""))


def _code(text: str) -> Syntax:
    return Syntax(text, "python", theme=THEME, background_color="default", word_wrap=True)


def view_customers(facts: Facts) -> RenderableType:
    """A list page."""
    table = _table("number", "name", "segment", "account manager", "credit limit", right=["credit limit"])
    for row in facts["customers"]:
        table.add_row(row["number"], row["name"], row["segment"], row["account_manager"], _money(row["credit_limit"]))
    ways = [name for name in ("previous", "next") if facts[name]]
    foot = f"{len(facts['customers'])} of {facts['total']}; has {' and '.join(ways) or 'no other'} page"
    return Group(table, Text(foot, style="dim"))


def view_hits(facts: Facts) -> RenderableType:
    """What a search found, with what matched marked."""
    table = _table("entity", "where it was found")
    for row in facts["hits"]:
        parts = [
            Text.assemble(
                (f"{part['field']}  ", "dim"), *((text, "bold yellow" if hit else "") for text, hit in part["segments"])
            )
            for part in row["parts"]
        ]
        table.add_row(row["entity"], Group(*parts))
    return Group(table, Text(f"looked up: {', '.join(facts['words'])}", style="dim"))


def view_report(facts: Facts) -> RenderableType:
    """The doctor's findings."""
    table = _table("code", "level", "what", "evidence")
    for row in facts["findings"]:
        table.add_row(row["code"], row["level"], row["title"], row["evidence"])
    told = f"{facts['checks']} checks: {facts['error']} errors, {facts['warning']} warnings"
    style = "green" if not facts["error"] else "bold red"
    return Group(table, Text(told, style=style)) if facts["findings"] else Text(told, style=style)


def view_proof(facts: Facts) -> RenderableType:
    """How many attempts of each kind there were, and whether one reached across."""
    table = _table("ways", "attempts", right=["attempts"])
    for name, number in facts["groups"].items():
        table.add_row(name, f"{number:,}")
    told = "nothing leaked" if facts["held"] else f"{facts['leaked']} LEAKED, {facts['unproved']} could not be tried"
    return Group(
        table, Text(f"{facts['attempts_made']:,} attempts: {told}", style="green" if facts["held"] else "bold red")
    )


def view_orders(facts: Facts) -> RenderableType:
    """Orders with their customers."""
    table = _table("number", "customer", "terms", "due on", "status", "total", right=["terms", "total"])
    for row in facts["orders"]:
        terms = f"{row['terms_days']} days"
        table.add_row(
            row["number"], row["customer"], terms, row["due_on"], _status(row["status"]), _money(row["total"])
        )
    return Group(table, Text(f"{len(facts['orders'])} of {facts['total']}", style="dim"))


def view_tree(facts: Facts) -> RenderableType:
    """Customers, their contacts and orders, their lines and products."""
    return Columns([_customer_tree(customer) for customer in facts["customers"]], padding=(0, 4))


def _customer_tree(customer: Facts) -> Tree:
    tree = Tree(Text.assemble((customer["name"], "bold"), (f"  {customer['number']}", "dim")), guide_style="dim")
    for contact in customer["contacts"]:
        mark = (" ★", "yellow") if contact["is_primary"] else ("", "")
        tree.add(Text.assemble(contact["name"], mark, (f"  {contact['title']}", "dim")))
    for order in customer["orders"]:
        head = Text.assemble((order["number"], "bold"), f"  {order['placed_on']}  ", _status(order["status"]))
        branch = tree.add(head.append(f"  {_money(order['total'])}"))
        for line in order["lines"]:
            branch.add(f"{line['quantity']} × {line['product']}  {_money(line['amount'])}")
    tree.add(Text(f"{customer['activities']} activities", style="dim"))
    return tree


def view_groups(facts: Facts) -> RenderableType:
    """Orders by status."""
    numbers = ["orders", "sum", "average"]
    table = _table("status", *numbers, "first", "last", right=numbers)
    for row in facts["groups"]:
        money = (_money(row["sum"]), _money(row["average"]))
        table.add_row(_status(row["status"]), str(row["orders"]), *money, row["first"], row["last"])
    return table


def _tile(label: str, value: str) -> Panel:
    return Panel(Text(value, style="bold", justify="center"), title=label, title_align="left", width=30, style="none")


def view_summary(facts: Facts) -> RenderableType:
    """The head of a customer's page."""
    if facts.get("found") is False:
        return Text("nothing", style="red")
    table = Table.grid(padding=(0, 2))
    contact = f"{facts['primary_contact'] or 'nobody'}, {facts['primary_email'] or 'no address'}"
    last = (facts["last_activity"] or "never")[:10]
    table.add_row(
        "customer", Text.assemble((facts["name"], "bold"), f"  {facts['number']}  ", _status(facts["status"]))
    )
    table.add_row("primary contact", contact)
    table.add_row("lifetime value", _money(facts["lifetime_value"]))
    table.add_row("orders", f"{facts['orders']}, {facts['open_orders']} of them open, last on {facts['last_order']}")
    table.add_row("activities", f"{facts['activities']}, last on {last}")
    return Panel(table, expand=False)


def view_figures(facts: Facts) -> RenderableType:
    """The dashboard."""
    if facts.get("found") is False:
        return Text("nothing", style="red")
    tiles = [
        _tile("lifetime value", _money(facts["lifetime_value"])),
        _tile("ordered this month", _money(facts["ordered_this_month"])),
        _tile("overdue", _money(facts["overdue"])),
        _tile("customers, new this month", f"{facts['customers']}, {facts['new_this_month']}"),
        _tile("open orders", str(facts["open_orders"])),
        _tile("open tasks, low stock", f"{facts['open_tasks']}, {facts['low_stock']}"),
    ]
    by_status = Text("customers  ", style="dim")
    for status, count in sorted(facts["customers_by_status"].items()):
        by_status.append_text(_status(status)).append(f" {count}  ", style="not dim")
    by_status.append(f"  {facts['without_primary_contact']} without primary contact")
    return Group(Columns(tiles, padding=(0, 1)), by_status)


def view_best(facts: Facts) -> RenderableType:
    """The best customers, with a bar for their share."""
    numbers = ["rank", "lifetime value", "share", "orders"]
    table = _table("rank", "number", "name", "orders", "lifetime value", "share", "", right=numbers)
    table.columns[2].no_wrap = True
    most = max((float(row["share_percent"]) for row in facts["rows"]), default=1.0)
    for row in facts["rows"]:
        bar = Text("█" * round(12 * float(row["share_percent"]) / most), style="cyan")
        figures = (str(row["orders"]), _money(row["lifetime_value"]), f"{row['share_percent']} %")
        table.add_row(str(row["rank"]), row["number"], row["name"], *figures, bar)
    return table


def view_issues(facts: Facts) -> RenderableType:
    """What was wrong with an input."""
    table = _table("field", "code", "message")
    for row in facts["issues"]:
        table.add_row(Text(row["field"], style="bold"), Text(row["code"], style="dim"), row["message"])
    return table


def view_placed(facts: Facts) -> RenderableType:
    """An order that was placed."""
    order = facts["order"]
    table = _table("order", "version", "customer", "lines", "total", right=["version", "lines", "total"])
    table.add_row(
        order["number"], str(order["version"]), facts["customer"], str(facts["lines"]), _money(order["total"])
    )
    return table


def view_problems(facts: Facts) -> RenderableType:
    """What is wrong with a unit of work."""
    table = _table("entity", "code", "message")
    for row in facts["problems"]:
        table.add_row(Text(row["entity"], style="bold"), Text(row["code"], style="dim"), row["message"])
    return table


def view_conflict(facts: Facts) -> RenderableType:
    """A version conflict."""
    if not facts["conflict"]:
        return Text("no conflict: the second change was taken", style="red")
    current = facts["current"]
    table = Table.grid(padding=(0, 2))
    table.add_row("expected", f"version {facts['expected']}")
    table.add_row("actual", Text(f"version {facts['actual']}", style="yellow"))
    now = f"{current['name']}, version {current['version']}, credit limit {_money(current['credit_limit'])}"
    table.add_row("current", now)
    message, _, hint = facts["message"].partition("\n")
    return Panel(
        Group(Text(message, style="red"), Text(hint.strip(), style="dim"), Text(), table),
        title="raised",
        title_align="left",
    )


def view_versions(facts: Facts) -> RenderableType:
    """A record, in one version or several."""
    table = _table("version", "number", "name", "credit limit", right=["version", "credit limit"])
    for row in facts["versions"]:
        table.add_row(str(row["version"]), row["number"], row["name"], _money(row["credit_limit"]))
    return table


def view_changes(facts: Facts) -> RenderableType:
    """A record's history."""
    table = _table("version", "action", "who", "at", "what changed", right=["version"])
    for row in facts["changes"]:
        changed = ", ".join(_changed(name, old, new) for name, (old, new) in row["diff"].items())
        at = row["at"][:19].replace("T", " ")
        table.add_row(str(row["version"]), Text(row["action"], style="bold"), row["by"], at, changed)
    origins = sorted({row["from"] for row in facts["changes"]})
    return Group(table, Text(f"from {'; '.join(origins)}", style="dim"))


def _changed(name: str, old: Any, new: Any) -> str:
    """A field's change; the value alone where there was nothing before, or is nothing after."""
    before, after = ([", ".join(value)] if isinstance(value, list) else [value] for value in (old, new))
    values = [str(value) for value in (*before, *after) if value not in (None, "")]
    return f"{name} {' → '.join(values) or '–'}"


def view_attempts(facts: Facts) -> RenderableType:
    """What came of each attempt."""
    table = _table("attempt", "what came back", "ms", right=["ms"])
    table.leading = 1
    table.columns[0].min_width = 58
    for row in facts["attempts"]:
        attempt = Group(Text(row["title"], style="bold"), _code(row["call"]))
        refused = Text(row["came_back"], style="green")
        came_back = refused.append(f"\n{_UUID.sub('…', row['says'])}", style="dim") if row["says"] else refused
        table.add_row(attempt, came_back, f"{row['ms']:.1f}")
    verdict = ("the record is what it was", "green") if facts["untouched"] else ("THE RECORD WAS CHANGED", "bold red")
    return Group(table, Text(f"Afterwards {verdict[0]}.", style=verdict[1]))


def view_costs(facts: Facts) -> RenderableType:
    """The measured calls."""
    table = _table("call", "one at a time", "8 at a time", right=["one at a time", "8 at a time"])
    table.leading = 1
    for row in facts["calls"]:
        call = Group(Text(row["title"], style="bold"), _code(row["call"]))
        table.add_row(call, f"{row['microseconds']:,} µs", f"{row['per_second']:,}/s")
    return table


VIEWS: Mapping[str, Callable[[Facts], RenderableType]] = {
    "first_page": view_customers,
    "next_page": view_customers,
    "same_for_the_other": view_customers,
    "late_payers": view_orders,
    "key_accounts": view_tree,
    "found": view_hits,
    "narrowed": view_customers,
    "orders_by_status": view_groups,
    "summary": view_summary,
    "figures": view_figures,
    "best_customers": view_best,
    "bad_input": view_issues,
    "placed": view_placed,
    "all_or_nothing": view_problems,
    "version_conflict": view_conflict,
    "as_it_was": view_versions,
    "brought_back": view_versions,
    "history_of_a_record": view_changes,
    "crossing_tenants": view_attempts,
    "examined": view_report,
    "proved": view_proof,
    "what_calls_cost": view_costs,
}
"""How to show a step, by its name."""
