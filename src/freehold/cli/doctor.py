"""The doctor's command."""

import asyncio
import os
from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from freehold.app import Application
from freehold.cli.loading import load_application
from freehold.cli.options import Json, Target
from freehold.cli.output import console, failing, print_json
from freehold.database import Database
from freehold.doctor import Finding, Proof, Report, attempt_isolation, examine, sarif
from freehold.errors import ConfigurationError
from freehold.postgres.connections import Address

__all__ = ["doctor"]

_COLORS = {"error": "bold red", "warning": "yellow", "note": "dim"}
_RESULTS = {"held": "green", "leaked": "bold red", "unproved": "yellow", "left out": "yellow"}


class FailOn(StrEnum):
    """Levels that make the command fail."""

    error = "error"
    warning = "warning"
    note = "note"


def doctor(
    target: Target,
    admin_url: Annotated[
        str | None,
        typer.Option("--admin-url", help="URL of an administrator, for the checks.", envvar="FREEHOLD_ADMIN_URL"),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url", help="URL of the application role, for the proof; makes most checks too.", envvar="FREEHOLD_URL"
        ),
    ] = None,
    prove_isolation: Annotated[
        bool, typer.Option("--prove-isolation", help="Try to reach from one organization to another in every way.")
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="ENTITY", help="An entity that the proof leaves out, and says so. May be repeated."),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Print the attempts that held one by one too.")] = False,
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="The mildest level that makes the exit code 1.")
    ] = FailOn.error,
    as_sarif: Annotated[bool, typer.Option("--sarif", help="Print the findings as SARIF 2.1.0.")] = False,
    as_json: Json = False,
) -> None:
    """Check a database that serves the application, or prove that its organizations are apart.

    Each finding says what is wrong and the statement that mends it; the doctor itself changes nothing. The proof makes two
    organizations, fills them, and removes them again.
    """
    with failing(as_json=as_json or as_sarif):
        application = load_application(target)
        if prove_isolation:
            _prove(application, url, without or [], as_json=as_json, show_all=show_all)
        else:
            _examine(application, admin_url or url, fail_on, as_json=as_json, as_sarif=as_sarif)


def _examine(application: Application, url: str | None, fail_on: FailOn, *, as_json: bool, as_sarif: bool) -> None:
    if not url:
        raise ConfigurationError(
            "the checks need a database", hint="give --admin-url or FREEHOLD_ADMIN_URL; --url leaves some checks unmade"
        )
    report = asyncio.run(examine(Address(url=url), application))
    if as_sarif:
        print_json(sarif(report))
    elif as_json:
        print_json(report.as_dict())
    else:
        _print_report(report)
    if report.at_least(fail_on.value):
        raise typer.Exit(1)


def _print_report(report: Report) -> None:
    for finding in report.findings:
        _print_finding(finding)
    counts = ", ".join(
        f"{sum(finding.level == level for finding in report.findings)} {level}s"
        for level in ("error", "warning", "note")
    )
    console.print(f"{report.checks} checks: {counts}.")


def _print_finding(finding: Finding) -> None:
    color = _COLORS[finding.level]
    console.print(f"[{color}]{finding.code} {finding.level}[/] {escape(finding.object)}: {escape(finding.title)}")
    if finding.evidence:
        console.print(f"  [dim]{escape(finding.evidence)}[/]", highlight=False)
    if finding.mend:
        console.print(f"  mend: {escape(finding.mend)}", highlight=False)


def _prove(application: Application, url: str | None, without: list[str], *, as_json: bool, show_all: bool) -> None:
    if not url:
        raise ConfigurationError(
            "the proof needs the application role's login",
            hint="give --url or FREEHOLD_URL; the administrator's would prove nothing",
        )
    proof = asyncio.run(_proved(application, url, without))
    if as_json:
        print_json(proof.as_dict())
    else:
        _print_proof(proof, show_all=show_all)
    if not proof.held:
        raise typer.Exit(1)


async def _proved(application: Application, url: str, without: list[str]) -> Proof:
    async with Database.open(url, application, size=2, secret=os.environ.get("FREEHOLD_SEAL")) as database:
        return await attempt_isolation(database, without=without)


def _print_proof(proof: Proof, *, show_all: bool) -> None:
    table = Table("attempt", "expected", "result", "what happened", title="Attempts to reach another organization")
    for outcome in proof.outcomes:
        if show_all or outcome.result != "held":
            evidence = "".join(f"\n{escape(mark)}" for mark in outcome.evidence)
            color = _RESULTS[outcome.result]
            table.add_row(
                escape(outcome.name),
                outcome.expected,
                f"[{color}]{outcome.result}[/]",
                escape(outcome.happened) + evidence,
            )
    if table.row_count:
        console.print(table)
    for group in dict.fromkeys(outcome.group for outcome in proof.outcomes):
        made = [outcome for outcome in proof.outcomes if outcome.group == group]
        console.print(f"  {group}: {sum(outcome.result == 'held' for outcome in made)} of {len(made)} held")
    if proof.held:
        console.print(f"[green]Isolation held in all {len(proof.outcomes) - len(proof.left_out)} attempts.[/]")
        if proof.left_out:
            console.print(f"[yellow]{len(proof.left_out)} entities were left out: nothing is known of them.[/]")
    else:
        console.print(
            f"[bold red]{len(proof.leaks)} leaked, {len(proof.unproved)} could not be tried[/] of {len(proof.outcomes)}."
        )
