"""`attar doctor`: what is installed and broken here, and the command that mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attar.cli.options import Json

if TYPE_CHECKING:
    from attar.doctor import Report

_COLOURS = {"ok": "green", "missing": "dim", "broken": "bold red", "slow": "yellow"}


def doctor(json: Json = False) -> None:
    """See what is installed, what is broken and how to mend it, and how fast this machine is.

    **attar doctor**

    Exits with 2 where something is broken; what is optional may be missing.
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
        raise AttarError(f"broken here: {', '.join(check.name for check in report.broken)}")


def _show(report: Report) -> None:
    """A table on stdout, and below it what to do."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for check in report.checks:
        table.add_row(check.name, f"[{_COLOURS[check.state]}]{check.state}[/]", escape(check.value))
    console = Console()
    console.print(table)
    for check in report.checks:
        if check.advice:
            console.print(f"{check.name}: {check.advice}", highlight=False, markup=False, soft_wrap=True)
