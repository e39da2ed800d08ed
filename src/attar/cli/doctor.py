"""`attar doctor`: what is installed and broken here, the command that mends it, and settings for this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attar.cli.options import Json

if TYPE_CHECKING:
    from attar.doctor import Proposal, Report

_COLOURS = {"ok": "green", "missing": "dim", "broken": "bold red", "slow": "yellow"}


def doctor(json: Json = False) -> None:
    """See what is installed, what is broken and how to mend it, how fast this machine is, and which settings suit it.

    **attar doctor**

    Exits with 2 where something is broken; what is optional may be missing. Times of runs are estimates.
    """
    from attar.cli.show import print_json
    from attar.doctor import examine
    from attar.errors import AttarError

    report = examine()
    if json:
        print_json(report.as_json())
    else:
        _show(report)
    if report.broken:
        names = ", ".join(check.name for check in report.broken)
        raise AttarError(f"broken here: {names}", "Mend it by what attar doctor says of it.")


def _show(report: Report) -> None:
    """A table on stdout, below it what to do, and at the end what to type."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for check in report.checks:
        table.add_row(escape(check.name), f"[{_COLOURS[check.state]}]{check.state}[/]", escape(check.value))
    console = Console()
    console.print(table)
    for check in report.checks:
        if check.advice:
            _say(f"{check.name}: {check.advice}")
    if report.proposal is not None and not report.broken:
        _propose(report.proposal)


def _propose(proposal: Proposal) -> None:
    from rich.console import Console
    from rich.table import Table

    _say(f"\nEstimated minutes of --preset {proposal.preset} for 10 classes, after reading each 1,000 training images:")
    table = Table(box=None, pad_edge=False)
    for heading in ("backbone", "minutes", "reading", ""):
        table.add_column(heading, justify="right" if heading in ("minutes", "reading") else "left")
    for each in proposal.estimates:
        note = "" if each.fits else "one view is too large for half of the memory"
        table.add_row(each.backbone, f"{each.minutes:.1f}", f"{each.reading:.1f}", note)
    Console().print(table)
    _say("\nFor this machine:")
    for name, value in [*proposal.environment.items(), *proposal.flags.items()]:
        sign = " " if name.startswith("--") else "="
        _say(f"{name}{sign}{value}: {proposal.reasons[name]}")
    _say(f"\n{proposal.command}")


def _say(text: str) -> None:
    """A line on stdout as it is: rich would wrap it, and what is to be copied must be whole."""
    print(text)
