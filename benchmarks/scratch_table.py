"""The tables on networks trained from scratch in docs/results.md, from what benchmarks/scratch.sh left.

python benchmarks/scratch_table.py OUT
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

METHODS = ("random", "rded", "sre2l", "cda", "scdd", "sfm")
LABELS = {"hard": "its own", "soft": "soft"}


def main() -> None:
    out = Path(sys.argv[1])
    print("| images a class | labels | " + " | ".join(METHODS[:-1]) + " |")
    print("|" + "---|" * (len(METHODS) + 1))
    for ipc in (10, 50):
        rows = rows_of(out / f"students-{ipc}" / "results.json")
        for kind, name in LABELS.items():
            found = [cell(rows, method, f"{kind}-") for method in METHODS[:-1]]
            print("| " + " | ".join([str(ipc), name, *found]) + " |")
        own = rows_of(out / f"students-{ipc}-own-teacher" / "results.json")
        found = [cell(own, method, "soft-") for method in METHODS[:-1]]
        print("| " + " | ".join([str(ipc), "soft, of the network without labels", *found]) + " |")
    parts = ("probed-on-resnet20", "probed-on-simclr", "students-10-with-sfm")
    rows = [row for part in parts for row in rows_of(out / part / "results.json")]
    columns = dict.fromkeys((row["evaluated_on"], row["protocol"]) for row in rows if row["distilled_on"])
    print(
        "\n| ten images a class | " + " | ".join(f"`{protocol}` on {network}" for network, protocol in columns) + " |"
    )
    print("|" + "---|" * (len(columns) + 1))
    for method in ("random", "centroids", *METHODS[1:], "full"):
        found = [cell([r for r in rows if r["evaluated_on"] == name], method, protocol) for name, protocol in columns]
        print("| " + " | ".join([method, *found]) + " |")


def rows_of(file: Path) -> list[dict]:
    return json.loads(file.read_text())["rows"] if file.is_file() else []


def cell(rows: list[dict], method: str, protocol: str) -> str:
    """Accuracy after the last epoch, its deviation over students or draws, and the best on the test images."""
    for row in rows:
        if row["method"] == method and row["protocol"].startswith(protocol):
            deviation = statistics.stdev(row["students"]) if len(row.get("students", [])) > 1 else row["std"]
            spread = f" ± {deviation:.1f}" if deviation else ""
            best = f" ({row['best']:.1f})" if row.get("best") is not None else ""
            return f"{row['accuracy']:.1f}{spread}{best}"
    return "–"


if __name__ == "__main__":
    main()
