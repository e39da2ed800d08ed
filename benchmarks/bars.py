"""What every benchmark prints: a table of bars, and the same as JSON with hardware, date and commit."""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attar.devices import hardware


@dataclass(frozen=True)
class Bar:
    """One measured ratio or size, and what it may be at most (`limit` "<=") or must be at least (">=")."""

    id: str
    value: float
    bar: float
    unit: str
    detail: str
    limit: str = "<="

    @property
    def ok(self) -> bool:
        return self.value <= self.bar if self.limit == "<=" else self.value >= self.bar


def arguments(text: str | None) -> argparse.ArgumentParser:
    """The options all benchmarks share."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under five minutes on two cores")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    return parser


def report(bars: list[Bar], file: Path | None, **more: Any) -> None:
    """Print the table of bars, if any, and write the JSON document, with `more` besides."""
    machine = f"{_processor()}, {hardware()}"
    date, commit = datetime.date.today().isoformat(), _commit()
    print(f"{machine}; {date}; commit {commit}\n")
    if bars:
        print("| bar | measured | at most / least | ok | detail |\n|---|---|---|---|---|")
    for bar in bars:
        verdict = "yes" if bar.ok else "no"
        print(f"| {bar.id} | {bar.value:.3g} {bar.unit} | {bar.limit} {bar.bar:g} | {verdict} | {bar.detail} |")
    if file is not None:
        rows = [asdict(bar) | {"ok": bar.ok} for bar in bars]
        document = {"bars": rows, "hardware": machine, "date": date, "commit": commit, **more}
        file.write_text(json.dumps(document, indent=1) + "\n")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str:
    try:
        return subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
